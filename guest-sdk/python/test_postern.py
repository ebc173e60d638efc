"""Tests postern.py natively: python3 -m unittest"""

import unittest
from types import ModuleType
from unittest.mock import patch

import postern
from wit_world import WitWorld as Rule
from wit_world.imports import types
from wit_world.imports.types import Address_V6, Interest, OpenRequest, OpenVerdict, Prefix, Token, Verdict


def module(**methods: object) -> ModuleType:
    """A rule's module with these methods."""
    made = ModuleType("office")
    made.__file__ = __file__
    made.WitWorld = type("WitWorld", (Rule,), methods)
    return made


class TestPostern(unittest.TestCase):
    def test_what_a_rule_lacks_is_told_where_it_is_built(self) -> None:
        for made, mistake in [
            (ModuleType("office"), "office.py has no class `WitWorld`, which a rule is"),
            (module(), "class `WitWorld` of office.py has no method `configure`"),
            (module(configure=lambda self, settings: None), "class `WitWorld` of office.py has no method `judge`"),
        ]:
            with self.assertRaisesRegex(TypeError, mistake):
                postern.report_failures(made)

    def test_an_answer_is_handed_on(self) -> None:
        answer = types.Verdict_Forget("too late")
        rule = postern.report_failures(module(configure=lambda self, settings: None, judge=lambda self, knock, memory: answer))
        with patch("wit_world.imports.host.log") as log:
            self.assertIs(rule().judge(None, None), answer)
        log.assert_not_called()

    def test_every_kind_of_type_is_looked_into(self) -> None:
        verdict, interest = postern.type_check(Verdict), postern.type_check(Interest)
        token = types.Once_Token(Token(b"1", None))
        right = types.Verdict_Open(OpenVerdict([OpenRequest(token, "web", 30, 64)], None))
        self.assertIsNone(verdict(right))
        right.value.requests[0].once.value.until = -1
        self.assertEqual(verdict(right), f".value.requests[0].once.value.until is -1, not an integer from 0 to {2**64 - 1}")
        asked = Interest([], types.Destination_Within([Prefix(Address_V6((0, 0, 1)), 64)]), 0, False, 1)
        self.assertEqual(interest(asked), ".destination.value[0].address.value is a tuple of 3, not a tuple of 4")
        asked.destination = types.Destination_ThisHost
        self.assertTrue(interest(asked).startswith(".destination is the class Destination_ThisHost itself, not of type"))
        asked.destination, asked.tcp_header = types.Destination_ThisHost(), 1
        self.assertEqual(interest(asked), ".tcp_header is 1, not of type bool")


if __name__ == "__main__":
    unittest.main()
