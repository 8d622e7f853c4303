# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether an interface leaves the checksums of what it sends to its driver, which a repair can switch off.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import typing as t

SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x16, 0x17  # linux/ethtool.h: struct ethtool_value {__u32 cmd; __u32 data;}


def _ethtool(ifname: str, command: int, value: int) -> int:
    """In the calling thread's network namespace. Errors: OSError."""
    given = array.array("B", struct.pack("=II", command, value))
    request = struct.pack("16sP", ifname.encode(), given.buffer_info()[0]).ljust(40, b"\0")  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door, SIOCETHTOOL, request)
    found: int = struct.unpack("=II", given.tobytes())[1]
    return found


def transmit_checksum(ifname: str) -> bool | None:
    """None where the interface does not say. Nothing is set."""
    try:
        return bool(_ethtool(ifname, ETHTOOL_GTXCSUM, 0))
    except OSError:
        return None


def set_transmit_checksum(ifname: str, on: bool) -> None:
    """As `ethtool -K IFNAME tx on` or `off`, and as Felix does. Errors: OSError."""
    _ethtool(ifname, ETHTOOL_STXCSUM, int(on))


def mark_tunnels(links: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The links, those of VXLAN with ``tx_checksum``."""
    for link in links:
        if (link.get("linkinfo") or {}).get("info_kind") == "vxlan":
            found = transmit_checksum(link["ifname"])
            if found is not None:
                link["tx_checksum"] = found
    return links
