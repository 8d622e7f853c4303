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
MOST = 32
FIRST_PORT, LAST_PORT = 33000, 60900


class Marks(t.NamedTuple):
    """The identifier and payload of ICMP echoes, and the source ports of TCP connects."""

    identifier: int
    payload: bytes
    port: int
    length: int

    @property
    def ports(self) -> range:
        """The source ports."""
        return range(self.port, self.port + self.length)


def of(probe: str, count: int) -> Marks:
    """The marks of the probe with this id. ValueError if it is none."""
    if not ID.fullmatch(probe):
        raise ValueError(f"id: {probe!r} is not a random id of 16 to 64 lower-case hexadecimal digits")
    if not 1 <= count <= MOST:
        raise ValueError(f"count: {count} is not between 1 and {MOST}")
    number = int(probe[:16], 16)
    identifier = (number & 0xFFFF) | 1
    port = FIRST_PORT + (number >> 16) % (LAST_PORT - FIRST_PORT)
    return Marks(identifier, MAGIC + bytes.fromhex(probe[: len(probe) // 2 * 2]), port, count)
