// A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.
import {
  Configured, Flag, Interest, Knock, Level, Progress, Transport, Verdict, Watch,
  accept, ignore, log, open, readSettings, refuse, remember,
} from "../../../guest-sdk/assemblyscript/postern";

export { cabi_realloc } from "../../../guest-sdk/assemblyscript/postern";

const first = new Watch(Transport.UDP, 7000, 7000);
const second = new Watch(Transport.TCP, 7001, 7001, Flag.SYN, Flag.ACK);

/** Microseconds that a client has between the two. */
let within: u64 = 5_000_000;

export function configure(place: usize, length: usize): Configured {
  const settings = readSettings(place, length);
  for (let i = 0; i < settings.length; i++) {
    const setting = settings[i];
    if (setting.name != "within") return refuse(`${setting.name}: unknown; the only setting is within`);
    const seconds = readSeconds(setting.text);
    if (seconds == 0) return refuse('within: use "1s" to "3600s"');
    within = seconds * 1_000_000;
  }
  const interest = new Interest([first, second]);
  interest.memoryFormat = 1;
  return accept(interest);
}

/** Reads "1s" to "3600s"; 0 if it is anything else. */
function readSeconds(text: string | null): u64 {
  if (!text || text.length < 2 || text.length > 5 || !text.endsWith("s")) return 0;
  let seconds: u64 = 0;
  for (let i = 0; i < text.length - 1; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return 0;
    seconds = seconds * 10 + digit;
  }
  return seconds <= 3600 ? seconds : 0;
}

export function judge(knock: Knock): Verdict {
  if (first.matches(knock)) {
    const kept = new Uint8Array(8);
    store<u64>(kept.dataStart, knock.time);
    return remember(new Progress(1, kept, knock.time + within));
  }
  const memory = knock.memory;
  if (second.matches(knock) && memory && memory.length == 8) {
    const begin = load<u64>(memory.dataStart);
    // A packet may carry an earlier time than the one before it.
    const waited = knock.time > begin ? knock.time - begin : 0;
    log(Level.INFO, `second knock after ${waited / 1000} ms`);
    return open();
  }
  return ignore();
}
