# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter of a capture, which the kernel runs: a classic BPF program that lets through what bears the marks of one probe, also inside of
IPIP, VXLAN and ICMP errors. What it cannot compare, such as payloads, is left to _packets.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._marks import FLOWS, Marks

SO_ATTACH_FILTER = 26
SNAP = 512  # outer headers, an ICMP error, and the headers and marks that it quotes
DEPTH = 4  # headers in headers: IPIP or VXLAN, an ICMP error, IPIP again, the packet
VXLAN_HEADERS = 8 + 8 + 14  # UDP, VXLAN, Ethernet

BYTE_X, HALF_X, MEMORY = 0x50, 0x48, 0x60  # loads into A; _X: relative to X
X_IS, X_FROM_A, A_FROM_X, STORE = 0x01, 0x07, 0x87, 0x02
ADD, ADD_X, AND, LEFT, RIGHT = 0x04, 0x0C, 0x54, 0x64, 0x74
JUMP, EQUAL, ABOVE, AT_LEAST, ANY_BIT = 0x05, 0x15, 0x25, 0x35, 0x45
GIVE = 0x06
LOAD, LOAD_BYTE = 0x20, 0x30
ETH_P_ARP, ETH_P_IPV6, ICMP6 = 0x0806, 0x86DD, 58
OWN_PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
ARP_SENDER, ARP_TARGET, ARP_LENGTH = 14, 24, 28  # of Ethernet and IPv4 (RFC 826)
IPV6_HEADER = 40
NDP_ASKS, NDP_ANSWERS = 135, 136
NDP_TARGET, NDP_LENGTH = IPV6_HEADER + 8, IPV6_HEADER + 24
NEXT: t.Final = ""  # the following instruction
Line = t.Union[str, "tuple[int, int]", "tuple[int, int, str, str]"]


def _header(depth: int, marks: Marks, vxlan_ports: t.Sequence[int]) -> list[Line]:
    """What looks at the IP header at X; a packet in it is looked at by the next depth."""
    first, last = marks.ports[0], marks.ports[-1]
    inner = f"header{depth + 1}" if depth + 1 < DEPTH else f"drop{depth}"

    def here(name: str) -> str:
        return f"{name}{depth}"

    def deeper(name: str, skip: int) -> list[Line]:
        return [here(name), (A_FROM_X, 0), (ADD, skip), (X_FROM_A, 0), (JUMP, 0, inner, "")]

    lines: list[Line] = [
        here("header"),
        (BYTE_X, 0), (RIGHT, 4), (EQUAL, 4, here("four"), NEXT), (EQUAL, 6, here("six"), here("drop")),
        here("four"),
        (HALF_X, 6), (ANY_BIT, 0x1FFF, here("drop"), NEXT),  # a later fragment has no header of what it carries
        (BYTE_X, 9), (STORE, 0), (BYTE_X, 0), (AND, 0xF), (LEFT, 2), (ADD_X, 0), (X_FROM_A, 0), (JUMP, 0, here("inside"), ""),
        here("six"),
        (BYTE_X, 6), (STORE, 0), (A_FROM_X, 0), (ADD, 40), (X_FROM_A, 0),
        here("inside"),
        (MEMORY, 0), (EQUAL, 6, here("ports"), NEXT), (EQUAL, 17, here("udp"), NEXT), (EQUAL, 1, here("icmp"), NEXT), (EQUAL, 58, here("icmp6"), NEXT),
        (EQUAL, 4, here("straight"), NEXT), (EQUAL, 41, here("straight"), here("drop")),
        here("icmp"),
        (BYTE_X, 0), (EQUAL, 8, here("echo"), NEXT), (EQUAL, 0, here("echo"), NEXT), (EQUAL, 3, here("error"), NEXT), (EQUAL, 5, here("error"), NEXT),
        (EQUAL, 11, here("error"), here("drop")),
        here("icmp6"),
        (BYTE_X, 0), (EQUAL, 128, here("echo"), NEXT), (EQUAL, 129, here("echo"), NEXT), (AT_LEAST, 5, here("drop"), here("error")),
        here("echo"),
        (HALF_X, 4), (AND, 0xFFFF & ~(FLOWS - 1)), (EQUAL, marks.identifier, here("take"), here("drop")),
        here("udp"),
        (HALF_X, 2), *((EQUAL, port, here("vxlan"), NEXT) for port in vxlan_ports),
        here("ports"),
        (HALF_X, 0), (AT_LEAST, first, NEXT, here("to")), (ABOVE, last, NEXT, here("take")),
        here("to"),
        (HALF_X, 2), (AT_LEAST, first, NEXT, here("drop")), (ABOVE, last, here("drop"), here("take")),
        *deeper("straight", 0), *deeper("error", 8), *deeper("vxlan", VXLAN_HEADERS),
        here("take"), (GIVE, SNAP),
        here("drop"), (GIVE, 0),
    ]  # fmt: skip
    return lines


def program(marks: Marks, vxlan_ports: t.Sequence[int]) -> bytes:
    """A classic BPF program over packets that begin with their IP header."""
    lines: list[Line] = [(X_IS, 0)]
    for depth in range(DEPTH):
        lines += _header(depth, marks, vxlan_ports)
    labels: dict[str, int] = {}
    code: list[tuple[int, int, str, str]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(code)
        else:
            code.append(line if len(line) == 4 else (*line, NEXT, NEXT))
    packed = b""
    for place, (operation, value, yes, no) in enumerate(code):
        jumps = [labels[name] - place - 1 if name else 0 for name in (yes, no)]
        packed += struct.pack("=HBBI", operation, 0, 0, jumps[0]) if operation == JUMP else struct.pack("=HBBI", operation, *jumps, value)
    return packed


def _arp(addresses: t.Sequence[str]) -> bytes:
    """Lets through ARP that asks for one of these IPv4 addresses, or comes from it."""
    numbers = [int.from_bytes(socket.inet_aton(address), "big") for address in addresses]
    code = b""
    for place in (ARP_TARGET, ARP_SENDER):
        code += struct.pack("=HBBI", LOAD, 0, 0, place)
        code += b"".join(struct.pack("=HBBIHBBI", EQUAL, 0, 1, number, GIVE, 0, 0, ARP_LENGTH) for number in numbers)
    return code + struct.pack("=HBBI", GIVE, 0, 0, 0)


def _ndp(addresses: t.Sequence[str]) -> bytes:
    """Lets through neighbour solicitations for one of these IPv6 addresses, and advertisements of it (RFC 4861)."""
    code = struct.pack("=HBBIHBBIHBBI", LOAD_BYTE, 0, 0, 6, EQUAL, 1, 0, ICMP6, GIVE, 0, 0, 0)
    code += struct.pack("=HBBIHBBIHBBIHBBI", LOAD_BYTE, 0, 0, IPV6_HEADER, EQUAL, 2, 0, NDP_ASKS, EQUAL, 1, 0, NDP_ANSWERS, GIVE, 0, 0, 0)
    for address in addresses:
        words = struct.unpack("!4I", socket.inet_pton(socket.AF_INET6, address))
        for number, word in enumerate(words):
            code += struct.pack("=HBBIHBBI", LOAD, 0, 0, NDP_TARGET + 4 * number, EQUAL, 0, 2 * (3 - number) + 1, word)
        code += struct.pack("=HBBI", GIVE, 0, 0, NDP_LENGTH)
    return code + struct.pack("=HBBI", GIVE, 0, 0, 0)


def neighbour_program(addresses: t.Sequence[str]) -> bytes:
    """One over questions for the link-layer addresses of these, and their answers: ARP and IPv6's neighbour discovery. At most 16."""
    arp, ndp = _arp([one for one in addresses if ":" not in one]), _ndp([one for one in addresses if ":" in one])
    head = struct.pack("=HBBIHBBIHBBI", LOAD, 0, 0, OWN_PROTOCOL, EQUAL, 1, 0, ETH_P_ARP, JUMP, 0, 0, len(arp) // 8)
    return head + arp + struct.pack("=HBBIHBBIHBBI", LOAD, 0, 0, OWN_PROTOCOL, EQUAL, 1, 0, ETH_P_IPV6, GIVE, 0, 0, 0) + ndp


def attach(listener: socket.socket, code: bytes) -> None:
    """Put a BPF program in front of a socket."""
    buffer = ctypes.create_string_buffer(code)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(code) // 8, ctypes.addressof(buffer)))
