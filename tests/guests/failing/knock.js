// A rule that fails in another way at each port.
import { demand, lookUp } from "./table.js";

class TooLate extends Error {}

const FAILURES = {
  1: () => lookUp("nobody").address,
  2: () => demand("nobody"),
  3: () => {
    throw new Error();
  },
  4: () => {
    throw new TooLate("the knock\n  came too late");
  },
  5: () => {
    throw "no such step";
  },
  6: () => {
    throw null;
  },
  7: () => {
    throw new Error("too long ".repeat(500));
  },
  8: () => undefined,
  9: async () => ({ tag: "ignore" }),
  10: () => ({ tag: "opne" }),
  11: () => ({ tag: "remember", val: { stage: 1, memory: new Uint8Array(8) } }),
  12: () => ({ tag: "open", val: { requests: [{ prefixLength: 300 }] } }),
  13: () => [1].map((n) => n.step.port),
  14: () => Date.now(),
  15: () => new Date(),
  16: () => {
    console.log("at", { port: 16 }, [1n, new Date(0)].length);
    console.warn(new TooLate("late"));
    return { tag: "ignore" };
  },
};

export function configure(settings) {
  switch (JSON.parse(settings).fail) {
    case "bug":
      return lookUp("nobody").interest;
    case "nothing":
      return undefined;
    case "port":
      return interest({ firstPort: 70_000 });
    case "flag":
      return interest({ flagsSet: { sin: true } });
    case "text":
      throw "fail: use nothing";
    case "error":
      throw new TooLate("fail: use nothing");
  }
  return interest({});
}

function interest(other) {
  const watch = { transport: "udp", firstPort: 1, lastPort: 99, flagsSet: {}, flagsClear: {} };
  return {
    watches: [{ ...watch, ...other }],
    destination: { tag: "this-host" },
    payloadLimit: 0,
    tcpHeader: false,
    memoryFormat: 1,
  };
}

export function judge(knock) {
  return FAILURES[knock.destinationPort]();
}
