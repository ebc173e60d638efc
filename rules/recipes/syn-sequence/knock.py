#!/usr/bin/env python3
"""Sends the SYN that opens a door: see README.md beside this file. Needs CAP_NET_RAW, as root has it."""

import argparse
import hmac
import ipaddress
import pathlib
import random
import socket
import struct
import time


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source: bytes, server: bytes, port: int, sequence: int) -> bytes:
    """A TCP header with SYN (RFC 9293)."""
    head = struct.pack("!HHIIHHHH", random.randrange(32768, 61000), port, sequence, 0, 0x5002, 64240, 0, 0)
    pseudo = source + server + struct.pack("!HH", socket.IPPROTO_TCP, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


parser = argparse.ArgumentParser(description="Sends the SYN that opens a door.")
parser.add_argument("server")
parser.add_argument("port", type=int)
parser.add_argument("key_file", type=pathlib.Path, help="file with the rule's key")
parser.add_argument("--source", help="address of this machine to send from")
parser.add_argument("--seen-as", help="address that the server sees, if a router puts another one into packets")
parser.add_argument("--at", type=float, help="seconds since 1970, if this machine's clock is wrong")
args = parser.parse_args()

family, _, _, _, address = socket.getaddrinfo(args.server, args.port, type=socket.SOCK_DGRAM)[0]
with socket.socket(family, socket.SOCK_DGRAM) as way:
    if args.source:
        way.bind((args.source, 0))
    way.connect(address)  # sends nothing, but chooses the source
    source = ipaddress.ip_address(way.getsockname()[0])

minute = int(time.time() if args.at is None else args.at) // 60
seen = ipaddress.ip_address(args.seen_as) if args.seen_as else source
key = args.key_file.read_bytes().rstrip(b"\n")
sequence = int.from_bytes(hmac.digest(key, struct.pack("!Q", minute) + seen.packed, "sha256")[:4])

with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    raw.bind((str(source), 0))
    server = ipaddress.ip_address(address[0]).packed
    raw.sendto(segment(source.packed, server, args.port, sequence), (address[0], 0))
