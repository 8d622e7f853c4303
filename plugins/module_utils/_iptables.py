# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of ``iptables-save`` and ``ip6tables-save``: any text gives tables, and what is not understood is marked.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import re
import typing as t

# Options and how many words follow them, as libxtables writes them. The first group stands outside of any match or target.
_PLAIN = {"-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "-f": 0, "-4": 0, "-6": 0, "-c": 2}
_CONNTRACK = ("ctstate", "ctproto", "ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst", "ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")
_MATCHES: dict[str, dict[str, int]] = {
    "tcp": {"--sport": 1, "--dport": 1, "--tcp-flags": 2, "--tcp-option": 1, "--syn": 0},
    "udp": {"--sport": 1, "--dport": 1},
    "sctp": {"--sport": 1, "--dport": 1, "--chunk-types": 2},
    "icmp": {"--icmp-type": 1},
    "icmp6": {"--icmpv6-type": 1},
    "ipv6-icmp": {"--icmpv6-type": 1},
    "multiport": {"--sports": 1, "--dports": 1, "--ports": 1},
    "conntrack": {**{f"--{name}": 1 for name in _CONNTRACK}, "--ctstatus": 1, "--ctexpire": 1, "--ctdir": 1},
    "state": {"--state": 1},
    "comment": {"--comment": 1},
    "mark": {"--mark": 1},
    "connmark": {"--mark": 1},
    "set": {"--match-set": 2, "--return-nomatch": 0},
    "addrtype": {"--src-type": 1, "--dst-type": 1, "--limit-iface-in": 0, "--limit-iface-out": 0},
    "rpfilter": {"--loose": 0, "--validmark": 0, "--accept-local": 0, "--invert": 0},
    "limit": {"--limit": 1, "--limit-burst": 1},
    "statistic": {"--mode": 1, "--probability": 1, "--every": 1, "--packet": 1},
    "nfacct": {"--nfacct-name": 1},
    "iprange": {"--src-range": 1, "--dst-range": 1},
    "mac": {"--mac-source": 1},
    "owner": {"--uid-owner": 1, "--gid-owner": 1, "--socket-exists": 0, "--suppl-groups": 0},
    "physdev": {"--physdev-in": 1, "--physdev-out": 1, "--physdev-is-in": 0, "--physdev-is-out": 0, "--physdev-is-bridged": 0},
    "pkttype": {"--pkt-type": 1},
    "length": {"--length": 1},
    "tcpmss": {"--mss": 1},
    "dscp": {"--dscp": 1, "--dscp-class": 1},
    "tos": {"--tos": 1},
    "ttl": {"--ttl-eq": 1, "--ttl-lt": 1, "--ttl-gt": 1},
    "hl": {"--hl-eq": 1, "--hl-lt": 1, "--hl-gt": 1},
    "helper": {"--helper": 1},
    "cgroup": {"--path": 1, "--cgroup": 1},
    "socket": {"--transparent": 0, "--nowildcard": 0, "--restore-skmark": 0},
    "recent": {
        **dict.fromkeys(("--set", "--rcheck", "--update", "--remove", "--rttl", "--rsource", "--rdest", "--reap"), 0),
        **dict.fromkeys(("--seconds", "--hitcount", "--name", "--mask"), 1),
    },
    "string": {"--algo": 1, "--from": 1, "--to": 1, "--string": 1, "--hex-string": 1, "--icase": 0},
}
_TARGETS: dict[str, dict[str, int]] = {
    **{name: {} for name in ("ACCEPT", "DROP", "RETURN", "QUEUE", "NOTRACK", "TRACE")},
    "REJECT": {"--reject-with": 1},
    "MARK": {"--set-xmark": 1, "--set-mark": 1, "--and-mark": 1, "--or-mark": 1, "--xor-mark": 1},
    "CONNMARK": {"--set-xmark": 1, "--set-mark": 1, "--save-mark": 0, "--restore-mark": 0, "--nfmask": 1, "--ctmask": 1, "--mask": 1},
    "DNAT": {"--to-destination": 1, "--random": 0, "--persistent": 0},
    "SNAT": {"--to-source": 1, "--random": 0, "--random-fully": 0, "--persistent": 0},
    "MASQUERADE": {"--to-ports": 1, "--random": 0, "--random-fully": 0},
    "REDIRECT": {"--to-ports": 1, "--random": 0},
    "LOG": {"--log-prefix": 1, "--log-level": 1, "--log-tcp-sequence": 0, "--log-tcp-options": 0, "--log-ip-options": 0, "--log-uid": 0},
    "NFLOG": {"--nflog-group": 1, "--nflog-prefix": 1, "--nflog-range": 1, "--nflog-size": 1, "--nflog-threshold": 1},
    "CT": {"--notrack": 0, "--helper": 1, "--ctevents": 1, "--expevents": 1, "--zone": 1, "--zone-orig": 1, "--zone-reply": 1, "--timeout": 1},
    "TCPMSS": {"--set-mss": 1, "--clamp-mss-to-pmtu": 0},
    "TPROXY": {"--on-port": 1, "--on-ip": 1, "--tproxy-mark": 1},
    "DSCP": {"--set-dscp": 1, "--set-dscp-class": 1},
    "CHECKSUM": {"--checksum-fill": 0},
    "CLASSIFY": {"--set-class": 1},
    "NETMAP": {"--to": 1},
    "NFQUEUE": {"--queue-num": 1, "--queue-balance": 1, "--queue-bypass": 0, "--queue-cpu-fanout": 0},
}
VERDICTS = ("ACCEPT", "DROP", "REJECT", "RETURN")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")
_COUNTERS = re.compile(r"\[(\d{1,20}):(\d{1,20})\]\s*")
_CHAIN = re.compile(r":(\S+)\s+(\S+)(?:\s+\[(\d{1,20}):(\d{1,20})\])?\s*$")
_INCOMPATIBLE = re.compile(r"# Table `(\S+)' is incompatible")


class Condition(t.NamedTuple):
    """One option of a rule: ``! --dport 179`` of the match ``tcp`` (or of the target, or of neither)."""

    of: str
    option: str
    values: tuple[str, ...]
    negated: bool


class Rule(t.NamedTuple):
    """One rule. options: those of the target. unknown: the words that were not understood; a rule that has some may mean anything."""

    line: str
    packets: int | None
    bytes: int | None
    conditions: tuple[Condition, ...]
    target: str | None
    options: tuple[Condition, ...]
    goto: bool
    unknown: tuple[str, ...]


class Chain(t.NamedTuple):
    """policy: None for a chain that only rules lead to."""

    policy: str | None
    packets: int | None
    bytes: int | None
    rules: list[Rule]


class Table(t.NamedTuple):
    """complete: its COMMIT was there. unknown: lines of it that are no rules and no chains."""

    chains: dict[str, Chain]
    complete: bool
    unknown: list[str]


class Ruleset(t.NamedTuple):
    """All tables. incompatible: those that only nft can show. unknown: lines outside of any table."""

    tables: dict[str, Table]
    incompatible: list[str]
    unknown: list[str]


def _words(text: str) -> list[tuple[str, bool]]:
    """The words and whether each was quoted; what was is never an option."""
    return [(word, False) if word else (_ESCAPE.sub(r"\1", quoted), True) for quoted, word in _WORD.findall(text)]


def rule(line: str) -> tuple[str, Rule] | None:
    """The chain and the rule of one line; None if it is no ``-A``."""
    packets = octets = None
    text = line.strip()
    counted = _COUNTERS.match(text)
    if counted:
        packets, octets = int(counted[1]), int(counted[2])
        text = text[counted.end() :]
    words = _words(text)
    if len(words) < 2 or words[0] != ("-A", False):
        return None
    conditions: list[Condition] = []
    options: list[Condition] = []
    unknown: list[str] = []
    target: str | None = None
    goto = negated = False
    of, known, place = "", _PLAIN, 2
    while place < len(words):
        word, quoted = words[place]
        place += 1
        if not quoted and word == "!":
            negated = True
            continue
        count = None if quoted else known.get(word, _PLAIN.get(word))
        if not quoted and word in ("-m", "-j", "-g") and place < len(words):
            of = words[place][0]
            place += 1
            if word == "-m":
                known = _MATCHES.get(of, {})
                if of not in _MATCHES:
                    unknown.append(of)
            else:
                known, target, goto = _TARGETS.get(of, {}), of, word == "-g"
        elif count is None or place + count > len(words):
            unknown.append(word)
        else:
            values = tuple(value for value, _quoted in words[place : place + count])
            place += count
            if word == "-c":
                packets, octets = (int(value) if value.isdecimal() and len(value) <= 20 else None for value in values)
            else:
                special = word in known and known is not _PLAIN
                (options if special and target is not None else conditions).append(Condition(of if special else "", word, values, negated))
        negated = False
    return words[1][0], Rule(text, packets, octets, tuple(conditions), target, tuple(options), goto, tuple(unknown))


def parse(text: str) -> Ruleset:
    """All tables of a text."""
    found = Ruleset({}, [], [])
    name = ""
    table: Table | None = None
    for line in map(str.strip, text.split("\n")):
        incompatible = _INCOMPATIBLE.match(line)
        if incompatible:
            found.incompatible.append(incompatible[1])
        elif not line or line.startswith("#"):
            continue
        elif line.startswith("*") and len(line) > 1:
            name = line[1:].strip()
            table = found.tables[name] = Table({}, False, [])
        elif table is None:
            found.unknown.append(line)
        elif line == "COMMIT":
            found.tables[name] = table._replace(complete=True)
            table = None
        else:
            _add(table, line)
    return found


def _add(table: Table, line: str) -> None:
    declared = _CHAIN.match(line)
    if declared:
        packets, octets = (None if text is None else int(text) for text in declared.groups()[2:])
        table.chains[declared[1]] = Chain(None if declared[2] == "-" else declared[2], packets, octets, [])
        return
    made = rule(line)
    if made is None:
        table.unknown.append(line)
    else:
        table.chains.setdefault(made[0], Chain(None, None, None, [])).rules.append(made[1])


def understood(one: Rule, table: Table) -> bool:
    """Whether every word of a rule is known, and its target is one of the kernel's or a chain of its table."""
    return not one.unknown and (one.target is None or one.target in _TARGETS or one.target in table.chains)
