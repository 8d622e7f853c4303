# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, addresses and rules, decoded from raw rtnetlink messages; only what is particular to rarer kinds of links is left to pyroute2.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import socket
import struct
import sys
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _pyroute2
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._address import from_bytes, mac
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink, attribute, attributes

RTM_GETLINK, RTM_GETADDR, RTM_GETRULE = 18, 22, 34
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_STATS64, IFLA_LINK_NETNSID = 1, 3, 4, 5, 10, 16, 18, 23, 37
IFLA_CARRIER_CHANGES = 35
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 3, 4, 8
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_OIFNAME = 1, 2, 3, 4, 6, 17
FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK = 10, 14, 15, 16
IFF_UP, IFF_RUNNING = 0x1, 0x40
FIB_RULE_INVERT = 0x2
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_RULE = struct.Struct("=BBBBBBBBI")
_NUMBER = struct.Struct("=I")
_STATS = struct.Struct("=8Q")  # of rtnl_link_stats64: rx and tx packets, bytes, errors, dropped
_BOND_MODES = dict(enumerate(("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")))
_MII = dict(enumerate(("UP", "GOING_DOWN", "DOWN", "GOING_BACK")))
_PORT = dict(enumerate(("disabled", "listening", "learning", "forwarding", "blocking")))
_VLAN = {0x8100: "802.1Q", 0x88A8: "802.1ad"}
Names = t.Mapping[int, str]
Convert = t.Callable[[t.Any, Names], t.Any]
Source = t.Union[str, t.Tuple[int, t.Callable[[bytes], t.Any]]]  # noqa: UP006 - evaluated on Python 3.9


def _same(value: t.Any, _links: Names) -> t.Any:
    return value


def _bool(value: t.Any, _links: Names) -> bool:
    return bool(value)


def _present(value: t.Any, _links: Names) -> t.Any:
    return value or None


def _any(value: t.Any, _links: Names) -> str:
    return "any" if value in (None, "0.0.0.0", "::") else str(value)


def _ifname(value: t.Any, links: Names) -> str | None:
    return (links.get(value) or f"if{value}") if value else None


def _word(words: dict[int, str]) -> Convert:
    return lambda value, _links: words.get(value, str(value))


def _true(value: t.Any, _links: Names) -> bool | None:
    return True if value else None


def _native(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _network(value: bytes) -> int:
    return int.from_bytes(value, "big")


# Kind of link -> name of the detail -> (where its value is, how it is told). The value of a kind that every node of Calico or flannel may have
# is read here, by the number of its attribute; that of the others is asked of pyroute2, by its name there.
INFO: dict[str, dict[str, tuple[Source, Convert]]] = {
    "vxlan": {
        "id": ((1, _native), _same),
        "local": ((4, from_bytes), _same),
        "local6": ((17, from_bytes), _same),
        "link": ((3, _native), _ifname),
        "port": ((15, _network), _same),
        "learning": ((7, _native), _bool),
        "external": ((25, _native), _true),
    },
    "ipip": {
        "local": ((2, from_bytes), _any),
        "remote": ((3, from_bytes), _any),
        "ttl": ((4, _native), _same),
        "pmtudisc": ((10, _native), _bool),
        "link": ((1, _native), _ifname),
        "external": ((19, _native), _true),
    },
    "bridge": {"stp_state": ((5, _native), _same), "vlan_filtering": ((7, _native), _same)},
    "tun": {"type": ("IFLA_TUN_TYPE", _word({1: "tun", 2: "tap"}))},
    "vlan": {"protocol": ("IFLA_VLAN_PROTOCOL", _word(_VLAN)), "id": ("IFLA_VLAN_ID", _same)},
    "vrf": {"table": ("IFLA_VRF_TABLE", _same)},
    "bond": {"mode": ("IFLA_BOND_MODE", _word(_BOND_MODES)), "active_slave": ("IFLA_BOND_ACTIVE_SLAVE", _ifname)},
}
SLAVE_INFO: dict[str, dict[str, tuple[Source, Convert]]] = {
    "bridge": {
        "state": ((1, _native), _word(_PORT)),
        "hairpin": ((4, _native), _bool),
        "learning": ((8, _native), _bool),
        "flood": ((9, _native), _bool),
        "neigh_suppress": ((32, _native), _bool),
        "isolated": ((33, _native), _bool),
    },
    "bond": {
        "state": ("IFLA_BOND_SLAVE_STATE", _word({0: "ACTIVE", 1: "BACKUP"})),
        "mii_status": ("IFLA_BOND_SLAVE_MII_STATUS", _word(_MII)),
    },
}


def _asked_of_pyroute2(data: bytes, part: str) -> t.Callable[[str], t.Any]:
    """A function from the name of an attribute to its value in this part of a link's details."""
    found = _pyroute2.decoder("link")(bytes(_LINK.size) + attribute(IFLA_LINKINFO, data)).get_attr("IFLA_LINKINFO").get_attr(part)
    return found.get_attr if hasattr(found, "get_attr") else lambda _name: None


def _details(data: bytes, part: bytes, pyroute2_part: str, known: dict[str, tuple[Source, Convert]], links: Names) -> dict[str, t.Any]:
    details, raw = {}, attributes(part)
    asked: t.Callable[[str], t.Any] | None = None
    for name, (source, convert) in known.items():
        if isinstance(source, str):
            asked = asked or _asked_of_pyroute2(data, pyroute2_part)
            value = asked(source)
        else:
            value = source[1](raw[source[0]]) if source[0] in raw else None
        if value is None and convert is not _any:
            continue
        value = convert(value, links)
        if value is not None:
            details[name] = value
    return details


def _linkinfo(data: bytes, links: Names) -> dict[str, t.Any]:
    """The kinds of a link, and the details of those that are in INFO and SLAVE_INFO."""
    found = attributes(data)
    result: dict[str, t.Any] = {}
    for name, of_kind, of_data, pyroute2_part, known in (
        ("info", IFLA_INFO_KIND, IFLA_INFO_DATA, "IFLA_INFO_DATA", INFO),
        ("info_slave", IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA, "IFLA_INFO_SLAVE_DATA", SLAVE_INFO),
    ):
        if of_kind not in found:
            continue
        kind = result[f"{name}_kind"] = _text(found[of_kind])
        details = _details(data, found[of_data], pyroute2_part, known[kind], links) if kind in known and of_data in found else {}
        if details:
            result[f"{name}_data"] = details
    return result


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _number(found: t.Mapping[int, bytes], kind: int) -> int | None:
    value = found.get(kind, b"")
    return _NUMBER.unpack_from(value)[0] if len(value) >= 4 else None


def _hardware(packed: bytes, link_type: str) -> str:
    """The link-layer address; those of IP tunnels are IP addresses."""
    address = from_bytes(packed) if link_type in ("ipip", "gre", "sit", "tunnel6", "gre6") else None
    return address or mac(packed)


def _flags(flags: int) -> list[str]:
    carrier = ["NO-CARRIER"] if flags & IFF_UP and not flags & IFF_RUNNING else []
    return carrier + names.words(names.LINK_FLAGS, flags)


def _link(payload: bytes, links: Names) -> dict[str, t.Any]:
    kind, index, flags, _change = _LINK.unpack_from(payload)[1:]
    found = attributes(payload, _LINK.size)
    link_type = names.name(names.LINK_TYPES, kind)
    link: dict[str, t.Any] = {
        "ifindex": index,
        "ifname": _text(found[IFLA_IFNAME]) if IFLA_IFNAME in found else None,
        "flags": _flags(flags),
        "mtu": _number(found, IFLA_MTU),
        "operstate": names.name(names.OPERSTATES, found[IFLA_OPERSTATE][0]) if found.get(IFLA_OPERSTATE) else None,
        "link_type": link_type,
    }
    if found.get(IFLA_ADDRESS):
        link["address"] = _hardware(found[IFLA_ADDRESS], link_type)
    master = _number(found, IFLA_MASTER)
    if master:
        link["master"] = links.get(master) or f"if{master}"
    peer, nsid = _number(found, IFLA_LINK), _number(found, IFLA_LINK_NETNSID)
    if peer:
        if nsid is None:
            link["link"] = links.get(peer) or f"if{peer}"
        else:
            link["link_index"] = peer
    if nsid is not None:
        link["link_netnsid"] = nsid
    details = _linkinfo(found[IFLA_LINKINFO], links) if IFLA_LINKINFO in found else {}
    if details:
        link["linkinfo"] = details
    if len(found.get(IFLA_STATS64, b"")) >= _STATS.size:
        values = _STATS.unpack_from(found[IFLA_STATS64])
        link["stats64"] = {
            side: {"bytes": values[at + 2], "packets": values[at], "errors": values[at + 4], "dropped": values[at + 6]} for at, side in enumerate(("rx", "tx"))
        }
    return link


def dump(kernel: Rtnetlink) -> list[bytes]:
    """The raw messages of all links."""
    return kernel.dump(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0))


def indexes(payloads: t.Iterable[bytes]) -> dict[int, str]:
    """The names of links by their index."""
    found: dict[int, str] = {}
    for payload in payloads:
        if len(payload) >= _LINK.size:
            found[_LINK.unpack_from(payload)[2]] = _text(_first(payload, _LINK.size, IFLA_IFNAME))
    return found


def carrier_changes(payloads: t.Iterable[bytes]) -> dict[int, int]:
    """Interface index -> how often its carrier has come and gone since it was made."""
    found = {}
    for payload in payloads:
        if len(payload) >= _LINK.size:
            value = _first(payload, _LINK.size, IFLA_CARRIER_CHANGES)
            if len(value) == 4:
                found[_LINK.unpack_from(payload)[2]] = _native(value)
    return found


def packet_counters(payloads: t.Iterable[bytes]) -> dict[int, dict[str, int]]:
    """Interface index -> how many packets it has received and sent."""
    found = {}
    for payload in payloads:
        if len(payload) >= _LINK.size:
            value = attributes(payload, _LINK.size).get(IFLA_STATS64, b"")
            if len(value) >= _STATS.size:
                received, sent = _STATS.unpack_from(value)[:2]
                found[_LINK.unpack_from(payload)[2]] = {"rx": received, "tx": sent}
    return found


def _first(payload: bytes, offset: int, kind: int) -> bytes:
    """The attribute that the kernel writes first, found without taking all others apart."""
    length, number = struct.unpack_from("=HH", payload, offset) if offset + 4 <= len(payload) else (0, 0)
    if number == kind and 4 <= length <= len(payload) - offset:
        return payload[offset + 4 : offset + length]
    return attributes(payload, offset).get(kind, b"")


def links(payloads: t.Iterable[bytes], links_by_index: Names) -> list[dict[str, t.Any]]:
    """All links with what the kernel says about their kind and their peer."""
    found = [_link(payload, links_by_index) for payload in payloads if len(payload) >= _LINK.size]
    up = {link["ifname"]: "UP" in link["flags"] for link in found}
    for link in found:
        if not up.get(link.get("link"), True):
            link["flags"].append("M-DOWN")
    return found


def address(payload: bytes, links_by_index: Names) -> dict[str, t.Any] | None:
    """One address message."""
    if len(payload) < _ADDRESS.size:
        return None
    number, length, bits, scope, index = _ADDRESS.unpack_from(payload)
    found = attributes(payload, _ADDRESS.size)
    family = names.FAMILIES.get(number)
    address = from_bytes(found.get(IFA_ADDRESS, b""))
    local = from_bytes(found.get(IFA_LOCAL, b"")) or address
    if family is None or local is None:
        return None
    result: dict[str, t.Any] = {
        "ifname": links_by_index.get(index) or f"if{index}",
        "family": family,
        "local": local,
        "prefixlen": length,
        "scope": names.name(names.SCOPES, scope),
    }
    if address and address != local:
        result["peer"] = address
    broadcast = from_bytes(found.get(IFA_BROADCAST, b""))
    if broadcast:
        result["broadcast"] = broadcast
    if found.get(IFA_LABEL):
        result["label"] = _text(found[IFA_LABEL])
    long_bits = _number(found, IFA_FLAGS)
    flags = _address_flags(bits if long_bits is None else long_bits, family)
    if flags:
        result["flags"] = flags
    return result


def _address_flags(bits: int, family: str) -> list[str]:
    words = names.words(names.ADDRESS_FLAGS, bits ^ 0x80)
    return ["temporary" if word == "secondary" and family == "inet6" else word for word in words]


def dump_addresses(kernel: Rtnetlink) -> list[bytes]:
    """The raw messages of all addresses."""
    return kernel.dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0))


def addresses(kernel: Rtnetlink, links_by_index: Names) -> list[dict[str, t.Any]]:
    """All addresses of IPv4 and IPv6."""
    found = (address(payload, links_by_index) for payload in dump_addresses(kernel))
    return [entry for entry in found if entry is not None]


def dump_rules(kernel: Rtnetlink, number: int) -> list[bytes]:
    """The raw messages of all routing policy rules of a family."""
    return kernel.dump(RTM_GETRULE, _RULE.pack(number, 0, 0, 0, 0, 0, 0, 0, 0))


def rule(payload: bytes) -> dict[str, t.Any] | None:
    """One rule; None where it is of another family."""
    if len(payload) < _RULE.size:
        return None
    number, dst_len, src_len, _tos, table, _one, _two, kind, flags = _RULE.unpack_from(payload)
    family = names.FAMILIES.get(number)
    if family is None:
        return None
    found = attributes(payload, _RULE.size)
    result: dict[str, t.Any] = {"family": family, "priority": _number(found, FRA_PRIORITY) or 0}
    for name, attribute_of, length in (("src", FRA_SRC, src_len), ("dst", FRA_DST, dst_len)):
        address = from_bytes(found.get(attribute_of, b""))
        if address:
            result[name] = f"{address}/{length}"
    for name, attribute_of in (("iif", FRA_IIFNAME), ("oif", FRA_OIFNAME)):
        if found.get(attribute_of):
            result[name] = _text(found[attribute_of])
    mark, mask = _number(found, FRA_FWMARK), _number(found, FRA_FWMASK)
    if mark or mask:
        result["fwmark"] = mark or 0
        result["fwmask"] = 0xFFFFFFFF if mask is None else mask
    if flags & FIB_RULE_INVERT:
        result["not"] = True
    action = names.name(names.RULE_ACTIONS, kind)
    long_table = _number(found, FRA_TABLE)
    table = table if long_table is None else long_table
    if table and action == "to_tbl":
        result["table"] = table
    target = _number(found, FRA_GOTO)
    if target:
        result["goto"] = target
    suppressed = _number(found, FRA_SUPPRESS_PREFIXLEN)
    if suppressed is not None and suppressed != 0xFFFFFFFF:
        result["suppress_prefixlen"] = suppressed
    result["action"] = action
    return result


def rules(kernel: Rtnetlink) -> list[dict[str, t.Any]]:
    """The routing policy rules of IPv4 and IPv6."""
    result: list[dict[str, t.Any]] = []
    for family, number in (("inet", socket.AF_INET), ("inet6", socket.AF_INET6)):
        try:
            payloads = dump_rules(kernel, number)
        except OSError:
            if family == "inet":
                raise
            continue  # a kernel without IPv6 rules
        result.extend(found for found in map(rule, payloads) if found is not None)
    return result
