"""A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door."""

import json
import re

from componentize_py_types import Err
from wit_world import WitWorld as Rule
from wit_world.imports import host, types
from wit_world.imports.types import Interest, Knock, OpenRequest, TcpFlags, Transport, Verdict, Watch

FIRST = Watch(Transport.UDP, 7000, 7000, TcpFlags(0), TcpFlags(0))
SECOND = Watch(Transport.TCP, 7001, 7001, TcpFlags.SYN, TcpFlags.ACK)


class WitWorld(Rule):
    """The rule. componentize-py looks for a class of this name, and makes a new object for each call: settings belong to the class."""

    within = 5_000_000  # microseconds that a client has between the two knocks

    def configure(self, settings: str) -> Interest:
        for name, value in json.loads(settings).items():
            if name != "within":
                raise Err(f"{name}: unknown; the only setting is within")
            WitWorld.within = 1_000_000 * read_seconds(value)
        return Interest([FIRST, SECOND], types.Destination_ThisHost(), payload_limit=0, tcp_header=False, memory_format=1)

    def judge(self, knock: Knock, memory: bytes | None) -> Verdict:
        if matches(FIRST, knock):
            kept = knock.time.to_bytes(8, "little")
            return types.Verdict_Remember(types.Progress(1, kept, knock.time + self.within))
        if matches(SECOND, knock) and memory is not None:
            # A packet may carry an earlier time than the one before it.
            waited = max(0, knock.time - int.from_bytes(memory, "little"))
            host.log(host.Level.INFO, f"second knock after {waited // 1000} ms")
            return types.Verdict_Open(types.OpenVerdict([OpenRequest(None, None, None, None)], remember=None))
        return types.Verdict_Ignore()


def read_seconds(value: object) -> int:
    """Reads "1s" to "3600s"."""
    match = re.fullmatch("([0-9]{1,4})s", value) if isinstance(value, str) else None
    seconds = int(match[1]) if match else 0
    if not 1 <= seconds <= 3600:
        raise Err('within: use "1s" to "3600s"')
    return seconds


def matches(watch: Watch, knock: Knock) -> bool:
    """Whether a knock is one that this watch asks for."""
    return (
        knock.transport == watch.transport
        and watch.first_port <= knock.destination_port <= watch.last_port
        and knock.tcp_flags & (watch.flags_set | watch.flags_clear) == watch.flags_set
    )


# What is imported or compiled only when a packet comes traps without a word, as there are no files any more: so all of it runs once here.
read_seconds("5s")
