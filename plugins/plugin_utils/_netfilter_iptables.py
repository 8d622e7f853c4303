# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the text of iptables-save as rules that can be run.

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..module_utils import _iptables
from ._json import Json, NotCollected, parse_network
from ._netfilter_ground import Ground
from ._netfilter_rules import (
    ACCEPT,
    ALL_BITS,
    CLIENTS,
    DNAT,
    DROP,
    GOTO,
    ICMP,
    ICMPV6,
    JUMP,
    MASQUERADE,
    REDIRECT,
    REJECT,
    RETURN,
    SNAT,
    STRANGE,
    WITH_PORTS,
    Base,
    Effect,
    Match,
    Packet,
    Rule,
    Test,
    has_name,
    in_ports,
    protocol_number,
)
from ._netfilter_sets import Members
from ._prefixes import number

# the priorities of the chains of iptables (linux/netfilter_ipv4.h)
PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
NAT_PRIORITIES = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "POSTROUTING": "postrouting"}
FINAL = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": REJECT, "RETURN": RETURN}
IDLE = ("LOG", "NFLOG", "TRACE", "TCPMSS", "DSCP", "CHECKSUM", "CLASSIFY")
ICMP_TYPES = {"any": None, "echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11}


def never_told(packet: Packet) -> Match:
    return None


def chains(entry: Mapping[str, Json], ground: Ground) -> Iterator[Base]:
    """The chains that the kernel calls. Errors: NotCollected."""
    backend = f"iptables ({entry.get('backend')})"
    if entry.get("error"):
        raise NotCollected(f"{backend}: {entry['error']}")
    found = _iptables.parse(str(entry.get("text")))
    if found.incompatible or found.unknown:
        raise NotCollected(f"iptables of {entry.get('backend')} cannot be understood as a whole")
    for name, table in found.tables.items():
        if not table.complete or table.unknown:
            raise NotCollected(f"the table {name} of {backend} cannot be understood as a whole")
        compiled = Chains(table, ground)
        for chain, held in table.chains.items():
            priority = NAT_PRIORITIES.get(chain) if name == "nat" else PRIORITIES.get(name)
            if chain in HOOKS and priority is not None:
                kind = "nat" if name == "nat" else "route" if (name, chain) == ("mangle", "OUTPUT") else "filter"
                yield Base(backend, name, chain, HOOKS[chain], priority, kind, (held.policy or "ACCEPT").lower(), held.packets, compiled)


class Chains(Mapping[str, list[Rule]]):
    """The chains of a table; the rules of one are made when it is asked for, as a packet meets few of them."""

    def __init__(self, table: _iptables.Table, ground: Ground) -> None:
        self._table, self._ground = table, ground
        self._made: dict[str, list[Rule]] = {}

    def __getitem__(self, chain: str) -> list[Rule]:
        if chain not in self._made:
            self._made[chain] = [_rule(rule, self._table, self._ground, place) for place, rule in enumerate(self._table.chains[chain].rules, 1)]
        return self._made[chain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.chains)

    def __len__(self) -> int:
        return len(self._table.chains)


def _rule(parsed: _iptables.Rule, table: _iptables.Table, ground: Ground, place: int) -> Rule:
    known = _iptables.understood(parsed, table)
    tests = [test for test in (_test(condition, parsed, ground) for condition in _merged(parsed)) if test is not None]
    if not known:
        tests.append(never_told)
    try:
        verdict, target, effects = _target(parsed, table)
    except ValueError:
        verdict, target, effects = STRANGE, parsed.target, ()
    texts = [c.values[0] for c in parsed.conditions if c.of == "comment" and c.values]
    return Rule(
        parsed.line, parsed.packets, tuple(tests), verdict, target, effects, chance=any(c.of == "statistic" for c in parsed.conditions), number=place,
        comment="; ".join(text for text in texts if not text.startswith("cali:")),
    )  # fmt: skip


def _target(parsed: _iptables.Rule, table: _iptables.Table) -> tuple[str | None, Json, tuple[Effect, ...]]:
    name = parsed.target
    options = {option.option: option.values for option in parsed.options}
    first = {option: values[0] if values else "" for option, values in options.items()}
    if name is None or name in IDLE:
        return None, "", ()
    if name in table.chains:
        return GOTO if parsed.goto else JUMP, name, ()
    if name in FINAL:
        return FINAL[name], "", ()
    if name == "MARK" or (name == "CONNMARK" and not {"--save-mark", "--restore-mark"} & options.keys()):
        change = _mark_change(first)
        if change is not None:
            return None, "", (_set_mark(*change) if name == "MARK" else _set_ctmark(*change),)
    if name == "CONNMARK" and not {"--nfmask", "--ctmask", "--mask"} & options.keys():
        return None, "", (_save_mark if "--save-mark" in options else _restore_mark,)
    if name == "NOTRACK" or (name == "CT" and "--notrack" in options):
        return None, "", (_notrack,)
    if name == "CT" and not any("--zone" in option for option in options):
        return None, "", ()
    if name == "DNAT" and "--to-destination" in first:
        return DNAT, first["--to-destination"], ()
    if name == "SNAT" and "--to-source" in first:
        return SNAT, first["--to-source"], ()
    if name in ("MASQUERADE", "REDIRECT"):
        return MASQUERADE if name == "MASQUERADE" else REDIRECT, first.get("--to-ports", ""), ()
    return STRANGE, name, ()


def _mark_change(first: Mapping[str, str]) -> tuple[int, int] | None:
    """The bits that are kept and those that are then turned over."""
    for option, text in first.items():
        value, mask = value_and_mask(text)
        changes = {
            "--set-xmark": (~mask & ALL_BITS, value), "--set-mark": (~(mask | value) & ALL_BITS, value), "--and-mark": (value, 0),
            "--or-mark": (~value & ALL_BITS, value), "--xor-mark": (ALL_BITS, value),
        }  # fmt: skip
        if option in changes:
            return changes[option]
    return None


def _set_mark(kept: int, turned: int) -> Effect:
    def effect(packet: Packet) -> None:
        if packet.mark is not None:
            packet.mark = packet.mark & kept ^ turned
        elif not kept:
            packet.mark = turned

    return effect


def _set_ctmark(kept: int, turned: int) -> Effect:
    def effect(packet: Packet) -> None:
        if packet.ctmark is not None:
            packet.ctmark = packet.ctmark & kept ^ turned

    return effect


def _save_mark(packet: Packet) -> None:
    packet.ctmark = packet.mark


def _restore_mark(packet: Packet) -> None:
    packet.mark = packet.ctmark


def _notrack(packet: Packet) -> None:
    packet.untracked = True


# ------------------------------------------------------------------ matches


def _merged(parsed: _iptables.Rule) -> Iterator[tuple[_iptables.Condition, frozenset[str]]]:
    """Each condition with the options of the same match that it is written with."""
    options: dict[int, set[str]] = {}
    marks = [place for place, condition in enumerate(parsed.conditions) if condition.option in ("--src-type", "--dst-type", "--match-set")]
    for place, condition in enumerate(parsed.conditions):
        if condition.option in ("--limit-iface-in", "--limit-iface-out", "--return-nomatch"):
            owner = max((mark for mark in marks if mark < place), default=None)
            if owner is not None:
                options.setdefault(owner, set()).add(condition.option)
    sets_recent = any((c.of, c.option) == ("recent", "--set") for c in parsed.conditions)  # it notes the packet and matches
    rpfilter = frozenset(c.option for c in parsed.conditions if c.of == "rpfilter")
    seen_rpfilter = False
    for place, condition in enumerate(parsed.conditions):
        if condition.of == "rpfilter":
            if not seen_rpfilter:
                yield condition, rpfilter
            seen_rpfilter = True
        elif condition.of == "recent" and sets_recent:
            continue
        elif condition.option not in ("--limit-iface-in", "--limit-iface-out", "--return-nomatch"):
            yield condition, frozenset(options.get(place, ()))


def _test(given: tuple[_iptables.Condition, frozenset[str]], parsed: _iptables.Rule, ground: Ground) -> Test | None:
    condition, options = given
    if condition.of in ("comment", "nfacct", "statistic"):
        return None
    try:
        test = _matcher(condition, options, ground)
    except (ValueError, IndexError):
        test = never_told
    return _negated(test) if condition.negated else test


def _negated(test: Test) -> Test:
    def negated(packet: Packet) -> Match:
        found = test(packet)
        return None if found is None else not found

    return negated


def _matcher(condition: _iptables.Condition, options: frozenset[str], ground: Ground) -> Test:
    of, option, values = condition.of, condition.option, condition.values
    if of == "":
        return _plain(option, values)
    if of in ("tcp", "udp", "sctp", "multiport") and option in ("--sport", "--sports", "--dport", "--dports", "--ports"):
        return _ports(option, values[0])
    if of == "tcp" and option == "--tcp-flags":
        asked, set_ = frozenset(values[0].split(",")), frozenset(values[1].split(",")) - {"NONE"}
        return lambda packet: packet.flags & asked == set_
    if of in ("icmp", "icmp6", "ipv6-icmp"):
        return _icmp(values[0], ICMP if of == "icmp" else ICMPV6)
    if of in ("conntrack", "state") and option in ("--ctstate", "--state"):
        return _states(frozenset(values[0].split(",")))
    if of == "conntrack" and option == "--ctdir":
        asked_direction = values[0].lower()
        return lambda packet: None if packet.status == -1 else packet.status is not None and packet.direction == asked_direction
    if of == "addrtype" and option in ("--src-type", "--dst-type"):
        return _address_type(option == "--src-type", frozenset(values[0].split(",")), options, ground)
    if of in ("mark", "connmark"):
        value, mask = value_and_mask(values[0])
        if of == "mark":
            return lambda packet: None if packet.mark is None else packet.mark & mask == value
        return lambda packet: None if packet.ctmark is None else packet.ctmark & mask == value
    if of == "set" and option == "--match-set" and not options:
        return _in_set(values[0], values[1].split(","), ground)
    if of == "rpfilter" and not options - {"--validmark", "--invert", "--loose"}:
        return _rpfilter(options, ground)
    return never_told


def _plain(option: str, values: tuple[str, ...]) -> Test:
    if option == "-p":
        if values[0] in ("all", "0"):
            return lambda packet: True
        protocol = protocol_number(values[0])
        return never_told if protocol is None else lambda packet: packet.protocol == protocol
    if option in ("-s", "-d"):
        return within(values[0], option == "-s")
    if option in ("-i", "-o"):
        named = has_name(values[0], "+")
        return (lambda packet: named(packet.iif)) if option == "-i" else (lambda packet: named(packet.oif))
    return (lambda packet: False) if option == "-f" else never_told


def within(text: str, source: bool) -> Test:
    """Whether the packet's source or destination is in a prefix."""
    prefix = parse_network(text)
    if prefix is None:
        return never_told
    bits, shift = prefix.max_prefixlen, prefix.max_prefixlen - prefix.prefixlen
    wanted = (bits, int(prefix.network_address) >> shift)

    def test(packet: Packet) -> Match:
        address = number(packet.src if source else packet.dst)
        return None if address is None else (address[0], address[1] >> shift) == wanted

    return test


def _ports(option: str, text: str) -> Test:
    spans = []
    for part in text.split(","):
        low, colon, high = part.partition(":")
        spans.append((int(low or 0), int(high or 65535) if colon else int(low)))
    held = tuple(spans)
    if option == "--ports":
        return _either(held)
    if option[2] == "s":
        return lambda packet: in_ports(held, packet.sport, packet.protocol)
    return lambda packet: in_ports(held, packet.dport, packet.protocol)


def _either(spans: tuple[tuple[int, int], ...]) -> Test:
    def test(packet: Packet) -> Match:
        found = [in_ports(spans, port, packet.protocol) for port in (packet.sport, packet.dport)]
        return True if True in found else None if None in found else False

    return test


def _icmp(text: str, protocol: int) -> Test:
    name, slash, code_text = text.partition("/")
    kind = ICMP_TYPES[name] if name in ICMP_TYPES else int(name)
    if kind is None or kind == 255:
        return lambda packet: packet.protocol == protocol
    code = int(code_text) if slash else None
    return lambda packet: packet.icmp is not None and packet.protocol == protocol and packet.icmp[0] == kind and code in (None, packet.icmp[1])


def _states(asked: frozenset[str]) -> Test:
    """--ctstate, which knows DNAT and SNAT as states of their own (net/netfilter/xt_conntrack.c)."""
    plain, bits = asked - {"SNAT", "DNAT"}, (0x10 if "SNAT" in asked else 0) | (0x20 if "DNAT" in asked else 0)

    def test(packet: Packet) -> Match:
        if packet.state in plain:
            return True
        if not bits:
            return False
        return None if packet.status == -1 else bool((packet.status or 0) & bits)

    return test


def _address_type(source: bool, asked: frozenset[str], options: frozenset[str], ground: Ground) -> Test:
    def test(packet: Packet) -> Match:
        address = packet.src if source else packet.dst
        if options:
            kind = ground.kind_on(address, packet.iif if "--limit-iface-in" in options else packet.oif)
            return None if kind is None else kind in asked
        return ground.kind(address) in asked

    return test


def _in_set(name: str, directions: list[str], ground: Ground) -> Test:
    members = ground.ipsets.get(name)
    if members is None or len(directions) > 2 or not set(directions) <= {"src", "dst"}:
        return never_told
    return _member(members, directions)


def _member(members: Members, directions: list[str]) -> Test:
    by_source, port_by_source = directions[0] == "src", directions[-1] == "src"

    def test(packet: Packet) -> Match:
        address = packet.src if by_source else packet.dst
        if len(directions) == 1:
            return members.has((address,))
        port = packet.sport if port_by_source else packet.dport
        return members.has((address, packet.protocol, CLIENTS if port is None and packet.protocol in WITH_PORTS else port))

    return test


def _rpfilter(options: frozenset[str], ground: Ground) -> Test:
    loose, valid, inverted = "--loose" in options, "--validmark" in options, "--invert" in options

    def test(packet: Packet) -> Match:
        found = ground.comes_back(packet, packet.mark if valid else 0, loose)
        return None if found is None else found != inverted

    return test


def value_and_mask(text: str) -> tuple[int, int]:
    """`0x10000/0x10000`. Errors: ValueError."""
    value, _slash, mask = text.partition("/")
    return int(value, 0), int(mask or "0xffffffff", 0)
