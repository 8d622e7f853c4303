# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often the rules that end packets have counted one, before and after something was sent.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _netfilter
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline

MOST = 16  # rules that are told
MOST_KEPT = 4096
TEXT = 300  # characters of a rule
COUNTED = re.compile(r"\[(\d+):\d+\] (-A (\S+) .*-j (?:DROP|REJECT)\b.*)", re.ASCII)
POLICY = re.compile(r":(\S+) DROP \[(\d+):\d+\]", re.ASCII)
Place = tuple[str, str, str, str]  # packet filter, table, chain, rule
Counters = dict[Place, int]


def of_iptables(text: str, where: str) -> Counters:
    """Of what iptables-save -c says. Rules that are alike count as one."""
    found: Counters = {}
    table = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:].strip()
            continue
        rule, policy = COUNTED.match(line), POLICY.match(line)
        if rule:
            place: Place = (where, table, rule[3], rule[2][:TEXT])
            found[place] = found.get(place, 0) + int(rule[1])
        elif policy:
            found[(where, table, policy[1], "policy DROP")] = int(policy[2])
    return found


def of_nft(text: str) -> Counters:
    """Of one table as nft shows it in JSON: the rules that have a counter of their own."""
    found: Counters = {}
    try:
        rules = [item["rule"] for item in json.loads(text)["nftables"] if "rule" in item]
        for rule in rules:
            expressions = [one for one in rule["expr"] if isinstance(one, dict)]
            packets = [one["counter"]["packets"] for one in expressions if isinstance(one.get("counter"), dict)]
            ends = [name for one in expressions for name in one if name in ("drop", "reject")]
            if packets and ends and isinstance(packets[0], int):
                said = f"handle {rule['handle']} {ends[0]}" + (f" ({rule['comment']})" if rule.get("comment") else "")
                found[("nft", f"{rule['family']} {rule['table']}", str(rule["chain"]), said[:TEXT])] = packets[0]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return found
    return found


def read(deadline: Deadline) -> Counters:
    """Of all packet filters of the calling thread's namespace."""
    told = _netfilter.read(deadline)
    found: Counters = {}
    for entry in told["iptables"]:
        found.update(of_iptables(entry.get("text", ""), f"{'ip6tables' if entry['family'] == 'inet6' else 'iptables'} ({entry['backend']})"))
    for table in told["nft"] if isinstance(told["nft"], list) else []:
        found.update(of_nft(table.get("json", "")))
    return dict(list(found.items())[:MOST_KEPT])


def packed(counters: Counters) -> list[list[t.Any]]:
    """As JSON has it."""
    return [[*place, number] for place, number in counters.items()]


def risen(before: t.Iterable[t.Sequence[t.Any]], after: Counters) -> list[dict[str, t.Any]]:
    """The rules that have counted since, the busiest first."""
    earlier = {tuple(entry[:4]): entry[4] for entry in before}
    rises = [(number - earlier[place], place) for place, number in after.items() if place in earlier and number > earlier[place]]
    names = ("filter", "table", "chain", "rule")
    return [{**dict(zip(names, place)), "packets": rise} for rise, place in sorted(rises, key=lambda one: -one[0])[:MOST]]
