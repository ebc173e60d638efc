"""Makes a rule say why it fails.

The interpreter's own words never reach the daemon, as a rule has no standard error. So what a rule raises goes to the log as an error, with its line, and the
daemon takes it from there into its report of the fault. It changes no answer; but one that is not of the contract's types fails with words too, where
the interpreter would trap without any. Nor has a rule a standard output, files or a clock: what it prints goes to the log, and for the others it gets words too.
"""

import dataclasses
import enum
import os.path
import sys
import time
import types as python_types
import typing
from collections.abc import Callable
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world.imports import host
from wit_world.imports.types import Interest, Verdict

LONGEST_TEXT = 300
"""Most characters of an exception's text, so that the place behind it is not cut off."""

BITS = {"first_port": 16, "last_port": 16, "length": 8, "prefix_length": 8, "until": 64, "value": 64}
"""Integers of the contract by their names, which says more of them than Python's types; the others have 32 bits."""

Mistake = str | None
"""What is wrong with a value, as what follows its name; None: nothing."""


def report_failures(module: python_types.ModuleType) -> type:
    """The class `WitWorld` of a rule's module, as one that says why it fails.

    Raises: TypeError if the module has no such class, or the class not both methods.
    """
    rule = getattr(module, "WitWorld", None)
    if not isinstance(rule, type):
        raise TypeError(f"{module.__name__}.py has no class `WitWorld`, which a rule is")
    for name in ("configure", "judge"):
        if getattr(rule, name, None) in (None, getattr(wit_world.WitWorld, name)):
            raise TypeError(f"class `WitWorld` of {module.__name__}.py has no method `{name}`")
    folder = os.path.dirname(module.__file__ or "")
    interest, verdict = type_check(Interest), type_check(Verdict)

    class WitWorld(rule):
        def configure(self, settings: str) -> Interest:
            # Nothing comes before it where a rule runs, and where it is built it is not called.
            replace_what_is_missing()
            try:
                return checked(rule.configure, interest, super().configure(settings), folder)
            except BaseException as error:
                is_refusal = type(error) is Err and isinstance(error.value, str)
                if not is_refusal:
                    host.log(host.Level.ERROR, describe(error, folder))
                raise

        def judge(self, knock: Any, memory: bytes | None) -> Verdict:
            try:
                return checked(rule.judge, verdict, super().judge(knock, memory), folder)
            except BaseException as error:
                host.log(host.Level.ERROR, describe(error, folder))
                raise

    return WitWorld


class WrongAnswer(TypeError):
    """An answer that is not of the contract's type; it arose somewhere in the function that begins at `place`."""

    def __init__(self, text: str, place: str) -> None:
        super().__init__(text)
        self.place = place


def describe(error: BaseException, folder: str) -> str:
    """What was raised, and where, in a line. `folder` is where the rule's own files were when it was built."""
    if isinstance(error, WrongAnswer):
        return f"TypeError: {cut(error)}{error.place}"
    name = type(error).__name__
    try:
        text = cut(error)
    except Exception:
        text = "an exception whose text cannot be made"
    return (f"{name}: {text}" if text else f"{name} without a text") + place_of(error, folder)


def cut(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "..."


def place_of(error: BaseException, folder: str) -> str:
    """The innermost line of the rule's own through which an exception went."""
    place, entry = "", error.__traceback__
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        if file != __file__ and file.startswith(folder + "/"):
            place = f" ({file[len(folder) + 1:]}:{entry.tb_lineno})"
        entry = entry.tb_next
    return place


def replace_what_is_missing() -> None:
    """A rule has no standard output, no files and no clock: what is printed goes to the log, and to import, to open or to ask for the time fails with words."""
    if isinstance(sys.stdout, LogStream):
        return
    sys.stdout, sys.stderr = LogStream(host.Level.INFO), LogStream(host.Level.WARN)
    # What it would print is logged already.
    sys.excepthook = lambda *_: None
    sys.addaudithook(refuse)
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"):
        setattr(time, name, refuse_time)


class LogStream:
    """Logs what is written, each line by itself."""

    encoding = "utf-8"

    def __init__(self, level: host.Level) -> None:
        self.level, self.begun = level, ""

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            if line.strip():
                host.log(self.level, line)
        return len(text)

    def flush(self) -> None:
        """Nothing: a line is logged when it ends."""


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Hears of what a program is about to do (PEP 578)."""
    if event == "import" and arguments[0] not in sys.builtin_module_names:
        raise ImportError(
            f"{arguments[0]} is imported for the first time where a rule has no files; import it at the top of the file"
        )
    if event == "open":
        raise OSError("a rule has no files")
    if event == "time.sleep":
        refuse_time()


def refuse_time() -> float:
    raise OSError("a rule has no clock; the time is `knock.time`")


def checked(function: Callable[..., Any], check: Callable[[Any], Mistake], answer: Any, folder: str) -> Any:
    """What a function of the rule answered.

    Raises: WrongAnswer if it is not of the type that it must be.
    """
    mistake = check(answer)
    if mistake is None:
        return answer
    is_whole = mistake.startswith(IS)
    what = mistake.removeprefix(IS) if is_whole else "a wrong answer: " + mistake.removeprefix(".")
    place, code = "", getattr(function, "__code__", None)
    if code and code.co_filename.startswith(folder + "/"):
        place = f" ({code.co_filename[len(folder) + 1:]}:{code.co_firstlineno})"
    raise WrongAnswer(f"`{function.__name__}` returned {what}", place)


IS = " is "


def wrong(value: object, wanted: str) -> Mistake:
    return f"{IS}{show(value)}, not {wanted}"


def show(value: object) -> str:
    """A value, or what it is, for a message."""
    if value is None or isinstance(value, (bool, int, float, str, enum.Enum)):
        return cut(repr(value))
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, python_types.CoroutineType):
        return "a coroutine, as it is `async`"
    return f"of type {type(value).__name__}"


def type_check(hint: Any, name: str = "") -> Callable[[Any], Mistake]:
    """What says what is wrong with a value for a type of the contract; `name` is what the value is called there."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return record_check(hint)
    if origin in (typing.Union, python_types.UnionType):
        return union_check(arguments, name)
    if origin is list:
        item = type_check(arguments[0])
        return lambda value: items_mistake(value, item) if isinstance(value, list) else wrong(value, "a list")
    if origin is tuple:
        item, length = type_check(arguments[0]), len(arguments)
        is_one = lambda value: isinstance(value, tuple) and len(value) == length
        wanted = f"a tuple of {length}"
        return lambda value: items_mistake(value, item) if is_one(value) else wrong(value, wanted)
    if hint is int:
        most = (1 << BITS.get(name, 32)) - 1
        is_right = lambda value: isinstance(value, int) and 0 <= value <= most
        return lambda value: None if is_right(value) else wrong(value, f"an integer from 0 to {most}")
    return lambda value: None if isinstance(value, hint) else wrong(value, f"of type {hint.__name__}")


def record_check(hint: Any) -> Callable[[Any], Mistake]:
    hints = typing.get_type_hints(hint)
    fields = [(field.name, type_check(hints[field.name], field.name)) for field in dataclasses.fields(hint)]

    def check(value: Any) -> Mistake:
        if not isinstance(value, hint):
            return wrong(value, f"of type {hint.__name__}")
        for name, check_field in fields:
            mistake = check_field(getattr(value, name))
            if mistake is not None:
                return f".{name}{mistake}"
        return None

    return check


def union_check(hints: tuple[Any, ...], name: str) -> Callable[[Any], Mistake]:
    checks = {hint: type_check(hint, name) for hint in hints if hint is not python_types.NoneType}
    is_optional = len(checks) < len(hints)
    names = [hint.__name__ for hint in checks] + ["None"] * is_optional
    wanted = ", ".join(names[:-1]) + f" or {names[-1]}"
    # What is no variant may also be of a subclass.
    only = next(iter(checks.values())) if len(checks) == 1 else None

    def check(value: Any) -> Mistake:
        if value is None and is_optional:
            return None
        check_case = only or checks.get(type(value))
        return check_case(value) if check_case else wrong(value, f"of type {wanted}")

    return check


def items_mistake(items: Any, check: Callable[[Any], Mistake]) -> Mistake:
    for place, item in enumerate(items):
        mistake = check(item)
        if mistake is not None:
            return f"[{place}]{mistake}"
    return None
