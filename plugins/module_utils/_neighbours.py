# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neighbours and forwarding database, decoded from raw rtnetlink messages.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._address import from_bytes, mac
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink, attributes

RTM_GETNEIGH = 30
NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_VNI, NDA_MASTER = 1, 2, 5, 7, 9
NTF_SELF, NTF_MASTER = 0x02, 0x04
NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE, NUD_STALE = 0x40, 0x80, 0x02, 0x04
_HEADER = struct.Struct("=BxxxiHBB")


def decode_neighbour(payload: bytes, links: t.Mapping[int, str]) -> dict[str, t.Any] | None:
    """One entry of the ARP or NDP table; None for what ``ip neigh`` does not show (no state, NOARP)."""
    if len(payload) < 12:
        return None
    number, index, state, flags, _kind = _HEADER.unpack_from(payload)
    family = names.FAMILIES.get(number)
    found = attributes(payload, 12)
    dst = from_bytes(found.get(NDA_DST, b""))
    if family is None or dst is None or not state & ~NUD_NOARP:
        return None
    neighbour: dict[str, t.Any] = {"family": family, "dst": dst, "dev": links.get(index) or f"if{index}"}
    if found.get(NDA_LLADDR):
        neighbour["lladdr"] = mac(found[NDA_LLADDR])
    neighbour["state"] = names.words(names.NEIGHBOUR_STATES, state)
    words = names.words(names.NEIGHBOUR_FLAGS, flags)
    if words:
        neighbour["flags"] = words
    return neighbour


def decode_fdb(payload: bytes, links: t.Mapping[int, str]) -> dict[str, t.Any] | None:
    """One entry of a bridge's or a VXLAN device's forwarding database."""
    if len(payload) < 12:
        return None
    number, index, state, flags, _kind = _HEADER.unpack_from(payload)
    if number != names.AF_BRIDGE:
        return None
    found = attributes(payload, 12)
    if NDA_LLADDR not in found:
        return None
    row: dict[str, t.Any] = {"mac": mac(found[NDA_LLADDR]), "ifname": links.get(index) or f"if{index}"}
    dst = from_bytes(found.get(NDA_DST, b""))
    if dst:
        row["dst"] = dst
    row["state"] = _fdb_state(state)
    row["flags"] = names.words(names.FDB_FLAGS, flags)
    if len(found.get(NDA_MASTER, b"")) >= 4:
        (master,) = struct.unpack_from("=I", found[NDA_MASTER])
        row["master"] = links.get(master) or f"if{master}"
    if len(found.get(NDA_VLAN, b"")) >= 2:
        (row["vlan"],) = struct.unpack_from("=H", found[NDA_VLAN])
    return row


def _fdb_state(state: int) -> str:
    if state & NUD_PERMANENT:
        return "permanent"
    if state & NUD_NOARP:
        return "static"
    if state & NUD_STALE:
        return "stale"
    return "" if state & NUD_REACHABLE else f"state={state:#x}"


def read(kernel: Rtnetlink, links: t.Mapping[int, str]) -> list[dict[str, t.Any]]:
    """All neighbours of IPv4 and IPv6."""
    result: list[dict[str, t.Any]] = []
    for number in names.FAMILIES:
        for payload in kernel.dump(RTM_GETNEIGH, _HEADER.pack(number, 0, 0, 0, 0)):
            neighbour = decode_neighbour(payload, links)
            if neighbour is not None:
                result.append(neighbour)
    return result


def read_fdb(kernel: Rtnetlink, links: t.Mapping[int, str]) -> list[dict[str, t.Any]]:
    """All entries of all forwarding databases."""
    rows = (decode_fdb(payload, links) for payload in kernel.dump(RTM_GETNEIGH, _HEADER.pack(names.AF_BRIDGE, 0, 0, 0, 0)))
    return [row for row in rows if row is not None]
