# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a node's own packet filters do with one packet from or to the node itself, as far as that can be told.

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ..module_utils import _iptables
from ._json import Json, NotCollected, as_list, as_mapping, objects, parse_address, parse_network

# the chains that a packet meets, in their order; an ACCEPT ends only the table that it is in (iptables(8); netfilter hooks and priorities)
WAYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "input": (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("mangle", "INPUT"), ("filter", "INPUT")),
    "output": (("raw", "OUTPUT"), ("mangle", "OUTPUT"), ("filter", "OUTPUT"), ("mangle", "POSTROUTING")),
}
DEEPEST = 32
NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1", "ipv6-icmp": "58"}
FINAL = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
Match = bool | None  # None: it cannot be told


@dataclass(frozen=True)
class Packet:
    """way: input or output; state: NEW or ESTABLISHED, as connection tracking sees it."""

    way: t.Literal["input", "output"]
    protocol: str
    src: str
    dst: str
    sport: int | None
    dport: int | None
    state: str
    device: str | None = None
    mark: int | None = 0  # None: it cannot be told

    @property
    def family(self) -> str:
        return "inet6" if ":" in self.dst else "inet"


@dataclass(frozen=True)
class Hit:
    """What ends a packet: where, the rule or policy as its tool prints it, and how many packets it has ended already."""

    backend: str
    table: str
    chain: str
    verdict: str
    line: str
    packets: int | None


@dataclass(frozen=True)
class Hook:
    """A chain that the kernel calls, with the chains of its table."""

    backend: str
    table: str
    chain: str
    policy: str
    packets: int | None
    chains: Mapping[str, list[IptablesRule | NftRule]]


def every(parts: Iterator[Match]) -> Match:
    unsure = False
    for part in parts:
        if part is False:
            return False
        unsure = unsure or part is None
    return None if unsure else True


def ports(text: str, port: int | None) -> Match:
    """Whether a port is in `179`, `170:180` or `22,179,5000:5010`."""
    if port is None:
        return None
    for part in text.split(","):
        low, colon, high = part.partition(":")
        if not (low or "0").isdecimal() or not (high or "0").isdecimal():
            return None
        if int(low or 0) <= port <= int(high or (65535 if colon else low or 0)):
            return True
    return False


_network = lru_cache(maxsize=4096)(parse_network)  # the same few prefixes are held against each of many peers
_address = lru_cache(maxsize=4096)(parse_address)


def inside(address: str, prefix: str) -> Match:
    network, parsed = _network(prefix), _address(address)
    return None if network is None or parsed is None else parsed in network


def named(device: str | None, pattern: str, wildcard: str) -> Match:
    """Whether a device has the name, or begins with it where a wildcard follows."""
    if device is None:
        return None
    return device.startswith(pattern[: -len(wildcard)]) if pattern.endswith(wildcard) else device == pattern


# ------------------------------------------------------------------ iptables


@dataclass(frozen=True)
class IptablesRule:
    """verdict: accept, drop, reject, return, jump or goto; None: the packet goes on."""

    parsed: _iptables.Rule
    known: bool
    verdict: str | None
    target: str

    @property
    def line(self) -> str:
        return self.parsed.line

    @property
    def packets(self) -> int | None:
        return self.parsed.packets

    def matches(self, packet: Packet) -> Match:
        return None if not self.known else every(_negated(c, _condition(c, packet)) for c in self.parsed.conditions)

    def mark(self, packet: Packet, matched: Match) -> Packet:
        if self.target not in ("MARK", "CONNMARK"):
            return packet
        for option in self.parsed.options:
            if matched and option.option == "--set-xmark" and self.target == "MARK" and packet.mark is not None:
                value, mask = _value_and_mask(option.values[0])
                return replace(packet, mark=(packet.mark & ~mask & 0xFFFFFFFF) ^ value)
        return replace(packet, mark=None)

    def may_end(self) -> bool:
        """Whether it may decide in a way that is not read here."""
        return not self.known or self.target in ("QUEUE", "NFQUEUE")


def _negated(condition: _iptables.Condition, result: Match) -> Match:
    return result if result is None or not condition.negated else not result


@lru_cache(maxsize=1024)
def _value_and_mask(text: str) -> tuple[int, int]:
    value, _slash, mask = text.partition("/")
    try:
        return int(value, 0), int(mask or "0xffffffff", 0)
    except ValueError:
        return 0, 0


def _condition(condition: _iptables.Condition, packet: Packet) -> Match:
    of, option, values = condition.of, condition.option, condition.values
    if of in ("comment", "nfacct"):
        return True
    if of == "":
        return _plain(option, values, packet)
    if of in ("tcp", "udp", "multiport") and option in ("--sport", "--sports", "--dport", "--dports", "--ports"):
        ends = {"s": (packet.sport,), "d": (packet.dport,)}.get(option[2], (packet.sport, packet.dport))
        found = [ports(values[0], port) for port in ends]
        return True if True in found else None if None in found else False
    if of == "tcp" and option == "--tcp-flags":  # of a handshake's first and second segment
        flags = {"SYN"} if packet.state == "NEW" else {"SYN", "ACK"}
        return flags & set(values[0].split(",")) == set(values[1].split(",")) - {"NONE"}
    if of in ("conntrack", "state") and option in ("--ctstate", "--state"):
        states = values[0].split(",")
        return packet.state in states or (None if {"DNAT", "SNAT"} & set(states) else False)
    if of == "addrtype" and option in ("--src-type", "--dst-type"):
        return _address_type("src" if option == "--src-type" else "dst", packet) in values[0].split(",")
    if of == "mark":
        value, mask = _value_and_mask(values[0])
        return None if packet.mark is None else packet.mark & mask == value
    return None


def _address_type(end: t.Literal["src", "dst"], packet: Packet) -> str:
    """Between two nodes one end is the node's own address, and the other somebody else's."""
    return "LOCAL" if (end == "dst") == (packet.way == "input") else "UNICAST"


def _plain(option: str, values: tuple[str, ...], packet: Packet) -> Match:
    if option == "-p":
        return values[0] in ("all", "0", packet.protocol, NUMBERS.get(packet.protocol))
    if option in ("-s", "-d"):
        return inside(packet.src if option == "-s" else packet.dst, values[0])
    if option in ("-i", "-o"):
        return named(packet.device, values[0], "+") if (option == "-i") == (packet.way == "input") else False
    return None


def _iptables_hooks(entry: Mapping[str, Json], way: str) -> Iterator[Hook]:
    found = _iptables.parse(str(entry.get("text")))
    if found.incompatible or found.unknown:
        raise NotCollected(f"iptables of {entry.get('backend')} cannot be understood as a whole")
    for table_name, chain_name in WAYS[way]:
        table = found.tables.get(table_name)
        if table is None or chain_name not in table.chains:
            continue
        if not table.complete or table.unknown:
            raise NotCollected(f"the table {table_name} of iptables ({entry.get('backend')}) cannot be understood as a whole")
        chains: dict[str, list[IptablesRule | NftRule]] = {}
        for name, chain in table.chains.items():
            chains[name] = []
            for parsed in chain.rules:
                leads = parsed.target in table.chains
                verdict = FINAL.get(parsed.target or "") or (("goto" if parsed.goto else "jump") if leads else None)
                chains[name].append(IptablesRule(parsed, _iptables.understood(parsed, table), verdict, parsed.target or ""))
        chain = table.chains[chain_name]
        yield Hook(f"iptables ({entry.get('backend')})", table_name, chain_name, (chain.policy or "ACCEPT").lower(), chain.packets, chains)


# ------------------------------------------------------------------ nftables


@dataclass(frozen=True)
class NftRule:
    """As IptablesRule, of a table of nftables."""

    statements: tuple[Mapping[str, Json], ...]
    packets: int | None
    verdict: str | None
    target: str

    @property
    def line(self) -> str:
        return " ".join(_nft_text(statement) for statement in self.statements)

    def matches(self, packet: Packet) -> Match:
        return every(_statement(statement, packet) for statement in self.statements)

    def mark(self, packet: Packet, matched: Match) -> Packet:
        return packet

    def may_end(self) -> bool:
        return any(not set(statement) <= {"match", "counter", "log", "mangle", "limit", "notrack", "comment"} for statement in self.statements)


def _nft_text(statement: Mapping[str, Json]) -> str:
    """A statement much as `nft list ruleset` prints it."""
    for name, value in statement.items():
        if name == "match" and isinstance(value, Mapping):
            left = as_mapping(value.get("left"))
            of = next(iter(left.values()), "")
            words = [str(word) for word in as_mapping(of).values()] if isinstance(of, Mapping) else [str(of)]
            operator = "" if value.get("op") in ("==", "in") else f"{value.get('op')} "
            right = value.get("right")
            return f"{' '.join(words)} {operator}{right if isinstance(right, (str, int)) else json.dumps(right)}"
        if name == "counter" and isinstance(value, Mapping):
            return f"counter packets {value.get('packets')} bytes {value.get('bytes')}"
        if name in ("jump", "goto"):
            return f"{name} {as_mapping(value).get('target')}"
        return name
    return ""


def _statement(statement: Mapping[str, Json], packet: Packet) -> Match:
    if "match" not in statement:
        plain = {"counter", "accept", "drop", "reject", "return", "jump", "goto", "log", "comment"}
        return True if set(statement) <= plain else None
    match = as_mapping(statement["match"])
    left = as_mapping(match.get("left"))
    payload, meta, tracked, fib = (as_mapping(left.get(name)) for name in ("payload", "meta", "ct", "fib"))
    value: Json = None
    if payload.get("protocol") in ("tcp", "udp", "th") and payload.get("field") in ("sport", "dport"):
        if payload["protocol"] not in ("th", packet.protocol):
            return False
        value = packet.sport if payload["field"] == "sport" else packet.dport
    elif payload.get("protocol") in ("ip", "ip6") and payload.get("field") in ("saddr", "daddr"):
        if (payload["protocol"] == "ip6") != (packet.family == "inet6"):
            return False
        value = packet.src if payload["field"] == "saddr" else packet.dst
    elif meta.get("key") == "l4proto" or (payload.get("protocol") == "ip" and payload.get("field") == "protocol"):
        value = packet.protocol
    elif meta.get("key") == "nfproto":
        value = "ipv6" if packet.family == "inet6" else "ipv4"
    elif meta.get("key") in ("iifname", "oifname"):
        if (meta["key"] == "iifname") != (packet.way == "input"):
            return False
        value = packet.device
    elif tracked.get("key") == "state":
        value = packet.state.lower()
    elif tracked.get("key") == "status" and match.get("right") in ("dnat", "snat"):
        value = "not translated"
    elif fib.get("result") == "type" and fib.get("flags") in (["saddr"], ["daddr"]):
        value = _address_type("src" if fib["flags"] == ["saddr"] else "dst", packet).lower()
    if value is None:
        return None
    found = _among(value, match.get("right"))
    return not found if found is not None and match.get("op") == "!=" else found


def _among(value: str | int, right: Json) -> Match:
    """Whether a value is the right side of a match, or in its set, range or prefix."""
    if isinstance(right, list) or "set" in as_mapping(right):
        found = [_among(value, one) for one in (right if isinstance(right, list) else as_list(right["set"]))]
        return True if True in found else None if None in found else False
    span, prefix = as_list(as_mapping(right).get("range")), as_mapping(as_mapping(right).get("prefix"))
    if prefix:
        return inside(str(value), f"{prefix.get('addr')}/{prefix.get('len')}")
    if len(span) == 2:
        if all(isinstance(end, int) for end in (*span, value)):
            return bool(span[0] <= value <= span[1])
        low, high, own = (parse_address(end) for end in (*span, value))
        return None if low is None or high is None or own is None or not low.version == high.version == own.version else int(low) <= int(own) <= int(high)
    if not isinstance(right, (str, int)) or (isinstance(right, str) and right.startswith("@")):
        return None
    if isinstance(value, str) and isinstance(right, str) and right.endswith("*"):
        return named(value, right, "*")
    return str(value) == str(right)


def _nft_rules(rule: Mapping[str, Json]) -> Iterator[NftRule]:
    """The rule; one that decides by a map of its own is as many rules as the map has entries."""
    statements = objects(rule.get("expr"))
    for place, statement in enumerate(statements):
        vmap = as_mapping(statement.get("vmap"))
        entries = as_list(as_mapping(vmap.get("data")).get("set"))
        if entries and all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], Mapping) for entry in entries):
            for key, verdict in entries:
                yield _nft_rule((*statements[:place], {"match": {"op": "==", "left": vmap.get("key"), "right": key}}, verdict))
            return
    yield _nft_rule(tuple(statements))


def _nft_rule(statements: tuple[Mapping[str, Json], ...]) -> NftRule:
    counted = next((as_mapping(s["counter"]).get("packets") for s in statements if "counter" in s), None)
    packets = counted if isinstance(counted, int) else None
    for statement in statements:
        for verdict in ("accept", "drop", "reject", "return"):
            if verdict in statement:
                return NftRule(statements, packets, verdict, "")
        for verdict in ("jump", "goto"):
            if verdict in statement:
                return NftRule(statements, packets, verdict, str(as_mapping(statement[verdict]).get("target")))
    return NftRule(statements, packets, None, "")


def _nft_hooks(entry: Mapping[str, Json], way: str, family: str) -> Iterator[tuple[float, Hook]]:
    if entry.get("family") not in ("inet", "ip6" if family == "inet6" else "ip"):
        return
    try:
        listed = objects(as_mapping(json.loads(str(entry.get("json")))).get("nftables"))
    except (ValueError, RecursionError) as exc:
        raise NotCollected(f"the table {entry.get('family')} {entry.get('name')} of nftables cannot be understood") from exc
    if any("dormant" in as_list(as_mapping(item.get("table")).get("flags")) for item in listed):
        return
    chains: dict[str, list[IptablesRule | NftRule]] = {}
    for item in listed:
        if "rule" in item:
            rule = as_mapping(item["rule"])
            chains.setdefault(str(rule.get("chain")), []).extend(_nft_rules(rule))
    for item in listed:
        chain = as_mapping(item.get("chain"))
        hook, priority = chain.get("hook"), chain.get("prio")
        if chain.get("type") == "filter" and hook in (way, "prerouting" if way == "input" else "postrouting") and isinstance(priority, int):
            order = priority + (1000 if (hook, way) in (("input", "input"), ("postrouting", "output")) else 0)
            name = str(chain.get("name"))
            yield order, Hook("nftables", f"{entry.get('family')} {entry.get('name')}", name, str(chain.get("policy") or "accept"), None, chains)


# ------------------------------------------------------------------ both


def hooks(section: Json, family: str, way: str) -> list[Hook]:
    """Every chain that a packet of the node itself meets, as far as the section was read. Errors: NotCollected."""
    read = as_mapping(section)
    found: list[Hook] = []
    for entry in objects(read.get("iptables")):
        if entry.get("family") == family:
            if entry.get("error"):
                raise NotCollected(f"iptables ({entry.get('backend')}): {entry['error']}")
            found += _iptables_hooks(entry, way)
    nft = read.get("nft")
    if isinstance(nft, Mapping):
        raise NotCollected(f"nftables: {nft.get('error')}")
    ordered: list[tuple[float, Hook]] = []
    for entry in objects(nft):
        if entry.get("error"):
            raise NotCollected(f"nftables: table {entry.get('family')} {entry.get('name')}: {entry['error']}")
        ordered += _nft_hooks(entry, way, family)
    return found + [hook for _order, hook in sorted(ordered, key=lambda pair: pair[0])]


def end_of(packet: Packet, met: list[Hook]) -> Hit | None:
    """The rule or policy that certainly ends the packet; None if nothing does, or nothing certainly does."""
    for hook in met:
        verdict, packet, hit, unsure = _walk(hook, hook.chain, packet, 0)
        if hit is not None:
            return hit
        if verdict is None and not unsure and hook.policy == "drop":
            return Hit(hook.backend, hook.table, hook.chain, "drop", f"policy {hook.policy}", hook.packets)
    return None


def _walk(hook: Hook, chain: str, packet: Packet, depth: int) -> tuple[str | None, Packet, Hit | None, bool]:
    """(verdict, packet with its mark, what ended it, whether something on the way may have let it pass)."""
    unsure = False
    for rule in hook.chains.get(chain, []):
        matched = rule.matches(packet)
        if matched is False:
            continue
        if rule.verdict in ("jump", "goto"):
            if depth >= DEEPEST:
                return "accept", packet, None, True
            verdict, after, hit, doubt = _walk(hook, rule.target, packet, depth + 1)
            unsure = unsure or doubt
            if matched is None:
                unsure = unsure or verdict == "accept" or rule.verdict == "goto"
                packet = after if after == packet else replace(packet, mark=None)
                continue
            packet = after
            if verdict is not None or rule.verdict == "goto":
                return verdict, packet, None if unsure else hit, unsure
        elif rule.verdict in ("drop", "reject"):
            if matched:
                hit = Hit(hook.backend, hook.table, chain, rule.verdict, rule.line, rule.packets)
                return rule.verdict, packet, None if unsure else hit, unsure
        elif rule.verdict in ("accept", "return"):
            if matched:
                return "accept" if rule.verdict == "accept" else None, packet, None, unsure
            unsure = True
        else:
            unsure = unsure or rule.may_end()
            packet = rule.mark(packet, matched)
    return None, packet, None, unsure
