// A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.
import { log } from "postern:rule/host@0.2.0";
import type { Interest, Knock, TcpFlags, Verdict, Watch } from "../../../guest-sdk/typescript/postern";

const FIRST: Watch = { transport: "udp", firstPort: 7000, lastPort: 7000, flagsSet: {}, flagsClear: {} };
const SECOND: Watch = {
  transport: "tcp",
  firstPort: 7001,
  lastPort: 7001,
  flagsSet: { syn: true },
  flagsClear: { ack: true },
};

/** Microseconds that a client has between the two. */
let within = 5_000_000;

export function configure(settings: string): Interest {
  const values: Record<string, unknown> = JSON.parse(settings);
  for (const [name, value] of Object.entries(values)) {
    if (name !== "within") throw `${name}: unknown; the only setting is within`;
    within = 1_000_000 * readSeconds(value);
  }
  return {
    watches: [FIRST, SECOND],
    destination: { tag: "this-host" },
    payloadLimit: 0,
    tcpHeader: false,
    memoryFormat: 1,
  };
}

export function judge(knock: Knock, memory: Uint8Array | null): Verdict {
  if (matches(FIRST, knock)) {
    const kept = new Uint8Array(8);
    new DataView(kept.buffer).setFloat64(0, knock.time);
    return { tag: "remember", val: { stage: 1, memory: kept, until: knock.time + within } };
  }
  if (matches(SECOND, knock) && memory?.length === 8) {
    const first = new DataView(memory.buffer, memory.byteOffset).getFloat64(0);
    // A packet may carry an earlier time than the one before it.
    const waited = Math.max(0, knock.time - first);
    log("info", `second knock after ${Math.floor(waited / 1000)} ms`);
    return { tag: "open", val: { requests: [{}] } };
  }
  return { tag: "ignore" };
}

/** Reads "1s" to "3600s". */
function readSeconds(value: unknown): number {
  const seconds = typeof value === "string" ? Number(/^([0-9]{1,4})s$/.exec(value)?.[1]) : 0;
  if (!(seconds >= 1 && seconds <= 3600)) throw 'within: use "1s" to "3600s"';
  return seconds;
}

/** Whether a knock is one that this watch asks for. */
function matches(watch: Watch, knock: Knock): boolean {
  const has = (flag: string) => knock.tcpFlags[flag as keyof TcpFlags] === true;
  return (
    knock.transport === watch.transport &&
    watch.firstPort <= knock.destinationPort &&
    knock.destinationPort <= watch.lastPort &&
    Object.keys(watch.flagsSet).every(has) &&
    !Object.keys(watch.flagsClear).some(has)
  );
}
