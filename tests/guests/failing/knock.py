"""A rule that fails in another way at each port."""

import json
import sys
import time

from componentize_py_types import Err
from table import demand, look_up
from wit_world import WitWorld as Rule
from wit_world.imports import types
from wit_world.imports.types import Interest, Knock, OpenRequest, OpenVerdict, Progress, TcpFlags, Transport, Verdict, Watch


class TooLate(Exception):
    pass


def fail(error: BaseException) -> None:
    raise error


async def later() -> Verdict:
    return types.Verdict_Ignore()


FAILURES = {
    1: lambda: look_up("nobody").address,
    2: lambda: demand("nobody"),
    3: lambda: fail(ValueError()),
    4: lambda: fail(TooLate("the knock\n  came too late")),
    5: lambda: {}["step"],
    6: lambda: fail(Err("settings are refused in `configure`")),
    7: lambda: fail(ValueError("too long " * 500)),
    8: lambda: None,
    9: lambda: later(),
    10: lambda: types.Verdict_Ignore,
    11: lambda: types.Verdict_Remember(Progress(1, bytes(8), None)),
    12: lambda: types.Verdict_Open(OpenVerdict([OpenRequest(None, None, None, 300)], None)),
    13: lambda: json.loads("{"),
    14: lambda: time.time(),
    15: lambda: __import__("wave"),
    16: lambda: open("/etc/hosts"),
    17: lambda: print("at", 17, end=".\n") or print("late", file=sys.stderr) or types.Verdict_Ignore(),
}


class WitWorld(Rule):
    def configure(self, settings: str) -> Interest:
        match json.loads(settings).get("fail"):
            case "bug":
                return look_up("nobody").interest
            case "nothing":
                return None
            case "port":
                return interest(first_port=70_000)
            case "number":
                raise Err(7)
            case "text":
                raise Err("fail: use nothing")
        return interest()

    def judge(self, knock: Knock, memory: bytes | None) -> Verdict:
        return FAILURES[knock.destination_port]()


def interest(first_port: int = 1) -> Interest:
    watch = Watch(Transport.UDP, first_port, 99, TcpFlags(0), TcpFlags(0))
    return Interest([watch], types.Destination_ThisHost(), payload_limit=0, tcp_header=False, memory_format=1)
