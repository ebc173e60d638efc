"""Tests knock.py natively: PYTHONPATH=../../../guest-sdk/python python3 -m unittest"""

import unittest
from unittest.mock import patch

from componentize_py_types import Err
from wit_world.imports.types import Address_V4, Knock, TcpFlags, Transport, Verdict_Ignore, Verdict_Open

import knock


def packet(time: int, transport: Transport, port: int, flags: TcpFlags = TcpFlags(0)) -> Knock:
    return Knock(
        time=time,
        source=Address_V4(0xCB007107),
        source_zone=0,
        source_port=40000,
        destination=Address_V4(0xC0000201),
        destination_port=port,
        transport=transport,
        tcp_flags=flags,
        hop_limit=64,
        packet_length=40,
        interface_index=2,
        tcp_header=None,
        payload=b"",
    )


class TestKnock(unittest.TestCase):
    def test_settings(self) -> None:
        for settings, mistake in [
            ('{"within":5}', 'within: use "1s" to "3600s"'),
            ('{"within":"0s"}', 'within: use "1s" to "3600s"'),
            ('{"withn":"2s"}', "withn: unknown; the only setting is within"),
        ]:
            with self.assertRaises(Err) as refused:
                knock.WitWorld().configure(settings)
            self.assertEqual(refused.exception.value, mistake)

    def test_two_knocks_open(self) -> None:
        rule = knock.WitWorld()
        rule.configure('{"within":"2s"}')
        progress = rule.judge(packet(1_000_000, Transport.UDP, 7000), None).value
        self.assertEqual((progress.stage, progress.until), (1, 3_000_000))
        second = packet(1_400_000, Transport.TCP, 7001, TcpFlags.SYN)
        with patch("wit_world.imports.host.log") as log:
            self.assertIsInstance(rule.judge(second, progress.memory), Verdict_Open)
        self.assertEqual(log.call_args.args[1], "second knock after 400 ms")
        self.assertIsInstance(rule.judge(second, None), Verdict_Ignore)
        second.tcp_flags |= TcpFlags.ACK
        self.assertIsInstance(rule.judge(second, progress.memory), Verdict_Ignore)


if __name__ == "__main__":
    unittest.main()
