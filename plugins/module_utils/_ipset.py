# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's IP sets, over netlink: neither the program ipset is needed, which nodes mostly do not have, nor anything loaded.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Netlink, attribute, attributes, attributes_in_turn

NETLINK_NETFILTER, IPSET_CMD_LIST = 12, 6 << 8 | 7
PROTOCOL_VERSION = 6
# linux/netfilter/ipset/ip_set.h
PROTOCOL, SETNAME, TYPENAME, FAMILY, ADT, DATA = 1, 2, 3, 5, 8, 7
IP, CIDR, PORT, PROTO, CADT_FLAGS, IPADDR_IPV4, IPADDR_IPV6 = 1, 3, 4, 7, 8, 1, 2
NOMATCH = 4
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
FAMILIES = {2: "inet", 10: "inet6"}
TYPES = ("hash:ip", "hash:net", "hash:ip,port", "hash:net,port")
LARGE = 1000  # members of a set that is kept whole


def holds(text: str, addresses: t.Collection[str]) -> bool:
    """Whether an address, a prefix or a range holds one of the addresses."""
    low, dash, high = text.partition("-")
    if not dash and "/" not in text:
        return text in addresses
    try:
        if dash:
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            return any(one.version == first.version == last.version and int(first) <= int(one) <= int(last) for one in map(ipaddress.ip_address, addresses))
        network = ipaddress.ip_network(text, strict=False)
        return any(ipaddress.ip_address(one) in network for one in addresses)
    except ValueError:
        return True


def read(deadline: Deadline, names: t.Collection[str], addresses: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    """The sets of these names as {name, type, family, members}; a member is what ``ipset save`` prints of it, without time-out and counters.

    cut: of a large set only the members were kept that hold one of these addresses. unknown: how many members were not understood.
    Errors: OSError, Expired.
    """
    with Netlink(deadline, NETLINK_NETFILTER) as kernel:
        payloads = kernel.dump(IPSET_CMD_LIST, bytes(4) + attribute(PROTOCOL, bytes([PROTOCOL_VERSION])))
    found: dict[str, dict[str, t.Any]] = {}
    for payload in payloads:
        told = attributes(payload, 4)
        name = _text(told.get(SETNAME, b""))
        if name not in names:
            continue
        if TYPENAME in told:
            family = told.get(FAMILY, b"\0")
            found[name] = {"name": name, "type": _text(told[TYPENAME]), "family": FAMILIES.get(family[0], "inet"), "members": []}
        if name in found and ADT in told and found[name]["type"] in TYPES:
            for kind, entry in attributes_in_turn(told[ADT]):
                if kind == DATA:
                    _add(found[name], attributes(entry))
    return [cut(entry, addresses) for entry in found.values()]


def saved(text: str) -> list[dict[str, t.Any]]:
    """The text of ``ipset save``. A line about a set that is not understood is counted as its ``unknown``."""
    found: dict[str, dict[str, t.Any]] = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 3 and words[0] == "create":
            options = dict(zip(words[3:], words[4:]))
            found[words[1]] = {"name": words[1], "type": words[2], "family": options.get("family", "inet"), "members": []}
        elif len(words) >= 3 and words[0] == "add" and words[1] in found:
            found[words[1]]["members"].append(" ".join([words[2], *(["nomatch"] if "nomatch" in words[3:] else [])]))
        elif len(words) >= 2 and words[1] in found:
            found[words[1]]["unknown"] = found[words[1]].get("unknown", 0) + 1
    return list(found.values())


def cut(entry: dict[str, t.Any], addresses: t.Sequence[str]) -> dict[str, t.Any]:
    """A large set with the members that matter for some addresses."""
    members = entry["members"]
    if len(members) <= LARGE:
        return entry
    return {**entry, "members": [member for member in members if holds(member.split()[0].partition(",")[0], addresses)], "cut": list(addresses)}


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _add(found: dict[str, t.Any], entry: dict[int, bytes]) -> None:
    member = _member(entry, found["type"].endswith(",port"))
    if member is None:
        found["unknown"] = found.get("unknown", 0) + 1
    else:
        found["members"].append(member)


def _member(entry: dict[int, bytes], with_port: bool) -> str | None:
    packed = attributes(entry.get(IP, b""))
    address = packed.get(IPADDR_IPV4, packed.get(IPADDR_IPV6, b""))
    if len(address) not in (4, 16):
        return None
    text = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
    length = entry.get(CIDR, b"")
    if length and length[0] != len(address) * 8:
        text += f"/{length[0]}"
    if with_port:
        if len(entry.get(PORT, b"")) != 2:
            return None
        protocol = entry.get(PROTO, b"\x06")[0]
        text += f",{PROTOCOLS.get(protocol, protocol)}:{struct.unpack('>H', entry[PORT])[0]}"
    flags = entry.get(CADT_FLAGS, b"")
    return text + (" nomatch" if len(flags) == 4 and struct.unpack(">I", flags)[0] & NOMATCH else "")
