import assert from "node:assert/strict";
import test from "node:test";

import "../../../guest-sdk/javascript/native.mjs";

const { configure, judge } = await import(process.env.RULE ?? "./build/knock.js");

const packet = (time, transport, destinationPort, tcpFlags = {}) => ({
  time,
  source: { tag: "v4", val: 0xcb007107 },
  sourceZone: 0,
  sourcePort: 40000,
  destination: { tag: "v4", val: 0xc0000201 },
  destinationPort,
  transport,
  tcpFlags,
  hopLimit: 64,
  packetLength: 40,
  interfaceIndex: 2,
  tcpHeader: null,
  payload: new Uint8Array(),
});

test("settings", () => {
  const refusal = (settings) => {
    try {
      return configure(settings);
    } catch (mistake) {
      return mistake;
    }
  };
  for (const settings of ['{"within":5}', '{"within":"0s"}', '{"within":"soon"}']) {
    assert.equal(refusal(settings), 'within: use "1s" to "3600s"');
  }
  assert.equal(refusal('{"withn":"2s"}'), "withn: unknown; the only setting is within");
});

test("two knocks open", () => {
  configure('{"within":"2s"}');
  const { tag, val } = judge(packet(1_000_000, "udp", 7000), null);
  assert.deepEqual([tag, val.stage, val.until], ["remember", 1, 3_000_000]);

  const second = packet(1_400_000, "tcp", 7001, { syn: true });
  assert.equal(judge(second, val.memory).tag, "open");
  assert.equal(judge(second, null).tag, "ignore");
  second.tcpFlags.ack = true;
  assert.equal(judge(second, val.memory).tag, "ignore");
});
