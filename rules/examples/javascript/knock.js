// A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.
import { log } from "postern:rule/host@0.2.0";

const NO_FLAGS = {};
const FIRST = { transport: "udp", firstPort: 7000, lastPort: 7000, flagsSet: NO_FLAGS, flagsClear: NO_FLAGS };
const SECOND = { transport: "tcp", firstPort: 7001, lastPort: 7001, flagsSet: { syn: true }, flagsClear: { ack: true } };

/** Microseconds that a client has between the two. */
let within = 5_000_000;

/** @type {import("../../../guest-sdk/typescript/postern").configure} */
export function configure(settings) {
  for (const [name, value] of Object.entries(JSON.parse(settings))) {
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

/** @type {import("../../../guest-sdk/typescript/postern").judge} */
export function judge(knock, memory) {
  if (matches(FIRST, knock)) {
    const kept = new Uint8Array(8);
    new DataView(kept.buffer).setFloat64(0, knock.time);
    return { tag: "remember", val: { stage: 1, memory: kept, until: knock.time + within } };
  }
  // What is absent comes as null.
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
function readSeconds(value) {
  const seconds = Number(/^([0-9]{1,4})s$/.exec(value)?.[1]);
  if (!(seconds >= 1 && seconds <= 3600)) throw 'within: use "1s" to "3600s"';
  return seconds;
}

/** Whether a knock is one that this watch asks for. */
function matches(watch, knock) {
  const has = (flag) => knock.tcpFlags[flag];
  return (
    knock.transport === watch.transport &&
    watch.firstPort <= knock.destinationPort &&
    knock.destinationPort <= watch.lastPort &&
    Object.keys(watch.flagsSet).every(has) &&
    !Object.keys(watch.flagsClear).some(has)
  );
}
