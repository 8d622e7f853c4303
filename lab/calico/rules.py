"""Rules as Felix writes them, in iptables' words and in nft's."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

ACCEPTED, PASSED, DROPPED, SCRATCH, BLOCK = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000  # the bits of Felix's mark
OURS = ACCEPTED | PASSED | SCRATCH | BLOCK
TABLES = ("raw", "mangle", "nat", "filter")
Ports = tuple[tuple[int, int], ...]
Direction = Literal["src", "dst"]
LONGEST_CHAIN, LONGEST_SET, LONGEST_COMMENT = 28, 31, 128


@dataclass(frozen=True)
class Action:
    """What a rule does: a verdict, a jump or goto to a chain, or bits of the mark that it sets."""

    kind: Literal["none", "accept", "drop", "return", "masquerade", "notrack", "jump", "goto", "mark"]
    chain: str = ""
    value: int = 0
    mask: int = 0


NONE, ACCEPT, DROP, RETURN = Action("none"), Action("accept"), Action("drop"), Action("return")
MASQUERADE, NOTRACK = Action("masquerade"), Action("notrack")


def jump(chain: str) -> Action:
    return Action("jump", chain)


def goto(chain: str) -> Action:
    return Action("goto", chain)


def mark(value: int, mask: int) -> Action:
    return Action("mark", "", value, mask)


@dataclass(frozen=True)
class Member:
    """That an address is in a set, or is not."""

    name: str
    direction: Direction
    inside: bool = True


@dataclass(frozen=True)
class Rule:
    """One rule: everything that is said must match."""

    action: Action
    comment: str = ""
    source: str = ""
    destination: str = ""
    inward: str = ""  # the device that it comes in on; "cali+" is any of that beginning
    outward: str = ""
    protocol: str = ""
    ports: Ports = ()
    port_set: str = ""  # of address, protocol and port of the destination
    members: tuple[Member, ...] = ()
    marked: tuple[int, int] | None = None  # value, mask
    any_mark: int = 0  # any of these bits
    states: str = ""
    local: Direction | None = None  # an address of the node
    tunnel: str = ""  # leaves by the tunnel with an address of the node, but not with the tunnel's own
    reverse: bool = False  # fails the reverse path check
    late: bool = False  # the type of the address is asked after the ports (VXLAN), not after the sets
    dispatch: tuple[tuple[str, str], ...] | None = None  # device and chain, as one rule each or as a map


@dataclass
class AddressSet:
    """A set: addresses, networks, or addresses with protocol and port."""

    kind: Literal["hash:ip", "hash:net", "hash:ip,port"]
    members: frozenset[str]


@dataclass
class Ruleset:
    """All that Felix writes on a node."""

    chains: dict[str, dict[str, list[Rule]]] = field(default_factory=lambda: {table: {} for table in TABLES})
    first: dict[tuple[str, str], list[Rule]] = field(default_factory=dict)  # by table and the kernel's chain
    last: dict[tuple[str, str], list[Rule]] = field(default_factory=dict)
    sets: dict[str, AddressSet] = field(default_factory=dict)

    def chain(self, table: str, name: str, rules: Iterable[Rule] = ()) -> str:
        self.chains[table].setdefault(name, []).extend(rules)
        return name


def limited(prefix: str, suffix: str, length: int = LONGEST_CHAIN) -> str:
    """A name that is not too long: the end is hashed if it must be."""
    if len(prefix) + len(suffix) <= length and not (len(prefix) + len(suffix) == length and suffix.startswith("_")):
        return prefix + suffix
    digest = base64.urlsafe_b64encode(hashlib.sha256(suffix.encode()).digest()).decode().rstrip("=")
    return f"{prefix}_{digest[: length - 1 - len(prefix)]}"


def hashed(text: str, length: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha224(text.encode()).digest()).decode()[:length]


def digests(chain: str, rules: Sequence[str]) -> list[str]:
    """The identity of each rule of a chain: it follows from all before it."""
    found, before = [], chain
    for rule in rules:
        before = hashed(before + rule, 16)
        found.append(before)
    return found


# ---- iptables
def _iptables_mark(action: Action) -> str:
    return f"-j MARK --set-xmark {action.value:#x}/{action.mask:#x}"


def _iptables_target(rule: Rule) -> str:
    action = rule.action
    words = {"accept": "-j ACCEPT", "drop": "-j DROP", "return": "-j RETURN", "notrack": "-j NOTRACK", "masquerade": "-j MASQUERADE --random-fully"}
    if action.kind in ("jump", "goto"):
        return f"-{action.kind[0]} {action.chain}"
    return _iptables_mark(action) if action.kind == "mark" else words.get(action.kind, "")


def _iptables_ports(rule: Rule) -> list[str]:
    if not rule.ports:
        return []
    if rule.action.kind == "notrack":
        return [f"-m {rule.protocol} --dport {rule.ports[0][0]}"]
    return ["-m multiport --dports " + ",".join(str(low) if low == high else f"{low}:{high}" for low, high in rule.ports)]


def _iptables_matches(rule: Rule) -> tuple[list[str], list[str]]:
    """What iptables-save writes ahead of the comment, and after it."""
    head = [
        *([f"-s {ipaddress.ip_network(rule.source)}"] if rule.source else []),
        *([f"-d {ipaddress.ip_network(rule.destination)}"] if rule.destination else []),
        *([f"-i {rule.inward}"] if rule.inward else []),
        *([f"-o {rule.outward or rule.tunnel}"] if rule.outward or rule.tunnel else []),
        *([f"-p {rule.protocol}"] if rule.protocol else []),
    ]
    ports = _iptables_ports(rule)
    sets = [f"-m set {'' if one.inside else '! '}--match-set {one.name} {one.direction}" for one in rule.members]
    if rule.port_set:
        sets.append(f"-m set --match-set {rule.port_set} dst,dst")
    local = [f"-m addrtype --{rule.local}-type LOCAL"] if rule.local else []
    if rule.late:
        body = [*ports, *local, *sets] if rule.local == "src" else [*ports, *sets, *local]
    else:
        body = [*sets, *local, *ports]
    if rule.tunnel:
        body.append("-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL")
    if rule.marked:
        body.append(f"-m mark --mark {rule.marked[0]:#x}/{rule.marked[1]:#x}")
    if rule.any_mark:
        body.append(f"-m mark ! --mark 0x0/{rule.any_mark:#x}")
    if rule.states:
        body.append(f"-m conntrack {'! ' if rule.states.startswith('!') else ''}--ctstate {rule.states.lstrip('!')}")
    if rule.reverse:
        body.append("-m rpfilter --validmark --invert")
    return head, body


def iptables_lines(chain: str, rules: Sequence[Rule]) -> list[str]:
    """A chain's rules in the order of words that iptables-save has."""
    flat = []
    for rule in rules:
        if rule.dispatch is not None:
            inward = bool(rule.inward)
            flat += [Rule(goto(target), inward=device if inward else "", outward="" if inward else device) for device, target in rule.dispatch]
        else:
            flat.append(rule)
    parts = [(*_iptables_matches(rule), rule.comment, _iptables_target(rule)) for rule in flat]
    names = digests(chain, [repr(part) for part in parts])
    lines = []
    for (head, body, comment, target), name in zip(parts, names, strict=True):
        said = [f'-m comment --comment "cali:{name}"', *([f'-m comment --comment "{comment}"'] if comment else [])]
        lines.append(" ".join([*head, *said, *body, *([target] if target else [])]))
    return lines


# ---- nft
def _nft_mark(action: Action) -> str:
    if action.value == action.mask:
        return f"meta mark set meta mark | {action.value:#010x}"
    kept = f"meta mark set meta mark & {0xFFFFFFFF & ~action.mask | action.value:#010x}"
    return f"{kept} | {action.value:#010x}" if action.value else kept


def _nft_name(table: str, chain: str) -> str:
    return f"{table}-{chain}"


def _nft_target(table: str, rule: Rule) -> str:
    action = rule.action
    if action.kind in ("jump", "goto"):
        return f"{action.kind} {_nft_name(table, action.chain)}"
    if action.kind == "mark":
        return _nft_mark(action)
    return "masquerade fully-random" if action.kind == "masquerade" else action.kind


def _nft_ports(rule: Rule) -> list[str]:
    if not rule.ports:
        return [f"meta l4proto {rule.protocol}"] if rule.protocol and not rule.port_set else []
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in rule.ports]
    return [f"{rule.protocol} dport {shown[0] if len(shown) == 1 else '{ ' + ', '.join(shown) + ' }'}"]


def _nft_device(name: str) -> str:
    return f'"{name[:-1]}*"' if name.endswith("+") else f'"{name}"'


def _plain(network: str) -> str:
    found = ipaddress.ip_network(network)
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def nft_set_name(name: str) -> str:
    return name.replace(":", "-")


def _nft_states(states: str) -> str:
    words = {"RELATED,ESTABLISHED": "ct state established,related", "INVALID": "ct state invalid", "DNAT": "ct status dnat", "!DNAT": "ct status != dnat"}
    return words[states]


def _nft_matches(rule: Rule) -> list[str]:
    sides = {"src": "saddr", "dst": "daddr"}
    found = [
        *([f"iifname {_nft_device(rule.inward)}"] if rule.inward else []),
        *([f"oifname {_nft_device(rule.outward or rule.tunnel)}"] if rule.outward or rule.tunnel else []),
        *([f"ip saddr {_plain(rule.source)}"] if rule.source else []),
        *([f"ip daddr {_plain(rule.destination)}"] if rule.destination else []),
    ]
    found += [f"ip {sides[one.direction]} {'' if one.inside else '!= '}@{nft_set_name(one.name)}" for one in rule.members]
    if rule.port_set:
        found.append(f"ip daddr . meta l4proto . {rule.protocol} dport @{nft_set_name(rule.port_set)}")
    found += _nft_ports(rule)
    if rule.local:
        found.append(f"fib {sides[rule.local]} type local")
    if rule.tunnel:
        found += ["fib saddr . oif type != local", "fib saddr type local"]
    if rule.marked:
        found.append(f"meta mark & {rule.marked[1]:#010x} == {rule.marked[0]:#010x}")
    if rule.any_mark:
        found.append(f"meta mark & {rule.any_mark:#010x} != 0x00000000")
    if rule.states:
        found.append(_nft_states(rule.states))
    if rule.reverse:
        found.append("fib saddr . mark . iif oif 0")
    return found


def nft_lines(table: str, chain: str, rules: Sequence[Rule]) -> list[str]:
    """A chain's rules as `nft list` shows them, counters without numbers."""
    parts = []
    for rule in rules:
        if rule.dispatch is not None:
            parts.append((f"{'iifname' if rule.inward else 'oifname'} vmap @{_nft_name(table, chain)}", rule.comment))
        elif rule.action.kind == "none":
            parts.append((" ".join([*_nft_matches(rule), "continue"]), rule.comment))
        else:
            parts.append((" ".join([*_nft_matches(rule), "counter", _nft_target(table, rule)]), rule.comment))
    lines = []
    for (text, comment), name in zip(parts, digests(chain, [f"{text} {comment}" for text, comment in parts]), strict=True):
        said = f"cali:{name};" + (f" {comment}" if comment else "")
        lines.append(f'{text} comment "{said[:LONGEST_COMMENT]}"')
    return lines
