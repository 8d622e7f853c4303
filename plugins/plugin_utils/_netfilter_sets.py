# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: whether a packet's addresses and ports are in a set, of ipset or of nftables.

from __future__ import annotations

from collections.abc import Mapping

from ._json import IPNetwork, Json, as_list, as_mapping, parse_network
from ._netfilter_rules import CLIENTS, EPHEMERAL, Match, protocol_number
from ._prefixes import Prefixes, number, spanned

Key = tuple[Json, ...]


class Members:
    """address: which part of a key is the address, None if none is. complete: whether all members are known and were understood."""

    def __init__(self, address: int | None, complete: bool = True) -> None:
        self._address = address
        self.complete = complete
        self._by_rest: dict[Key, Prefixes[Json]] = {}
        self._known_of: frozenset[str] = frozenset()

    def know(self, addresses: frozenset[str]) -> None:
        """A set that was cut to the members that matter for these addresses."""
        self._known_of = addresses

    def add(self, networks: list[IPNetwork], rest: Key, value: Json = True) -> None:
        held = self._by_rest.setdefault(rest, Prefixes())
        for prefix in networks:
            held.add(prefix, value)

    def find(self, key: Key) -> Json:
        """The value of the member that a key is; None if it is none, or it cannot be told."""
        if self._address is None:
            held = self._by_rest.get(key)
            return None if held is None else held.find((32, 0))
        held = self._by_rest.get(key[: self._address] + key[self._address + 1 :])
        address = number(key[self._address])
        return None if held is None or address is None else held.find(address)

    def certain(self, key: Key) -> bool:
        """Whether what is not found is certainly no member."""
        return self.complete or (self._address is not None and key[self._address] in self._known_of)

    def has(self, key: Key) -> Match:
        if CLIENTS in key:
            return None if self._for_some_port(key) or not self.certain(key) else False
        found = self.find(key)
        if found is not None:
            return bool(found)
        return False if self.certain(key) else None

    def _for_some_port(self, key: Key) -> bool:
        """Whether a port that a client may have would make the key a member."""
        lowest, highest = EPHEMERAL
        for rest in self._by_rest:
            ports = [part for part in rest if isinstance(part, int) and lowest <= part <= highest]
            if any(self.find(tuple(port if part == CLIENTS else part for part in key)) is not None for port in ports):
                return True
        return False


EVERYWHERE = [parse_network("0.0.0.0/0")]


def plain_member(members: Members, key: Key, value: Json) -> None:
    """A member of a set without addresses."""
    members.add([prefix for prefix in EVERYWHERE if prefix is not None], key, value)


def networks_of(value: Json) -> list[IPNetwork] | None:
    """What an address, a prefix or a range stands for; None if it is neither."""
    span, prefix = as_list(as_mapping(value).get("range")), as_mapping(as_mapping(value).get("prefix"))
    if len(span) == 2:
        return spanned(*span)
    if isinstance(value, str) and value.count("-") == 1:
        return spanned(*value.split("-"))
    found = parse_network(f"{prefix.get('addr')}/{prefix.get('len')}" if prefix else value)
    return None if found is None else [found]


# ------------------------------------------------------------------ ipset


def ipset(entry: Mapping[str, Json]) -> Members | None:
    """A set as docs/documents.md has it; None if its type is not modelled."""
    kinds = str(entry.get("type")).partition(":")[2].split(",")
    listed = entry.get("members")
    if kinds[0] not in ("ip", "net") or kinds[1:] not in ([], ["port"]) or not isinstance(listed, list):
        return None
    cut = as_list(entry.get("cut"))
    members = Members(0, complete="cut" not in entry and not entry.get("unknown"))
    members.know(frozenset(str(address) for address in cut))
    for line in listed:
        words = str(line).split()
        address, comma, port = words[0].partition(",") if words else ("", "", "")
        networks = networks_of(address)
        rest = _port(port) if comma else ()
        if networks is None or rest is None or bool(comma) != (len(kinds) == 2):
            members.complete = False
            members.know(frozenset())
        else:
            members.add(networks, rest, "nomatch" not in words)
    return members


def _port(text: str) -> Key | None:
    name, colon, port = text.partition(":")
    protocol = protocol_number(name if colon else "tcp")
    number_of_port = port if colon else name
    return (protocol, int(number_of_port)) if protocol is not None and number_of_port.isdecimal() else None
