// Says everything that a rule can say, by the port of the knock; tests/all/everything.rs has the same in Rust.
import {
  CloseRequest, Configured, Destination, Flag, Interest, Knock, Once, OpenRequest, Prefix, Progress, Transport, Verdict, Watch,
  accept, close, forget, ignore, open, refuse, remember,
} from "../../../guest-sdk/assemblyscript/postern";

export { cabi_realloc } from "../../../guest-sdk/assemblyscript/postern";

export function configure(place: usize, length: usize): Configured {
  if (length > 2) return refuse(String.UTF8.decodeUnsafe(place, length));
  const interest = new Interest([
    new Watch(Transport.UDP, 1, 9),
    new Watch(Transport.TCP, 1, 9, Flag.SYN, Flag.RST | Flag.CWR),
    new Watch(Transport.ICMPV6, 1, 9),
  ]);
  const v6 = new Prefix();
  v6.family = 1;
  v6.part0 = 0x20010db8;
  v6.length = 32;
  const v4 = new Prefix();
  v4.part0 = 0xc0000200;
  v4.length = 24;
  interest.destination = Destination.WITHIN;
  interest.prefixes = [v6, v4];
  interest.payloadLimit = 1500;
  interest.tcpHeader = true;
  interest.memoryFormat = 7;
  return accept(interest);
}

export function judge(knock: Knock): Verdict {
  const payload = knock.payload;
  const later = knock.time + 5_000_000;
  switch (knock.destinationPort) {
    case 1:
      return remember(new Progress(knock.sourcePort, payload, knock.time + <u64>knock.hopLimit * 1_000_000));
    case 2: {
      const memory = knock.memory;
      return forget(memory ? String.UTF8.decode(memory.buffer) : "none");
    }
    case 3: {
      const a = new OpenRequest();
      a.once = Once.tokenUntil(payload, knock.time + 1_000_000);
      a.door = "a";
      a.seconds = 30;
      a.prefixLength = 24;
      const b = new OpenRequest();
      b.once = Once.counter(Uint8Array.wrap(String.UTF8.encode("k")), knock.time);
      b.door = "b";
      return open([a, b], new Progress(0, Uint8Array.wrap(String.UTF8.encode("x")), later));
    }
    case 4: {
      const request = new OpenRequest();
      request.once = Once.token(payload);
      return open([request]);
    }
    case 5: {
      const b = new CloseRequest();
      b.door = "b";
      b.prefixLength = 64;
      return close([new CloseRequest(), b]);
    }
    case 6:
      return close([new CloseRequest()], new Progress(3, knock.options, later));
    case 7: {
      let words = "";
      if (knock.hasTcpHeader) {
        words += `${knock.sequence} ${knock.acknowledgment} ${knock.window} ${knock.urgentPointer} `;
      }
      words += `${knock.packetLength} ${knock.interfaceIndex} ${knock.sourceZone} ${knock.sourcePort} `;
      return forget(words + `${knock.tcpFlags} ${knock.transport} ${knock.hopLimit}`);
    }
    case 8: {
      const source = address(knock.sourceFamily, knock.sourcePart0, knock.sourcePart1, knock.sourcePart2, knock.sourcePart3);
      const destination = address(
        knock.destinationFamily, knock.destinationPart0, knock.destinationPart1, knock.destinationPart2, knock.destinationPart3,
      );
      return forget(source + " " + destination);
    }
    default:
      return ignore();
  }
}

function address(family: u8, part0: u32, part1: u32, part2: u32, part3: u32): string {
  return family == 0 ? hex(part0) : hex(part0) + hex(part1) + hex(part2) + hex(part3);
}

function hex(part: u32): string {
  return part.toString(16).padStart(8, "0");
}
