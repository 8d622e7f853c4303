# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the packets of one probe are told from all others: both ends compute it from the probe's random id.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import re
import typing as t

ID = re.compile(r"[0-9a-f]{16,64}", re.ASCII)
MAGIC = b"podnet.doctor"
MOST = 32  # packets of a train
FLOWS = 16  # a power of two
WATCHING = range(8, 16)  # the flows whose ports are tried again and again by a watch
FULL_SIZE = 256  # the sequence numbers of echoes of full size begin here
WATCHED, MOST_WATCHED = 4096, 2048  # those of a watch
FIRST_PORT, LAST_PORT = 33000, 60700
FIRST_SEGMENT, SEGMENTS = 1000, 200  # below what anybody asks for: the smallest MTU of IPv6 leaves 1220


class Marks(t.NamedTuple):
    """What the packets of a probe bear: each of its flows has an identifier of echoes and source ports of its own."""

    identifier: int
    payload: bytes
    port: int
    segment: int
    length: int

    def identifier_of(self, flow: int) -> int:
        """The identifier of the echoes of a flow."""
        return self.identifier + flow

    def flow_of(self, identifier: int) -> int | None:
        """The flow with this identifier."""
        flow = identifier - self.identifier
        return flow if 0 <= flow < FLOWS else None

    def ports_of(self, flow: int) -> range:
        """The source ports of a flow."""
        first = self.port + flow * self.length
        return range(first, first + self.length)

    @property
    def ports(self) -> range:
        """The source ports of all flows."""
        return range(self.port, self.port + FLOWS * self.length)

    def place_of(self, port: int) -> tuple[int, int]:
        """(flow, number) of one of the source ports."""
        return divmod(port - self.port, self.length)


def of(probe: str, count: int) -> Marks:
    """The marks of the probe with this id. ValueError if it is none."""
    if not ID.fullmatch(probe):
        raise ValueError(f"id: {probe!r} is not a random id of 16 to 64 lower-case hexadecimal digits")
    if not 1 <= count <= MOST:
        raise ValueError(f"count: {count} is not between 1 and {MOST}")
    number = int(probe[:16], 16)
    identifier = number & 0xFFFF & ~(FLOWS - 1) or FLOWS
    port = FIRST_PORT + (number >> 16) % (LAST_PORT - FIRST_PORT)
    payload = MAGIC + bytes.fromhex(probe[: len(probe) // 2 * 2])
    return Marks(identifier, payload, port, FIRST_SEGMENT + (number >> 32) % SEGMENTS, count)
