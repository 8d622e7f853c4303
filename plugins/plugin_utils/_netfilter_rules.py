# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: packet filters as rules that can be run, whichever tool wrote them, and one packet on its way through their chains.

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Match = bool | None  # None: it cannot be told
DEEPEST = 32
MOST_WAYS = 128
EPHEMERAL = (32768, 60999)  # a client's own port, as Linux gives it by default (net.ipv4.ip_local_port_range)
NO_PORT, CLIENTS = -1, -2  # in the place of a port: other bytes; some port of the client's own choice
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58,
    "vrrp": 112, "sctp": 132, "udplite": 136,
}  # fmt: skip
TCP, UDP, ICMP, ICMPV6, IPIP = 6, 17, 1, 58, 4
WITH_PORTS = (6, 17, 33, 132, 136)
ALL_BITS = 0xFFFFFFFF
# the bits of the status word of a tracked connection (linux/netfilter/nf_conntrack_common.h)
SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, SRC_NAT_DONE, DST_NAT_DONE = 2, 4, 8, 0x10, 0x20, 0x80, 0x100
ACCEPT, DROP, REJECT, RETURN, JUMP, GOTO, STRANGE = "accept", "drop", "reject", "return", "jump", "goto", "strange"
DNAT, SNAT, MASQUERADE, REDIRECT = "dnat", "snat", "masquerade", "redirect"


@dataclass(slots=True)
class Packet:
    """protocol: its number. sport, dport: None for a client's own port, and where there is none. icmp: type and code. flags: of TCP.
    state: as connection tracking sees it. status: None where no connection belongs to it, -1 if that cannot be told. mark, ctmark: None: it cannot be told.
    """

    protocol: int
    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None
    icmp: tuple[int, int] | None = None
    flags: frozenset[str] = frozenset()
    state: str = "NEW"
    status: int | None = None
    direction: str = "original"
    mark: int | None = 0
    ctmark: int | None = 0
    iif: str | None = ""
    oif: str | None = ""
    untracked: bool = False
    connection: object = None

    @property
    def family(self) -> str:
        return "inet6" if ":" in self.dst else "inet"


Test = Callable[[Packet], Match]
Effect = Callable[[Packet], None]


@dataclass(frozen=True, eq=False)
class Rule:
    """What a rule asks, what it does to the packet, and where it leads. verdict: None: the packet goes on to the next rule.

    ways: of a rule that decides by chance: how many ways there are. branch: of a verdict map: what it says of a packet.
    """

    line: str
    packets: int | None
    tests: tuple[Test, ...]
    verdict: str | None
    target: t.Any = ""
    effects: tuple[Effect, ...] = ()
    chance: bool = False
    branch: Callable[[Packet, Run], Decision | None] | None = None
    number: int = 0
    comment: str = ""

    @property
    def idle(self) -> bool:
        return self.verdict is None and not self.effects and self.branch is None


class Decision(t.NamedTuple):
    verdict: str
    target: t.Any = ""


@dataclass(frozen=True, eq=False)
class Base:
    """A chain that the kernel calls, with the chains of its table."""

    backend: str
    table: str
    chain: str
    hook: str
    priority: int
    kind: str
    policy: str
    packets: int | None
    chains: Mapping[str, list[Rule]]
    device: str | None = None  # of a netdev chain


@dataclass(frozen=True)
class Step:
    """A rule that matched, or the policy of a base chain (rule: None)."""

    node: str
    base: Base
    chain: str
    rule: Rule | None

    @property
    def line(self) -> str:
        return self.rule.line if self.rule is not None else f"policy {self.base.policy}"

    @property
    def packets(self) -> int | None:
        return self.rule.packets if self.rule is not None else self.base.packets


class Unknown(Exception):
    """What becomes of the packet cannot be told; the reason is one sentence."""


@dataclass
class Run:
    """One of the ways that a packet may take: what was chosen where it could not be told or is left to chance, and what was met."""

    choices: list[int] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    node: str = ""

    def choose(self, ways: int, doubt: str | None = None) -> int:
        """One of so many ways; doubt: it is not chance, but not known."""
        place = len(self.taken)
        chosen = self.choices[place] if place < len(self.choices) else 0
        self.taken.append((chosen, ways))
        if doubt is not None:
            self.doubts.append(doubt)
        return chosen

    def next_choices(self) -> list[int] | None:
        """The choices of the next way that was not tried; None after the last."""
        taken = list(self.taken)
        while taken:
            chosen, ways = taken.pop()
            if chosen + 1 < ways:
                return [choice for choice, _count in taken] + [chosen + 1]
        return None

    def through(self, base: Base, packet: Packet) -> Decision:
        """What a base chain decides."""
        found = self._chain(base, base.chain, packet, 0)
        if found is None:
            if base.policy != ACCEPT:
                self.steps.append(Step(self.node, base, base.chain, None))
            return Decision(base.policy)
        return found

    def _chain(self, base: Base, chain: str, packet: Packet, depth: int) -> Decision | None:
        rules = base.chains.get(chain)
        if rules is None or depth > DEEPEST:
            raise Unknown(f"the chain {chain} of {base.table} is {'missing' if rules is None else 'too deep'}")
        for rule in rules:
            matched: Match = True
            for test in rule.tests:
                found = test(packet)
                if found is False:
                    matched = False
                    break
                if found is None:
                    matched = None
            if matched is False or (matched is None and rule.idle):
                continue
            if matched is None and not self.choose(2, rule.line):
                continue
            if rule.chance and not self.choose(2):
                continue
            self.steps.append(Step(self.node, base, chain, rule))
            for effect in rule.effects:
                effect(packet)
            verdict, target = rule.verdict, rule.target
            if rule.branch is not None:
                decision = rule.branch(packet, self)
                if decision is None:
                    continue
                verdict, target = decision
            if verdict is None:
                continue
            if verdict in (JUMP, GOTO):
                decision = self._chain(base, target, packet, depth + 1)
                if decision is not None or verdict == GOTO:
                    return decision
            elif verdict == RETURN:
                return None
            elif verdict == STRANGE:
                raise Unknown(f"what {target or rule.line} does is not modelled")
            else:
                return Decision(verdict, target)
        return None


Outcome = t.TypeVar("Outcome")


def every_way(walk: Callable[[Run], Outcome]) -> Iterator[tuple[Run, Outcome]]:
    """A walk done again and again until every choice was made in every way. Errors: Unknown, if there are too many."""
    choices: list[int] | None = []
    tried = 0
    while choices is not None:
        if tried == MOST_WAYS:
            raise Unknown(f"there are more than {MOST_WAYS} ways")
        run = Run(choices)
        yield run, walk(run)
        choices = run.next_choices()
        tried += 1


# ------------------------------------------------------------------ what rules of both tools ask


def in_ports(spans: tuple[tuple[int, int], ...], port: int | None, protocol: int) -> Match:
    """Whether a port is in one of the spans; of a client's own port as far as that can be told."""
    if port is not None:
        return any(low <= port <= high for low, high in spans)
    if protocol not in WITH_PORTS:
        return False
    lowest, highest = EPHEMERAL
    if any(low <= lowest and high >= highest for low, high in spans):
        return True
    return None if any(low <= highest and high >= lowest for low, high in spans) else False


def has_name(pattern: str, wildcard: str) -> Callable[[str | None], Match]:
    """Whether a device has the name, or begins with it where a wildcard follows."""
    if pattern.endswith(wildcard):
        prefix = pattern[: -len(wildcard)]
        return lambda name: None if name is None else name.startswith(prefix)
    return lambda name: None if name is None else name == pattern


def protocol_number(text: object) -> int | None:
    if isinstance(text, int):
        return text
    word = str(text).lower()
    return int(word) if word.isdecimal() else PROTOCOLS.get(word)
