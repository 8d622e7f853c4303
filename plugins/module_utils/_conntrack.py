# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection tracking's entries of a few pairs of addresses, from the kernel's table over netlink (ctnetlink).

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netfilter import has_module
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Netlink, attribute, attributes

NETLINK_NETFILTER, IPCTNL_MSG_CT_GET = 12, 1 << 8 | 1
NESTED = 0x8000
# linux/netfilter/nfnetlink_conntrack.h
TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, TIMEOUT, MARK, COUNTERS_ORIG, COUNTERS_REPLY, ID, ZONE, FILTER = 1, 2, 3, 4, 7, 8, 9, 10, 12, 18, 25
TUPLE_IP, TUPLE_PROTO = 1, 2
ADDRESSES = {"inet": (1, 2), "inet6": (3, 4)}
PROTO_NUM, PORTS, ICMP, ICMPV6 = 1, (2, 3), (4, 5, 6), (7, 8, 9)
FILTER_BY_ADDRESSES = 0x3  # CTA_FILTER_F_CTA_IP_SRC | CTA_FILTER_F_CTA_IP_DST: kernels from 5.8 on look at it, older ones give everything
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
# linux/netfilter/nf_conntrack_tcp.h
TCP_STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2")
# linux/netfilter/nf_conntrack_common.h
FLAGS = {1: "seen_reply", 2: "assured", 4: "src_nat", 5: "dst_nat"}
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
MOST = 200  # entries of one question: a pair that opens very many connections shows itself in the first ones, too


def _number(data: bytes | None, form: str = "!I") -> int | None:
    return struct.unpack(form, data)[0] if data is not None and len(data) == struct.calcsize(form) else None


def _tuple(data: bytes | None, family: str) -> dict[str, t.Any]:
    parts = attributes(data or b"")
    held = attributes(parts.get(TUPLE_IP, b""))
    told = attributes(parts.get(TUPLE_PROTO, b""))
    found: dict[str, t.Any] = {}
    for name, kind in zip(("src", "dst"), ADDRESSES[family]):
        if len(held.get(kind, b"")) == (4 if family == "inet" else 16):
            found[name] = socket.inet_ntop(FAMILIES[family], held[kind])
    number = _number(told.get(PROTO_NUM), "!B")
    if number is not None:
        found["protocol"] = PROTOCOLS.get(number, str(number))
    for name, kind in zip(("sport", "dport"), PORTS):
        if kind in told:
            found[name] = _number(told[kind], "!H")
    for kinds in (ICMP, ICMPV6):
        for name, kind, form in zip(("id", "type", "code"), kinds, ("!H", "!B", "!B")):
            if kind in told:
                found[name] = _number(told[kind], form)
    return found


def decode(payload: bytes) -> dict[str, t.Any] | None:
    """One entry: {family, protocol, src, dst, sport?, dport?, type?, code?, id?, reply: {src, dst, ...}, flags, state?, timeout, mark?, packets?, ...}."""
    family = next((name for name, number in FAMILIES.items() if payload[:1] == bytes([number])), None)
    if family is None:
        return None
    told = attributes(payload, 4)
    original, reply = _tuple(told.get(TUPLE_ORIG), family), _tuple(told.get(TUPLE_REPLY), family)
    if not {"src", "dst", "protocol"} <= set(original):
        return None
    reply.pop("protocol", None)
    status = _number(told.get(STATUS)) or 0
    entry: dict[str, t.Any] = {"family": family, **original, "reply": reply, "flags": [name for bit, name in FLAGS.items() if status >> bit & 1]}
    state = _number(attributes(attributes(told.get(PROTOINFO, b"")).get(1, b"")).get(1), "!B")
    if original["protocol"] == "tcp" and state is not None and state < len(TCP_STATES):
        entry["state"] = TCP_STATES[state]
    for name, kind, form in (("timeout", TIMEOUT, "!I"), ("mark", MARK, "!I"), ("zone", ZONE, "!H")):
        value = _number(told.get(kind), form)
        if value or (value is not None and name == "timeout"):
            entry[name] = value
    for prefix, kind in (("", COUNTERS_ORIG), ("reply_", COUNTERS_REPLY)):
        counted = attributes(told.get(kind, b""))
        for name, number in (("packets", 1), ("bytes", 2)):
            if number in counted:
                entry[f"{prefix}{name}"] = _number(counted[number], "!Q")
    return entry


def _asked(family: str, kind: int, src: str, dst: str) -> bytes:
    pair = zip(ADDRESSES[family], (src, dst))
    held = b"".join(attribute(number, socket.inet_pton(FAMILIES[family], address)) for number, address in pair)
    flags = b"".join(
        attribute(number, struct.pack("=I", FILTER_BY_ADDRESSES if number == kind else 0)) for number in (TUPLE_ORIG, TUPLE_REPLY)
    )  # the filter's own attributes have the numbers of the tuples
    return (
        struct.pack("=BBH", FAMILIES[family], 0, 0)
        + attribute(kind | NESTED, attribute(TUPLE_IP | NESTED, held))
        + attribute(FILTER | NESTED, flags)
    )


def pairs(flows: t.Iterable[t.Mapping[str, t.Any]]) -> list[tuple[str, str]]:
    """The pairs of addresses of the asked flows, each in both directions."""
    found: dict[tuple[str, str], None] = {}
    for flow in flows:
        src, dst = canonical(flow.get("src")), canonical(flow.get("dst"))
        if src and dst and src != dst and (":" in src) == (":" in dst):
            found[src, dst] = found[dst, src] = None
    return list(found)


def tuples(kernel: Netlink, src: str, dst: str) -> t.Iterator[tuple[dict[str, t.Any], bytes]]:
    """The entries that begin with these addresses, each with what names it in a message that deletes it."""
    for payload in kernel.dump(IPCTNL_MSG_CT_GET, _asked("inet6" if ":" in src else "inet", TUPLE_ORIG, src, dst)):
        entry, told = decode(payload), attributes(payload, 4)
        if entry is not None and (entry["src"], entry["dst"]) == (src, dst):
            names = attribute(TUPLE_ORIG | NESTED, told[TUPLE_ORIG])
            for kind in (ZONE, ID):
                names += attribute(kind, told[kind]) if kind in told else b""
            yield entry, payload[:4] + names


def read(deadline: Deadline, wanted: t.Sequence[tuple[str, str]]) -> dict[str, t.Any]:
    """The entries that begin with one of these pairs, or whose replies do the other way round (a Service's address before translation).

    Shape: {pairs: [[src, dst]], entries: [...], left_out: how many more there were}. Errors: OSError, Expired.
    """
    if has_module("nf_conntrack_netlink") is False:
        raise OSError("the kernel does not show connection tracking, and nothing is loaded for it (nf_conntrack_netlink)")
    found: dict[bytes, dict[str, t.Any]] = {}
    with Netlink(deadline, NETLINK_NETFILTER) as kernel:
        for src, dst in wanted:
            family = "inet6" if ":" in src else "inet"
            for kind, ends in ((TUPLE_ORIG, (src, dst)), (TUPLE_REPLY, (dst, src))):
                for payload in kernel.dump(IPCTNL_MSG_CT_GET, _asked(family, kind, *ends)):
                    entry = decode(payload)
                    held = entry if kind == TUPLE_ORIG else (entry or {}).get("reply")
                    if entry is not None and held is not None and (held.get("src"), held.get("dst")) == ends:
                        told = attributes(payload, 4)
                        found[told.get(TUPLE_ORIG, b"") + told.get(ZONE, b"")] = entry
    entries = list(found.values())
    return {"pairs": [list(pair) for pair in wanted], "entries": entries[:MOST], "left_out": max(len(entries) - MOST, 0)}
