# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, addresses and rules, decoded by pyroute2.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _pyroute2
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._address import family_of, from_bytes
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink, attributes

RTM_GETLINK, RTM_GETADDR, RTM_GETRULE = 18, 22, 34
IFLA_IFNAME = 3
IFF_UP, IFF_RUNNING = 0x1, 0x40
FIB_RULE_INVERT = 0x2
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_RULE = struct.Struct("=BBBBBBBBI")
_BOND_MODES = dict(enumerate(("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")))
_MII = dict(enumerate(("UP", "GOING_DOWN", "DOWN", "GOING_BACK")))
_PORT = dict(enumerate(("disabled", "listening", "learning", "forwarding", "blocking")))
_VLAN = {0x8100: "802.1Q", 0x88A8: "802.1ad"}
Names = t.Mapping[int, str]
Convert = t.Callable[[t.Any, Names], t.Any]


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


INFO: dict[str, dict[str, tuple[str, Convert]]] = {
    "vxlan": {
        "id": ("IFLA_VXLAN_ID", _same),
        "local": ("IFLA_VXLAN_LOCAL", _same),
        "local6": ("IFLA_VXLAN_LOCAL6", _same),
        "link": ("IFLA_VXLAN_LINK", _ifname),
        "port": ("IFLA_VXLAN_PORT", _same),
        "learning": ("IFLA_VXLAN_LEARNING", _bool),
        "external": ("IFLA_VXLAN_COLLECT_METADATA", lambda value, _links: True if value else None),
    },
    "ipip": {
        "local": ("IFLA_IPIP_LOCAL", _any),
        "remote": ("IFLA_IPIP_REMOTE", _any),
        "ttl": ("IFLA_IPIP_TTL", _same),
        "pmtudisc": ("IFLA_IPIP_PMTUDISC", _bool),
        "link": ("IFLA_IPIP_LINK", _ifname),
        "external": ("IFLA_IPIP_COLLECT_METADATA", lambda value, _links: True if value else None),
    },
    "tun": {"type": ("IFLA_TUN_TYPE", _word({1: "tun", 2: "tap"}))},
    "bridge": {"stp_state": ("IFLA_BR_STP_STATE", _same), "vlan_filtering": ("IFLA_BR_VLAN_FILTERING", _same)},
    "vlan": {"protocol": ("IFLA_VLAN_PROTOCOL", _word(_VLAN)), "id": ("IFLA_VLAN_ID", _same)},
    "vrf": {"table": ("IFLA_VRF_TABLE", _same)},
    "bond": {"mode": ("IFLA_BOND_MODE", _word(_BOND_MODES)), "active_slave": ("IFLA_BOND_ACTIVE_SLAVE", _ifname)},
}
SLAVE_INFO: dict[str, dict[str, tuple[str, Convert]]] = {
    "bridge": {
        "state": ("IFLA_BRPORT_STATE", _word(_PORT)),
        "hairpin": ("IFLA_BRPORT_MODE", _bool),
        "learning": ("IFLA_BRPORT_LEARNING", _bool),
        "flood": ("IFLA_BRPORT_UNICAST_FLOOD", _bool),
        "neigh_suppress": ("IFLA_BRPORT_NEIGH_SUPPRESS", _bool),
        "isolated": ("IFLA_BRPORT_ISOLATED", _bool),
    },
    "bond": {
        "state": ("IFLA_BOND_SLAVE_STATE", _word({0: "ACTIVE", 1: "BACKUP"})),
        "mii_status": ("IFLA_BOND_SLAVE_MII_STATUS", _word(_MII)),
    },
}


def _details(info: t.Any, kind: str, part: str, known: dict[str, dict[str, tuple[str, Convert]]], links: Names) -> dict[str, t.Any]:
    data = info.get_attr(part)
    if data is None or not hasattr(data, "get_attr"):
        return {}
    details = {}
    for name, (attribute, convert) in known.get(kind, {}).items():
        value = data.get_attr(attribute)
        if value is None and convert is not _any:
            continue
        value = convert(value, links)
        if value is not None:
            details[name] = value
    return details


def _linkinfo(info: t.Any, links: Names) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {}
    for name, attribute, data, part, known in (
        ("info_kind", "IFLA_INFO_KIND", "info_data", "IFLA_INFO_DATA", INFO),
        ("info_slave_kind", "IFLA_INFO_SLAVE_KIND", "info_slave_data", "IFLA_INFO_SLAVE_DATA", SLAVE_INFO),
    ):
        kind = info.get_attr(attribute)
        if isinstance(kind, str):
            result[name] = kind
            details = _details(info, kind, part, known, links)
            if details:
                result[data] = details
    return result


def _hardware(address: str | None, link_type: str) -> str | None:
    """The link-layer address; those of IP tunnels are IP addresses."""
    if address is None or link_type not in ("ipip", "gre", "sit", "tunnel6", "gre6"):
        return address
    try:
        return from_bytes(bytes.fromhex(address.replace(":", ""))) or address
    except ValueError:
        return address


def _flags(flags: int) -> list[str]:
    carrier = ["NO-CARRIER"] if flags & IFF_UP and not flags & IFF_RUNNING else []
    return carrier + names.words(names.LINK_FLAGS, flags)


def _link(message: t.Any, links: Names) -> dict[str, t.Any]:
    get = message.get_attr
    link_type = names.name(names.LINK_TYPES, message["ifi_type"])
    link: dict[str, t.Any] = {
        "ifindex": message["index"],
        "ifname": get("IFLA_IFNAME"),
        "flags": _flags(message["flags"]),
        "mtu": get("IFLA_MTU"),
        "operstate": get("IFLA_OPERSTATE"),
        "link_type": link_type,
    }
    address = _hardware(get("IFLA_ADDRESS"), link_type)
    if address is not None:
        link["address"] = address
    master = get("IFLA_MASTER")
    if master:
        link["master"] = links.get(master) or f"if{master}"
    peer, nsid = get("IFLA_LINK"), get("IFLA_LINK_NETNSID")
    if peer:
        if nsid is None:
            link["link"] = links.get(peer) or f"if{peer}"
        else:
            link["link_index"] = peer
    if nsid is not None:
        link["link_netnsid"] = nsid
    info = get("IFLA_LINKINFO")
    if info is not None:
        details = _linkinfo(info, links)
        if details:
            link["linkinfo"] = details
    stats = get("IFLA_STATS64")
    if stats is not None:
        link["stats64"] = {side: {name: stats[f"{side}_{name}"] for name in ("bytes", "packets", "errors", "dropped")} for side in ("rx", "tx")}
    return link


def dump(kernel: Rtnetlink) -> list[bytes]:
    """The raw messages of all links."""
    return kernel.dump(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0))


def indexes(payloads: t.Iterable[bytes]) -> dict[int, str]:
    """The names of links by their index."""
    found: dict[int, str] = {}
    for payload in payloads:
        if len(payload) >= 16:
            name = attributes(payload, 16).get(IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
            found[_LINK.unpack_from(payload)[2]] = name
    return found


def links(payloads: t.Iterable[bytes], links_by_index: Names) -> list[dict[str, t.Any]]:
    """All links with what the kernel says about their kind and their peer."""
    decode = _pyroute2.decoder("link")
    found = [_link(decode(payload), links_by_index) for payload in payloads]
    up = {link["ifname"]: "UP" in link["flags"] for link in found}
    for link in found:
        if not up.get(link.get("link"), True):
            link["flags"].append("M-DOWN")
    return found


def _address(message: t.Any, links_by_index: Names) -> dict[str, t.Any] | None:
    get = message.get_attr
    address, local = get("IFA_ADDRESS"), get("IFA_LOCAL")
    local = local or address
    family = names.FAMILIES.get(message["family"])
    if family is None or not isinstance(local, str):
        return None
    index = message["index"]
    result: dict[str, t.Any] = {
        "ifname": links_by_index.get(index) or f"if{index}",
        "family": family,
        "local": local,
        "prefixlen": message["prefixlen"],
        "scope": names.name(names.SCOPES, message["scope"]),
    }
    if address and address != local:
        result["peer"] = address
    for name, attribute in (("broadcast", "IFA_BROADCAST"), ("label", "IFA_LABEL")):
        if get(attribute):
            result[name] = get(attribute)
    bits = get("IFA_FLAGS")
    flags = _address_flags(message["flags"] if bits is None else bits, family)
    if flags:
        result["flags"] = flags
    return result


def _address_flags(bits: int, family: str) -> list[str]:
    words = names.words(names.ADDRESS_FLAGS, bits ^ 0x80)
    return ["temporary" if word == "secondary" and family == "inet6" else word for word in words]


def addresses(kernel: Rtnetlink, links_by_index: Names) -> list[dict[str, t.Any]]:
    """All addresses of IPv4 and IPv6."""
    decode = _pyroute2.decoder("address")
    found = (_address(decode(payload), links_by_index) for payload in kernel.dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)))
    return [address for address in found if address is not None]


def _prefix(address: t.Any, length: int) -> str | None:
    if not isinstance(address, str):
        return None
    return f"{address}/{length}" if family_of(address) else None


def _rule(message: t.Any, family: str) -> dict[str, t.Any]:
    get = message.get_attr
    rule: dict[str, t.Any] = {"family": family, "priority": get("FRA_PRIORITY") or 0}
    for name, attribute, length in (("src", "FRA_SRC", "src_len"), ("dst", "FRA_DST", "dst_len")):
        prefix = _prefix(get(attribute), message[length])
        if prefix:
            rule[name] = prefix
    for name, attribute in (("iif", "FRA_IIFNAME"), ("oif", "FRA_OIFNAME")):
        if get(attribute):
            rule[name] = get(attribute)
    mark, mask = get("FRA_FWMARK"), get("FRA_FWMASK")
    if mark or mask:
        rule["fwmark"] = mark or 0
        rule["fwmask"] = 0xFFFFFFFF if mask is None else mask
    if message["flags"] & FIB_RULE_INVERT:
        rule["not"] = True
    action = names.name(names.RULE_ACTIONS, message["action"])
    table = get("FRA_TABLE")
    table = message["table"] if table is None else table
    if table and action == "to_tbl":
        rule["table"] = table
    if get("FRA_GOTO"):
        rule["goto"] = get("FRA_GOTO")
    suppressed = get("FRA_SUPPRESS_PREFIXLEN")
    if suppressed is not None and suppressed != 0xFFFFFFFF:
        rule["suppress_prefixlen"] = suppressed
    rule["action"] = action
    return rule


def rules(kernel: Rtnetlink) -> list[dict[str, t.Any]]:
    """The routing policy rules of IPv4 and IPv6."""
    decode = _pyroute2.decoder("rule")
    result: list[dict[str, t.Any]] = []
    for family, number in (("inet", socket.AF_INET), ("inet6", socket.AF_INET6)):
        try:
            payloads = kernel.dump(RTM_GETRULE, _RULE.pack(number, 0, 0, 0, 0, 0, 0, 0, 0))
        except OSError:
            if family == "inet":
                raise
            continue  # a kernel without IPv6 rules
        result.extend(_rule(decode(payload), family) for payload in payloads)
    return result
