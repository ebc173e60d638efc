// A rule that fails, and of whose lines the compiler leaves some out.
import type { Interest, Knock, Verdict } from "./sdk/typescript/postern";
import { demand } from "./table";

interface Entry {
  address?: number;
}

const TABLE: Record<string, Entry> = { office: { address: 0xc0000201 } };

export function configure(): Interest {
  return {
    watches: [{ transport: "udp", firstPort: 1, lastPort: 99, flagsSet: {}, flagsClear: {} }],
    destination: { tag: "this-host" },
    payloadLimit: 0,
    tcpHeader: false,
    memoryFormat: 1,
  };
}

export function judge(knock: Knock): Verdict {
  const entry = (
    knock.destinationPort === 1
      ? TABLE["nobody"]
      : demand(TABLE)
  ) as Entry;
  return { tag: "forget", val: entry.address!.toString() };
}
