// The types of the contract postern:rule@0.2.0, as componentize-qjs hands them over: every number is a `number`, and what is absent comes
// as `null`. In an answer it may be left out as well. tests/all/types.rs holds this file against the contract; ../wit/rule.wit says more.
/// <reference path="host.d.ts" />

/** What carries a knock. */
export type Transport = "tcp" | "udp" | "icmp" | "icmpv6";

/** The flag bits of a TCP header. In an answer, one that is left out is not set. */
export interface TcpFlags {
  fin?: boolean;
  syn?: boolean;
  rst?: boolean;
  psh?: boolean;
  ack?: boolean;
  urg?: boolean;
  ece?: boolean;
  cwr?: boolean;
}

/** The numbers are in host order: 192.0.2.1 is { tag: "v4", val: 0xC0000201 }. */
export type Address = { tag: "v4"; val: number } | { tag: "v6"; val: [number, number, number, number] };

/** All addresses that share their first `length` bits. The bits behind them must be zero. */
export interface Prefix {
  address: Address;
  length: number;
}

/** Packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type. */
export interface Watch {
  transport: Transport;
  firstPort: number;
  lastPort: number;
  flagsSet: TcpFlags;
  flagsClear: TcpFlags;
}

/** Where a packet must be going to be shown. */
export type Destination = { tag: "this-host" } | { tag: "anywhere" } | { tag: "within"; val: Prefix[] };

/** What a rule asks for when it is loaded. */
export interface Interest {
  /** 1 to 1024. */
  watches: Watch[];
  destination: Destination;
  /** Bytes of payload wanted, 0 to 1500. */
  payloadLimit: number;
  /** Whether `Knock.tcpHeader` is wanted. */
  tcpHeader: boolean;
  /** Change it when remembered bytes change their meaning. */
  memoryFormat: number;
}

/** What a TCP header says beyond ports and flags. */
export interface TcpHeader {
  sequence: number;
  acknowledgment: number;
  window: number;
  urgentPointer: number;
  /** With their padding, at most 40 bytes. */
  options: Uint8Array;
}

/** One packet. */
export interface Knock {
  /** Of capture: microseconds since 1970-01-01 UTC; may step back. */
  time: number;
  source: Address;
  /** Of a link-local source: the index of the interface on whose link it is; else 0. */
  sourceZone: number;
  /** ICMP: code. */
  sourcePort: number;
  destination: Address;
  /** ICMP: type. */
  destinationPort: number;
  transport: Transport;
  tcpFlags: TcpFlags;
  hopLimit: number;
  /** Of the IP packet, headers included. */
  packetLength: number;
  /** Of the interface that captured it; 0: not known. */
  interfaceIndex: number;
  /** Only if the interest says so, and of TCP. */
  tcpHeader?: TcpHeader | null;
  payload: Uint8Array;
}

/** What the host keeps of a client until its next knock. */
export interface Progress {
  /** How far the client has come; 0: not half way, but something else is to be remembered. */
  stage: number;
  /** Handed back with the client's next knock; at most 1024 bytes. */
  memory: Uint8Array;
  /** When to drop it, on the clock of `Knock.time`. */
  until: number;
}

/** A one-time token. */
export interface Token {
  /** 1 to 64 that this rule never used before. */
  bytes: Uint8Array;
  /** The last moment at which the rule could accept the token. Without, the host never forgets it. */
  until?: number | null;
}

/** A counter that must grow. */
export interface Counter {
  /** Which counter, 1 to 64 bytes. */
  key: Uint8Array;
  /** Above every value used before with this key. */
  value: number;
}

/** Makes an opening happen at most once. */
export type Once = { tag: "token"; val: Token } | { tag: "counter"; val: Counter };

/** A wish to open a door. `{}`: the rule's first door, for the source of the knock, as long as the rule's file says. */
export interface OpenRequest {
  once?: Once | null;
  door?: string | null;
  seconds?: number | null;
  prefixLength?: number | null;
}

/** A wish to close a door. `{}`: the rule's first door, for the source of the knock. */
export interface CloseRequest {
  door?: string | null;
  prefixLength?: number | null;
}

/** Doors to open. */
export interface OpenVerdict {
  /** 1 to 8. */
  requests: OpenRequest[];
  /** What to remember of the client from then on. */
  remember?: Progress | null;
}

/** Doors to close. */
export interface CloseVerdict {
  /** 1 to 8. */
  requests: CloseRequest[];
  /** What to remember of the client from then on. */
  remember?: Progress | null;
}

/** What a rule says of one knock. */
export type Verdict =
  | { tag: "ignore" }
  | { tag: "remember"; val: Progress }
  | { tag: "forget"; val: string }
  | { tag: "open"; val: OpenVerdict }
  | { tag: "close"; val: CloseVerdict };

/** Called once, before anything else. `settings` is a JSON object. It throws a text if they are wrong. */
export type configure = (settings: string) => Interest;

/** Called for each packet asked for. `memory` is what was last remembered of its source, or `null`. */
export type judge = (knock: Knock, memory?: Uint8Array | null) => Verdict;
