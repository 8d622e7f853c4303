# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a match of nftables looks at, and what it is held against.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._json import Json, as_list, as_mapping
from ._netfilter_ground import Ground
from ._netfilter_rules import CLIENTS, ICMP, ICMPV6, NO_PORT, PROTOCOLS, TCP, WITH_PORTS, Match, Packet, has_name, in_ports, protocol_number
from ._netfilter_sets import networks_of
from ._prefixes import Prefixes, number

Value = Json
ICMP_TYPES = {"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "router-advertisement": 9,
              "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15,
              "info-reply": 16, "address-mask-request": 17, "address-mask-reply": 18}  # fmt: skip
ICMPV6_TYPES = {"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
                "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
                "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137, "mld2-listener-report": 143}  # fmt: skip
STATES = {"new": "NEW", "established": "ESTABLISHED", "related": "RELATED", "invalid": "INVALID", "untracked": "UNTRACKED"}
STATUS = {"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 0x10, "dnat": 0x20, "dying": 0x200}


def always(packet: Packet) -> bool:
    return True


@dataclass(frozen=True)
class Field:
    """kind: address, port, protocol, name, number, state, status, icmp, icmpv6, family or a list of them. applies: whether the packet has it at all, else
    the rule does not match, whatever it asks. value: None: it cannot be told."""

    kind: str | tuple[str, ...]
    value: Callable[[Packet], Value]
    applies: Callable[[Packet], bool] = always

    @staticmethod
    def plain(set_type: str, given: Json) -> Value:
        """A member's part of a set's type; None if it cannot be understood."""
        if set_type in ("ipv4_addr", "ipv6_addr", "ifname"):
            return given if isinstance(given, str) and not given.endswith("*") else None
        if set_type == "inet_proto":
            return protocol_number(given)
        if set_type in ("inet_service", "mark"):
            return given if isinstance(given, int) else None
        return None


def field_of(left: Json, ground: Ground) -> Field | None:
    """What the left side of a match, or the key of a map, looks at; None if it is not modelled."""
    expression = as_mapping(left)
    for kind, value in expression.items():
        if kind == "payload":
            return _payload(as_mapping(value))
        if kind == "meta":
            return _META.get(str(as_mapping(value).get("key")))
        if kind == "ct":
            return _tracked(as_mapping(value).get("key")) if not as_mapping(value).get("dir") else None
        if kind == "fib":
            return _fib(as_mapping(value).get("result"), as_list(as_mapping(value).get("flags")), ground)
        if kind == "concat":
            parts = [field_of(part, ground) for part in as_list(value)]
            return _together([part for part in parts if part is not None]) if parts and None not in parts else None
        if kind == "&":
            sides = as_list(value)
            held = field_of(sides[0], ground) if len(sides) == 2 else None
            if held is None or held.kind != "number" or not isinstance(sides[1], int):
                return None
            return _masked(held, sides[1])
    return None


def _masked(held: Field, mask: int) -> Field:
    def value(packet: Packet) -> Value:
        found = held.value(packet)
        return None if found is None else found & mask

    return Field("number", value, held.applies)


def _together(parts: list[Field]) -> Field:
    def value(packet: Packet) -> Value:
        found = tuple(part.value(packet) for part in parts)
        return None if None in found else found

    return Field(tuple(str(part.kind) for part in parts), value, lambda packet: all(part.applies(packet) for part in parts))


def _port(source: bool) -> Callable[[Packet], Value]:
    def value(packet: Packet) -> Value:
        port = packet.sport if source else packet.dport
        return port if port is not None else CLIENTS if packet.protocol in WITH_PORTS else NO_PORT

    return value


def _payload(payload: Json) -> Field | None:
    protocol, name = payload.get("protocol"), payload.get("field")
    if protocol in ("ip", "ip6"):
        family = "inet6" if protocol == "ip6" else "inet"
        if name in ("saddr", "daddr"):
            return Field("address", (lambda packet: packet.src) if name == "saddr" else (lambda packet: packet.dst), lambda packet: packet.family == family)
        if (protocol, name) in (("ip", "protocol"), ("ip6", "nexthdr")):
            return Field("protocol", lambda packet: packet.protocol, lambda packet: packet.family == family)
    if protocol in ("tcp", "udp", "sctp", "th") and name in ("sport", "dport"):
        wanted = PROTOCOLS.get(str(protocol))
        return Field("port", _port(name == "sport"), always if wanted is None else lambda packet: packet.protocol == wanted)
    if protocol in ("icmp", "icmpv6") and name in ("type", "code"):
        place, wanted = int(name == "code"), ICMP if protocol == "icmp" else ICMPV6
        kind = "number" if name == "code" else str(protocol)
        return Field(kind, lambda packet: None if packet.icmp is None else packet.icmp[place], lambda packet: packet.protocol == wanted)
    return None


def _tracked(key: Json) -> Field | None:
    if key == "state":
        return Field("state", lambda packet: packet.state)
    if key == "status":
        return Field("status", lambda packet: None if packet.status == -1 else packet.status, lambda packet: packet.status is not None)
    if key == "mark":
        return Field("number", lambda packet: packet.ctmark, lambda packet: packet.status is not None)
    if key == "direction":
        return Field("name", lambda packet: None if packet.status == -1 else packet.direction, lambda packet: packet.status is not None)
    return None


def _fib(result: Json, flags: list[Json], ground: Ground) -> Field | None:
    if result == "type" and flags in (["saddr"], ["daddr"]):
        return Field("name", (lambda packet: ground.kind(packet.src).lower()) if flags == ["saddr"] else (lambda packet: ground.kind(packet.dst).lower()))
    if result == "oif" and set(flags) in ({"saddr", "iif"}, {"saddr", "iif", "mark"}):
        with_mark = "mark" in flags

        def found(packet: Packet) -> Value:
            back = ground.comes_back(packet, packet.mark if with_mark else 0)
            return None if back is None else "1" if back else "0"  # held against 0: no way back through the device

        return Field("presence", found)
    return None


_META = {
    "l4proto": Field("protocol", lambda packet: packet.protocol),
    "nfproto": Field("name", lambda packet: "ipv6" if packet.family == "inet6" else "ipv4"),
    "protocol": Field("name", lambda packet: "ip6" if packet.family == "inet6" else "ip"),
    "mark": Field("number", lambda packet: packet.mark),
    "iifname": Field("name", lambda packet: packet.iif),
    "oifname": Field("name", lambda packet: packet.oif),
    "iif": Field("name", lambda packet: packet.iif),
    "oif": Field("name", lambda packet: packet.oif),
}


# ------------------------------------------------------------------ the right side


def right_side(field: Field, right: Json, operator: Json) -> Callable[[Value], Match]:
    """Whether a value is the right side of a match, or in its set, range or prefix."""
    several = right if isinstance(right, list) else as_list(as_mapping(right).get("set"))
    if field.kind == "status":
        return _status(several or [right], operator)
    if several:
        return _any([right_side(field, one, "==") for one in several])
    if isinstance(field.kind, tuple):
        parts = as_list(as_mapping(right).get("concat"))
        if len(parts) != len(field.kind):
            return _never
        return _all([_one(kind, part) for kind, part in zip(field.kind, parts)])
    return _one(field.kind, right)


def _never(value: Value) -> Match:
    return None


def _any(parts: list[Callable[[Value], Match]]) -> Callable[[Value], Match]:
    def inside(value: Value) -> Match:
        found = [part(value) for part in parts]
        return True if True in found else None if None in found else False

    return inside


def _all(parts: list[Callable[[Value], Match]]) -> Callable[[Value], Match]:
    def inside(value: Value) -> Match:
        found = [part(one) for part, one in zip(parts, value)]
        return False if False in found else None if None in found else True

    return inside


def _one(kind: str, right: Json) -> Callable[[Value], Match]:
    span = as_list(as_mapping(right).get("range"))
    if kind == "address":
        return _inside(right)
    if kind == "name" and isinstance(right, str):
        return has_name(right, "*")
    if kind == "presence" and str(right) == "0":
        return lambda value: value == "0"
    if kind == "state":
        state = STATES.get(str(right))
        return _never if state is None else lambda value: value == state
    names = {"protocol": PROTOCOLS, "icmp": ICMP_TYPES, "icmpv6": ICMPV6_TYPES}.get(kind, {})
    low, high = ((names.get(str(end)) if isinstance(end, str) else end) for end in (span if len(span) == 2 else (right, right)))
    if kind not in ("port", "number", "protocol", "icmp", "icmpv6") or not isinstance(low, int) or not isinstance(high, int):
        return _never
    return _between(low, high)


def _between(low: int, high: int) -> Callable[[Value], Match]:
    spans = ((low, high),)
    return lambda value: in_ports(spans, None, TCP) if value == CLIENTS else low <= value <= high


def _inside(right: Json) -> Callable[[Value], Match]:
    networks = networks_of(right)
    if networks is None:
        return _never
    held: Prefixes[bool] = Prefixes()
    for one in networks:
        held.add(one, True)

    def inside(value: Value) -> Match:
        address = number(value)
        return None if address is None else held.find(address) is not None

    return inside


def _status(names: list[Json], operator: Json) -> Callable[[Value], Match]:
    """`ct status dnat` asks for a bit; `ct status == dnat` and `!= dnat` hold the whole word against it (nft --debug=netlink)."""
    word = 0
    for name in names:
        bit = STATUS.get(name) if isinstance(name, str) else name
        if not isinstance(bit, int):
            return _never
        word |= bit
    if operator in ("in", None):
        return lambda value: bool(value & word)
    return lambda value: value == word
