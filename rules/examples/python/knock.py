"""The rule of rules/examples/c in Python: 1111/udp, 2222/udp, 3333/tcp with SYN and without ACK, within five seconds.

Build: componentize-py -d WIT_FOLDER -w rule componentize --stub-wasi rule -o rule.wasm
"""

import struct

from componentize_py_types import Err
from wit_world import WitWorld as Contract
from wit_world.imports import host, types
from wit_world.imports.types import TcpFlags, Transport, Watch

SEQUENCE = [
    Watch(Transport.UDP, 1111, 1111, TcpFlags(0), TcpFlags(0)),
    Watch(Transport.UDP, 2222, 2222, TcpFlags(0), TcpFlags(0)),
    Watch(Transport.TCP, 3333, 3333, TcpFlags.SYN, TcpFlags.ACK),
]
WITHIN = 5_000_000
# What is remembered of a client: when the first step came, and right steps so far.
MEMORY = struct.Struct("<QI")


class WitWorld(Contract):
    def configure(self, settings: str) -> types.Interest:
        if settings != "{}":
            raise Err("this rule has no settings")
        host.log(host.Level.DEBUG, "configured")
        return types.Interest(SEQUENCE, types.Destination_ThisHost(), 0, False, 1)

    def judge(self, knock: types.Knock, memory: bytes | None) -> types.Verdict:
        if knock.transport == Transport.TCP and knock.tcp_flags & (TcpFlags.SYN | TcpFlags.ACK) != TcpFlags.SYN:
            return types.Verdict_Ignore()
        start, stage = recall(memory, knock.time)
        step = SEQUENCE[stage]
        if (knock.transport, knock.destination_port) != (step.transport, step.first_port):
            return types.Verdict_Forget("wrong step") if stage else types.Verdict_Ignore()
        stage += 1
        if stage == len(SEQUENCE):
            return types.Verdict_Open(types.OpenVerdict([types.OpenRequest(None, None, None, None)], None))
        return types.Verdict_Remember(types.Progress(stage, MEMORY.pack(start, stage), start + WITHIN))


def recall(memory: bytes | None, now: int) -> tuple[int, int]:
    """When the sequence began, and right steps so far; a new one if nothing is remembered or it took too long."""
    if memory is None:
        return now, 0
    start, stage = MEMORY.unpack(memory)
    # After a clock was set back the time starts now.
    start = min(start, now)
    return (start, stage) if now - start < WITHIN else (now, 0)
