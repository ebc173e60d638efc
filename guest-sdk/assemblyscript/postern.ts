// A Postern rule in AssemblyScript, without a bindings generator.
//
// A rule exports `configure`, `judge`, and this file's `cabi_realloc`. The classes lie in memory as the component model's canonical ABI
// lays out the records of postern:rule@0.2.0; tests/all/layouts.rs holds them against the contract. They are `@unmanaged`: the
// collector does not know them. What the host hands over lives until the next call, and so does what a rule answers.

/** What carries a knock. */
export namespace Transport {
  export const TCP: u8 = 0;
  export const UDP: u8 = 1;
  export const ICMP: u8 = 2;
  export const ICMPV6: u8 = 3;
}

/** TCP flags (RFC 9293, section 3.1). */
export namespace Flag {
  export const NONE: u8 = 0;
  export const FIN: u8 = 0x01;
  export const SYN: u8 = 0x02;
  export const RST: u8 = 0x04;
  export const PSH: u8 = 0x08;
  export const ACK: u8 = 0x10;
  export const URG: u8 = 0x20;
  export const ECE: u8 = 0x40;
  export const CWR: u8 = 0x80;
}

/** Where a packet must be going to be shown. */
export namespace Destination {
  export const THIS_HOST: u8 = 0;
  export const ANYWHERE: u8 = 1;
  export const WITHIN: u8 = 2;
}

/** How much a log line matters. */
export enum Level { ERROR, WARN, INFO, DEBUG }

/** Parts are numbers in host order, the highest first; of an IPv4 address (`family` 0) there is one. */
@unmanaged export class Address {
  family: u8;
  part0: u32;
  part1: u32;
  part2: u32;
  part3: u32;
}

/** All addresses that share their first `length` bits. The bits behind them must be zero. */
@unmanaged export class Prefix {
  family: u8;
  part0: u32;
  part1: u32;
  part2: u32;
  part3: u32;
  length: u8;
}

/** Packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type. */
@unmanaged export class Watch {
  transport: u8;
  firstPort: u16;
  lastPort: u16;
  flagsSet: u8;
  flagsClear: u8;

  constructor(transport: u8, firstPort: u16, lastPort: u16, flagsSet: u8 = Flag.NONE, flagsClear: u8 = Flag.NONE) {
    this.transport = transport;
    this.firstPort = firstPort;
    this.lastPort = lastPort;
    this.flagsSet = flagsSet;
    this.flagsClear = flagsClear;
  }

  /** Whether a knock is one that this watch asks for. */
  matches(knock: Knock): bool {
    return (
      knock.transport == this.transport &&
      this.firstPort <= knock.destinationPort &&
      knock.destinationPort <= this.lastPort &&
      (knock.tcpFlags & (this.flagsSet | this.flagsClear)) == this.flagsSet
    );
  }
}

/** One packet. */
@unmanaged export class Knock {
  /** Of capture: microseconds since 1970-01-01 UTC; may step back. */
  time: u64;
  sourceFamily: u8;
  sourcePart0: u32;
  sourcePart1: u32;
  sourcePart2: u32;
  sourcePart3: u32;
  /** Of a link-local source: the index of the interface on whose link it is; else 0. */
  sourceZone: u32;
  /** ICMP: code. */
  sourcePort: u16;
  private padding: u16;
  destinationFamily: u8;
  destinationPart0: u32;
  destinationPart1: u32;
  destinationPart2: u32;
  destinationPart3: u32;
  /** ICMP: type. */
  destinationPort: u16;
  transport: u8;
  tcpFlags: u8;
  hopLimit: u8;
  /** Of the IP packet, headers included. */
  packetLength: u32;
  /** Of the interface that captured it; 0: not known. */
  interfaceIndex: u32;
  /** Only if the interest says so, and of TCP: what the header says beyond ports and flags. */
  hasTcpHeader: bool;
  sequence: u32;
  acknowledgment: u32;
  window: u16;
  urgentPointer: u16;
  optionsAt: usize;
  optionsLength: u32;
  payloadAt: usize;
  payloadLength: u32;
  hasMemory: bool;
  memoryAt: usize;
  memoryLength: u32;

  /** The first bytes behind the transport header, at most as many as the interest asked for. */
  get payload(): Uint8Array {
    return copyOf(this.payloadAt, this.payloadLength);
  }

  /** The options of the TCP header, with their padding. */
  get options(): Uint8Array {
    return copyOf(this.optionsAt, this.optionsLength);
  }

  /** What was last remembered of the packet's source, or null. */
  get memory(): Uint8Array | null {
    return this.hasMemory ? copyOf(this.memoryAt, this.memoryLength) : null;
  }
}

function copyOf(place: usize, length: u32): Uint8Array {
  const bytes = new Uint8Array(length);
  memory.copy(bytes.dataStart, place, length);
  return bytes;
}

// The host's arguments, which are freed when the call ends, and what the last answer points to.
const blocks: usize[] = [];
let answered: ArrayBuffer[] = [];

/** Asked by the host, for arguments. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const block = heap.alloc(size);
  memory.copy(block, old, min(oldSize, size));
  blocks.push(block);
  return block;
}

function endCall(): void {
  while (blocks.length > 0) heap.free(blocks.pop());
}

/** Keeps these bytes until the next call. */
function keep(bytes: ArrayBuffer): usize {
  answered.push(bytes);
  return changetype<usize>(bytes);
}

@external("postern:rule/host@0.2.0", "log")
declare function hostLog(level: Level, place: usize, length: usize): void;

/** Writes a line to the daemon's log. */
export function log(level: Level, message: string): void {
  const text = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(text), text.byteLength);
}

/** What the compiler is told to call where a program cannot go on: --use abort=.../postern/abort */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.ERROR, `${message ? message : "abort"} at ${file ? file : "?"}:${line}:${column}`);
  unreachable();
}

/** One of a rule's settings. */
export class Setting {
  /** The value as JSON writes it: a text with its quotes, a number, a list, ... */
  constructor(public name: string, public value: string) {}

  /** What is in a text between its quotes, as it stands there; null if it is no text. */
  get text(): string | null {
    return this.value.startsWith('"') ? this.value.slice(1, -1) : null;
  }
}

/** The settings that the host handed to `configure`. It writes them without blanks, and is always right. */
export function readSettings(place: usize, length: usize): Setting[] {
  const json = String.UTF8.decodeUnsafe(place, length);
  const settings: Setting[] = [];
  // What stands before a name: the brace, or a comma.
  for (let at = 1; at < json.length - 1; at++) {
    const nameEnd = endOfValue(json, at);
    const valueEnd = endOfValue(json, nameEnd + 1);
    settings.push(new Setting(json.slice(at + 1, nameEnd - 1), json.slice(nameEnd + 1, valueEnd)));
    at = valueEnd;
  }
  return settings;
}

function endOfValue(json: string, at: i32): i32 {
  let depth = 0;
  let isText = false;
  for (; at < json.length; at++) {
    const c = json.charAt(at);
    if (isText && c == "\\") at++;
    else if (c == '"') isText = !isText;
    else if (isText) continue;
    else if (c == "[" || c == "{") depth++;
    else if (depth > 0 && (c == "]" || c == "}")) depth--;
    else if (depth == 0 && ",:]}".includes(c)) break;
  }
  return at;
}

/** What a rule asks for when it is loaded. */
export class Interest {
  destination: u8 = Destination.THIS_HOST;
  /** With `Destination.WITHIN`, at most 64. */
  prefixes: Prefix[] = [];
  /** Bytes of payload wanted, 0 to 1500. */
  payloadLimit: u32 = 0;
  /** Whether what a TCP header says beyond ports and flags is wanted. */
  tcpHeader: bool = false;
  /** Change it when remembered bytes change their meaning. */
  memoryFormat: u32 = 0;

  /** 1 to 1024 watches. */
  constructor(public watches: Watch[]) {}
}

/** The answer of `configure`. */
@unmanaged export class Configured {
  isError: u8;
  /** Or where the error is. */
  watchesAt: usize;
  watchCount: u32;
  destination: u8;
  prefixesAt: usize;
  prefixCount: u32;
  payloadLimit: u32;
  tcpHeader: bool;
  memoryFormat: u32;
}
const configured = new Configured();

/** Answers `configure`: the settings are right. */
export function accept(interest: Interest): Configured {
  configured.isError = 0;
  configured.watchesAt = keep(inRow<Watch>(interest.watches, 8));
  configured.watchCount = interest.watches.length;
  configured.destination = interest.destination;
  configured.prefixesAt = keep(inRow<Prefix>(interest.prefixes, 24));
  configured.prefixCount = interest.prefixes.length;
  configured.payloadLimit = interest.payloadLimit;
  configured.tcpHeader = interest.tcpHeader;
  configured.memoryFormat = interest.memoryFormat;
  endCall();
  return configured;
}

/** Answers `configure`: the settings are wrong. A line that begins as in "within: " is shown at that setting. */
export function refuse(mistake: string): Configured {
  const text = String.UTF8.encode(mistake);
  configured.isError = 1;
  configured.watchesAt = keep(text);
  configured.watchCount = text.byteLength;
  endCall();
  return configured;
}

/** These structures side by side, each in so many bytes. */
function inRow<T>(items: T[], size: i32): ArrayBuffer {
  const row = new ArrayBuffer(items.length * size);
  for (let i = 0; i < items.length; i++) {
    memory.copy(changetype<usize>(row) + i * size, changetype<usize>(items[i]), offsetof<T>());
  }
  return row;
}

/** What the host keeps of a client until its next knock. */
export class Progress {
  /** `stage`: how far the client has come; 0: not half way, but something else is to be remembered. `memory`: handed back with the
   * client's next knock; at most 1024 bytes. `until`: when to drop it, on the clock of `Knock.time`. */
  constructor(public stage: u32, public memory: Uint8Array, public until: u64) {}

  /** Writes it where the answer is. */
  write(at: usize): void {
    store<u32>(at, this.stage);
    writeBytes(at + 4, this.memory);
    store<u64>(at + 16, this.until);
  }
}

/** Makes an opening happen at most once. */
export class Once {
  private constructor(public isCounter: bool, public bytes: Uint8Array, public hasUntil: bool, public number: u64) {}

  /** 1 to 64 bytes that this rule never used before; the host never forgets them. */
  static token(bytes: Uint8Array): Once {
    return new Once(false, bytes, false, 0);
  }

  /** The same; `until` is the last moment at which the rule could accept them. */
  static tokenUntil(bytes: Uint8Array, until: u64): Once {
    return new Once(false, bytes, true, until);
  }

  /** A number, at most 2^53 - 1, that must be above every one used before with this key of 1 to 64 bytes. */
  static counter(key: Uint8Array, value: u64): Once {
    return new Once(true, key, false, value);
  }
}

/** A wish to open a door. As it is: the rule's first door, for the source of the knock, as long as the rule's file says. */
export class OpenRequest {
  once: Once | null = null;
  door: string | null = null;
  /** 0: what the rule's file or the door says. */
  seconds: u32 = 0;
  /** For all addresses that share so many first bits with the source; 0: the source alone. */
  prefixLength: u8 = 0;
}

/** A wish to close a door. As it is: the rule's first door, for the source of the knock. */
export class CloseRequest {
  door: string | null = null;
  prefixLength: u8 = 0;
}

/** The answer of `judge`: which one, 7 bytes of padding, and what the verdict says. */
@unmanaged export class Verdict {
  kind: u64;
  body0: u64;
  body1: u64;
  body2: u64;
  body3: u64;
  body4: u64;
}
const verdict = new Verdict();
const BODY: usize = 8;

/** Begins an answer, which is all zero at first; what the last one pointed to goes. */
function answer(kind: u64): usize {
  answered = [];
  memory.fill(changetype<usize>(verdict), 0, offsetof<Verdict>());
  verdict.kind = kind;
  return changetype<usize>(verdict) + BODY;
}

function done(): Verdict {
  endCall();
  return verdict;
}

/** No change: what is remembered of the client stays. */
export function ignore(): Verdict {
  answer(0);
  return done();
}

/** Remember this of the client instead of what was. */
export function remember(progress: Progress): Verdict {
  progress.write(answer(1));
  return done();
}

/** The client starts over, for this reason of at most 200 bytes. */
export function forget(reason: string): Verdict {
  writeText(answer(2), reason);
  return done();
}

/** Open doors, 1 to 8, and remember that of the client instead of its progress. */
export function open(requests: OpenRequest[] = [new OpenRequest()], progress: Progress | null = null): Verdict {
  const size = 64;
  const body = answer(3);
  const row = keep(new ArrayBuffer(requests.length * size));
  for (let i = 0; i < requests.length; i++) {
    const request = requests[i];
    const at = row + i * size;
    const once = request.once;
    if (once) {
      store<u8>(at, 1);
      store<u8>(at, once.isCounter ? 1 : 0, 8);
      writeBytes(at + 16, once.bytes);
      if (once.isCounter) {
        store<u64>(at, once.number, 24);
      } else {
        store<u8>(at, once.hasUntil ? 1 : 0, 24);
        store<u64>(at, once.number, 32);
      }
    }
    writeDoor(at + 40, request.door);
    store<u8>(at, request.seconds > 0 ? 1 : 0, 52);
    store<u32>(at, request.seconds, 56);
    store<u8>(at, request.prefixLength > 0 ? 1 : 0, 60);
    store<u8>(at, request.prefixLength, 61);
  }
  return doors(body, row, requests.length, progress);
}

/** Close doors, 1 to 8, and remember that of the client instead of its progress. */
export function close(requests: CloseRequest[] = [new CloseRequest()], progress: Progress | null = null): Verdict {
  const size = 16;
  const body = answer(4);
  const row = keep(new ArrayBuffer(requests.length * size));
  for (let i = 0; i < requests.length; i++) {
    const at = row + i * size;
    writeDoor(at, requests[i].door);
    store<u8>(at, requests[i].prefixLength > 0 ? 1 : 0, 12);
    store<u8>(at, requests[i].prefixLength, 13);
  }
  return doors(body, row, requests.length, progress);
}

function doors(body: usize, row: usize, count: u32, progress: Progress | null): Verdict {
  store<u32>(body, row);
  store<u32>(body, count, 4);
  if (progress) {
    store<u8>(body, 1, 8);
    progress.write(body + 16);
  }
  return done();
}

function writeDoor(at: usize, door: string | null): void {
  if (door) {
    store<u8>(at, 1);
    writeText(at + 4, door);
  }
}

function writeText(at: usize, text: string): void {
  writeList(at, String.UTF8.encode(text));
}

function writeBytes(at: usize, bytes: Uint8Array): void {
  writeList(at, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function writeList(at: usize, bytes: ArrayBuffer): void {
  store<u32>(at, keep(bytes));
  store<u32>(at, bytes.byteLength, 4);
}
