# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the tables of nftables, as `nft -j` lists them, as rules that can be run.

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence

from ._json import Json, NotCollected, as_list, as_mapping, objects
from ._netfilter_fields import Field, field_of, right_side
from ._netfilter_ground import Ground
from ._netfilter_iptables import never_told
from ._netfilter_rules import (
    ALL_BITS,
    DNAT,
    GOTO,
    JUMP,
    MASQUERADE,
    REDIRECT,
    SNAT,
    STRANGE,
    Base,
    Decision,
    Effect,
    Match,
    Packet,
    Rule,
    Run,
    Test,
)
from ._netfilter_sets import Members, networks_of, plain_member

# what notes something and lets the packet go on; `set` is `add @set {...}` and `update @set {...}`
IDLE = ("counter", "log", "comment", "continue", "set", "flow", "ct helper", "ct timeout", "ct expectation")
ADDRESSING = ("saddr", "daddr", "sport", "dport")
FINAL = ("accept", "drop", "reject", "return")
NATS = {"dnat": DNAT, "snat": SNAT, "masquerade": MASQUERADE, "redirect": REDIRECT}
ADDRESSES = ("ipv4_addr", "ipv6_addr")


def chains(entry: Mapping[str, Json], family: str, ground: Ground) -> Iterator[Base]:
    """The chains of a table that the kernel calls for packets of a family. Errors: NotCollected."""
    title = f"{entry.get('family')} {entry.get('name')}"
    if entry.get("error"):
        raise NotCollected(f"nftables: table {title}: {entry['error']}")
    if entry.get("family") not in ("inet", "netdev", "ip6" if family == "inet6" else "ip"):
        return
    try:
        listed = objects(as_mapping(json.loads(str(entry.get("json")))).get("nftables"))
    except (ValueError, RecursionError) as exc:
        raise NotCollected(f"the table {title} of nftables cannot be understood") from exc
    if any("dormant" in as_list(as_mapping(item.get("table")).get("flags")) for item in listed):
        return
    table = _Table(ground, {str(item["set"].get("name")): item["set"] for item in listed if isinstance(item.get("set"), Mapping)}
                   | {str(item["map"].get("name")): item["map"] for item in listed if isinstance(item.get("map"), Mapping)})  # fmt: skip
    rules: dict[str, list[Rule]] = {}
    bases: list[Mapping[str, Json]] = []
    for item in listed:
        if "chain" in item:
            chain = as_mapping(item["chain"])
            rules.setdefault(str(chain.get("name")), [])
            if isinstance(chain.get("hook"), str) and isinstance(chain.get("prio"), int):
                bases.append(chain)
        elif "rule" in item:
            rule = as_mapping(item["rule"])
            held = rules.setdefault(str(rule.get("chain")), [])
            held.append(table.rule(objects(rule.get("expr")), str(rule.get("comment") or ""), len(held) + 1))
    for chain in bases:
        name, device = str(chain.get("name")), chain.get("dev")
        yield Base("nftables", title, name, chain["hook"], chain["prio"], str(chain.get("type") or "filter"), str(chain.get("policy") or "accept"), None, rules,
                   device if isinstance(device, str) else None)  # fmt: skip


class _Table:
    """The sets and maps of one table, and what its rules mean with them."""

    def __init__(self, ground: Ground, sets: Mapping[str, Mapping[str, Json]]) -> None:
        self._ground = ground
        self._sets = sets
        self._compiled: dict[str, Members | None] = {}

    def rule(self, statements: Sequence[Mapping[str, Json]], comment: str, number: int) -> Rule:
        tests: list[Test] = []
        effects: list[Effect] = []
        verdict: str | None = None
        target: Json = ""
        branch: Callable[[Packet, Run], Decision | None] | None = None
        for statement in statements:
            kind = next(iter(statement), "")
            value = statement.get(kind)
            if kind == "match" and not effects:
                tests.append(self._match(as_mapping(value)))
            elif kind == "vmap" and not effects:
                branch = self._branch(as_mapping(value))
                if branch is None:
                    verdict = STRANGE
            elif kind == "mangle" and (effect := _mangled(as_mapping(value))) is not None:
                effects.append(effect)
            elif kind == "notrack":
                effects.append(_notrack)
            elif kind in FINAL:
                verdict = kind
            elif kind in (JUMP, GOTO):
                verdict, target = kind, str(as_mapping(value).get("target"))
            elif kind in NATS:
                verdict, target = NATS[kind], _translation(as_mapping(value))
            elif kind in ("limit", "match", "quota", "connlimit", "ct count", "meter", "xt"):
                tests.append(never_told)
            elif kind not in IDLE:
                verdict, target = STRANGE, kind
        counted = next((as_mapping(s["counter"]).get("packets") for s in statements if "counter" in s), None)
        own, _semicolon, said = comment.partition(";")
        return Rule(
            _line(statements, comment), counted if isinstance(counted, int) else None, tuple(tests), verdict, target, tuple(effects), branch=branch,
            number=number, comment=(said if own.startswith("cali:") else comment).strip(),
        )  # fmt: skip

    def _match(self, match: Mapping[str, Json]) -> Test:
        field = field_of(match.get("left"), self._ground)
        if field is None:
            return never_told
        operator, right = match.get("op"), match.get("right")
        if isinstance(right, str) and right.startswith("@"):
            found = self._members(right[1:], field)
            return never_told if found is None else _compared(field, found, operator)
        return _compared(field, right_side(field, right, operator), operator)

    def _members(self, name: str, field: Field) -> Callable[[Json], Match] | None:
        members = self.members(name)
        return None if members is None else lambda value: members.has(value if isinstance(value, tuple) else (value,))

    def members(self, name: str) -> Members | None:
        if name not in self._compiled:
            self._compiled[name] = _members(self._sets[name]) if name in self._sets else None
        return self._compiled[name]

    def _branch(self, vmap: Mapping[str, Json]) -> Callable[[Packet, Run], Decision | None] | None:
        chance = as_mapping(as_mapping(vmap.get("key")).get("numgen"))
        data = vmap.get("data")
        if chance and isinstance(chance.get("mod"), int):
            return _by_chance(chance["mod"], chance.get("offset") or 0, data)
        field = field_of(vmap.get("key"), self._ground)
        if field is None:
            return None
        if isinstance(data, str) and data.startswith("@"):
            members = self.members(data[1:])
            if members is None:
                return None
            return _by_map(field, members)
        entries = [entry for entry in as_list(as_mapping(data).get("set")) if isinstance(entry, list) and len(entry) == 2]
        if not entries or len(entries) != len(as_list(as_mapping(data).get("set"))):
            return None
        return _by_entries(field, [(right_side(field, _key(key), "=="), _decision(verdict)) for key, verdict in entries])


def _compared(field: Field, inside: Callable[[Json], Match], operator: Json) -> Test:
    if operator not in ("==", "!=", "in", None):
        return never_told
    inverted = operator == "!="

    def test(packet: Packet) -> Match:
        if not field.applies(packet):
            return False
        value = field.value(packet)
        if value is None:
            return None
        found = inside(value)
        return None if found is None else found != inverted

    return test


def _key(value: Json) -> Json:
    """A member without what nft says about it (a comment, a timeout)."""
    return as_mapping(value.get("elem")).get("val") if isinstance(value, Mapping) and "elem" in value else value


def _members(listed: Mapping[str, Json]) -> Members | None:
    """A set, or a map whose values are verdicts; None if it cannot be modelled."""
    kind = listed.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    addresses = [place for place, name in enumerate(kinds) if name in ADDRESSES]
    if len(addresses) > 1 or not all(isinstance(name, str) for name in kinds):
        return None
    members = Members(addresses[0] if addresses else None)
    cut = listed.get("cut")
    if isinstance(cut, list):
        members.complete = False
        members.know(frozenset(str(address) for address in cut))
    flags = as_list(listed.get("flags"))
    if "dynamic" in flags or "timeout" in flags:
        members.complete = False
    for element in as_list(listed.get("elem")):
        value: Json = True
        if "map" in listed:
            if not isinstance(element, list) or len(element) != 2:
                return None
            element, value = element[0], _decision(element[1])
        element = _key(element)
        parts = as_list(element.get("concat")) if isinstance(element, Mapping) and "concat" in element else [element]
        if len(parts) != len(kinds) or not _add(members, parts, [str(name) for name in kinds], addresses, value):
            members.complete = False
            members.know(frozenset())
    return members


def _add(members: Members, parts: Sequence[Json], kinds: Sequence[str], addresses: Sequence[int], value: Json) -> bool:
    rest = [Field.plain(kind, part) for part, kind in zip(parts, kinds) if kind not in ADDRESSES]
    if any(part is None for part in rest):
        return False
    if not addresses:
        plain_member(members, tuple(rest), value)
        return True
    networks = networks_of(parts[addresses[0]])
    if networks is None:
        return False
    members.add(networks, tuple(rest), value)
    return True


def _decision(verdict: Json) -> Decision:
    for kind, value in as_mapping(verdict).items():
        if kind in (JUMP, GOTO):
            return Decision(kind, str(as_mapping(value).get("target")))
        if kind in FINAL:
            return Decision(kind)
    return Decision(STRANGE, "a verdict")


def _by_chance(ways: int, offset: int, data: Json) -> Callable[[Packet, Run], Decision | None] | None:
    entries = {entry[0]: _decision(entry[1]) for entry in as_list(as_mapping(data).get("set")) if isinstance(entry, list) and len(entry) == 2
               and isinstance(entry[0], int)}  # fmt: skip
    if ways < 1 or not entries:
        return None
    return lambda packet, run: entries.get(offset + (run.choose(ways) if ways > 1 else 0))


def _by_map(field: Field, members: Members) -> Callable[[Packet, Run], Decision | None]:
    def branch(packet: Packet, run: Run) -> Decision | None:
        if not field.applies(packet):
            return None
        value = field.value(packet)
        if value is None:
            return Decision(STRANGE, "a verdict map whose key is not known")
        key = value if isinstance(value, tuple) else (value,)
        found = members.find(key)
        if found is None and members.has(key) is None:
            return Decision(STRANGE, "a verdict map that was not read as a whole")
        return t.cast("Decision | None", found)

    return branch


def _by_entries(field: Field, entries: Sequence[tuple[Callable[[Json], Match], Decision]]) -> Callable[[Packet, Run], Decision | None]:
    def branch(packet: Packet, run: Run) -> Decision | None:
        if not field.applies(packet):
            return None
        value = field.value(packet)
        for inside, decision in entries:
            found = None if value is None else inside(value)
            if found or (found is None and run.choose(2, "a verdict map whose key is not known")):
                return decision
        return None

    return branch


def _translation(value: Mapping[str, Json]) -> str:
    """As iptables writes it: 10.0.0.1:80."""
    address, port = value.get("addr"), value.get("port")
    if not isinstance(address, (str, type(None))) or not isinstance(port, (int, type(None))):
        return "?"
    shown = f"[{address}]" if address and ":" in address else address or ""
    return f"{shown}:{port}" if port is not None else shown


def _notrack(packet: Packet) -> None:
    packet.untracked = True


def _mangled(value: Mapping[str, Json]) -> Effect | None:
    """A change of the packet's or the connection's mark; what changes nothing that is matched here is an effect without one."""
    key = as_mapping(value.get("key"))
    changes_mark, changes_ct = as_mapping(key.get("meta")).get("key") == "mark", as_mapping(key.get("ct")).get("key") == "mark"
    if not (changes_mark or changes_ct):
        return (lambda packet: None) if as_mapping(key.get("payload")).get("field") not in (*ADDRESSING, None) or "payload" not in key else None
    worked_out = _mark_of(value.get("value"))
    if worked_out is None:
        return None

    def effect(packet: Packet) -> None:
        if changes_mark:
            packet.mark = worked_out(packet)
        else:
            packet.ctmark = worked_out(packet)

    return effect


def _mark_of(value: Json) -> Callable[[Packet], int | None] | None:
    """An expression over numbers, `meta mark` and `ct mark`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return lambda packet: value
    expression = as_mapping(value)
    if as_mapping(expression.get("meta")).get("key") == "mark":
        return lambda packet: packet.mark
    if as_mapping(expression.get("ct")).get("key") == "mark":
        return lambda packet: packet.ctmark
    for operator, sides in expression.items():
        parts = [_mark_of(side) for side in as_list(sides)]
        if operator in ("&", "|", "^") and len(parts) >= 2 and None not in parts:
            return _combined(operator, [part for part in parts if part is not None])
    return None


def _combined(operator: str, parts: Sequence[Callable[[Packet], int | None]]) -> Callable[[Packet], int | None]:
    def value(packet: Packet) -> int | None:
        found: int | None = None
        for part in parts:
            one = part(packet)
            if one is None:
                return None
            found = one if found is None else found & one if operator == "&" else found | one if operator == "|" else found ^ one
        return None if found is None else found & ALL_BITS

    return value


def _line(statements: Sequence[Mapping[str, Json]], comment: str) -> str:
    """A rule much as `nft list ruleset` prints it."""
    return " ".join([*(_text(statement) for statement in statements), *([f'comment "{comment}"'] if comment else [])])


def _text(statement: Mapping[str, Json]) -> str:
    for name, value in statement.items():
        if name == "match" and isinstance(value, Mapping):
            operator = "" if value.get("op") in ("==", "in") else f"{value.get('op')} "
            return f"{_left_text(value.get('left'))} {operator}{_right_text(value.get('right'))}"
        if name == "counter" and isinstance(value, Mapping):
            return f"counter packets {value.get('packets')} bytes {value.get('bytes')}"
        if name in ("jump", "goto"):
            return f"{name} {as_mapping(value).get('target')}"
        if name == "vmap":
            return f"{_left_text(as_mapping(value).get('key'))} vmap {_right_text(as_mapping(value).get('data'))}"
        if name == "mangle":
            return f"{_left_text(as_mapping(value).get('key'))} set {_left_text(as_mapping(value).get('value'))}"
        if name in ("dnat", "snat"):
            return f"{name} to {_translation(as_mapping(value))}"
        return name
    return ""


def _left_text(left: Json) -> str:
    if isinstance(left, int):
        return f"0x{left:08x}"
    for kind, value in as_mapping(left).items():
        if kind == "concat":
            return " . ".join(_left_text(part) for part in as_list(value))
        if kind in ("&", "|", "^"):
            return f" {kind} ".join(_left_text(part) for part in as_list(value))
        if kind == "fib":
            return f"fib {' . '.join(str(flag) for flag in as_list(as_mapping(value).get('flags')))} {as_mapping(value).get('result')}"
        words = [str(word) for word in as_mapping(value).values()] if isinstance(value, Mapping) else [str(value)]
        return " ".join(words if kind in ("payload", "numgen") else [kind, *words] if kind in ("ct", "meta") and words[:1] not in (["iifname"], ["oifname"])
                        else words)  # fmt: skip
    return str(left)


def _right_text(right: Json) -> str:
    if isinstance(right, (str, int)):
        return str(right)
    prefix, span = as_mapping(as_mapping(right).get("prefix")), as_list(as_mapping(right).get("range"))
    if prefix:
        return f"{prefix.get('addr')}/{prefix.get('len')}"
    if len(span) == 2:
        return f"{span[0]}-{span[1]}"
    if isinstance(right, list):
        return ",".join(str(one) for one in right)
    return json.dumps(right)
