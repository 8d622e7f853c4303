# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: findings of one check folded into one readable line.

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

Json = t.Any
Finding = Mapping[str, Json]
MOST_NAMES = 4


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """a, b, c and 7 more"""
    unique = list(dict.fromkeys(names))
    if len(unique) <= most:
        return ", ".join(unique)
    return f"{', '.join(unique[:most - 1])} and {len(unique) - most + 1} more"


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _sessions(findings: Sequence[Finding]) -> list[str]:
    pairs: dict[tuple[str, str], set[str]] = {}
    for finding in findings:
        ends = tuple(sorted((str(finding["node"]), str(finding["object"]))))
        pairs.setdefault(t.cast("tuple[str, str]", ends), set()).add(str(finding["node"]))
    both = sum(1 for seen in pairs.values() if len(seen) == 2)
    text = f"{count(len(pairs), 'BGP session')} dead: " + listed([f"{a} - {b}" for a, b in sorted(pairs)])
    if both == len(pairs):
        text += ", seen from both sides"
    elif both:
        text += f", {both} of them seen from both sides"
    return [text]


def _block_routes(findings: Sequence[Finding]) -> list[str]:
    by_node: dict[str, list[str]] = {}
    by_prefix: dict[str, list[str]] = {}
    for finding in findings:
        by_node.setdefault(str(finding["node"]), []).append(str(finding["object"]))
        by_prefix.setdefault(str(finding["object"]), []).append(str(finding["node"]))
    word = "wrong" if findings[0]["check"] == "route.block.different" else "missing"
    lines = []
    for node, prefixes in sorted(by_node.items(), key=lambda item: -len(item[1])):
        left = [p for p in prefixes if len(by_prefix[p]) <= 1 or len(prefixes) > 1]
        if left:
            lines.append(f"{count(len(left), 'block route')} {word} on {node}: {listed(left, 3)}")
            for prefix in left:
                by_prefix[prefix] = [n for n in by_prefix[prefix] if n != node]
    for prefix, nodes in by_prefix.items():
        if nodes:
            lines.append(f"route to {prefix} {word} on {listed(nodes)}")
    return lines


def _dns(findings: Sequence[Finding]) -> list[str]:
    by_node: dict[str, list[str]] = {}
    for finding in findings:
        by_node.setdefault(str(finding["node"]), []).append(str(finding["object"]).rpartition("/")[2])
    return [f"DNS from every pod on {node}: out of reach {listed(pods)}" for node, pods in by_node.items()]


def _fib(findings: Sequence[Finding]) -> list[str]:
    nodes = listed([str(f["node"]) for f in findings])
    return [f"the kernel of {nodes} would send the packet elsewhere"]


def _probe(findings: Sequence[Finding]) -> list[str]:
    directions = " and ".join(str(f["object"]) for f in findings)
    return [f"marked packets lost, {directions}"]


def _ways(findings: Sequence[Finding]) -> list[str]:
    return [f"what goes through the Service: {count(len(findings), 'way')} to its endpoints"]


def _unanswered(findings: Sequence[Finding]) -> list[str]:
    return [f"no answer: {listed([str(f['object']) for f in findings])}"]


def _full_size(findings: Sequence[Finding]) -> list[str]:
    directions = " and ".join(str(f["object"]) for f in findings)
    return [f"packets of full size lost, {directions}"]


PHRASES: dict[str, Callable[[Sequence[Finding]], list[str]]] = {
    "bgp.session.down": _sessions,
    "bgp.session.missing": _sessions,
    "route.block.missing": _block_routes,
    "route.block.different": _block_routes,
    "dns.endpoint.unreachable": _dns,
    "fib.different": _fib,
    "probe.lost": _probe,
    "probe.full_size.lost": _full_size,
    "service.unanswered": _unanswered,
    "service.way.dropped": _ways,
    "service.source.hidden": _ways,
}
ORDER = ("bgp.session", "route.block", "dns.endpoint", "fib.different", "probe.lost")
SAME = {"bgp.session.missing": "bgp.session.down"}


def explained(findings: Sequence[Finding]) -> list[str]:
    """One or a few lines for many findings."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        check = str(finding["check"])
        groups.setdefault(SAME.get(check, check), []).append(finding)

    def rank(check: str) -> tuple[int, str]:
        return (next((i for i, prefix in enumerate(ORDER) if check.startswith(prefix)), len(ORDER)), check)

    lines: list[str] = []
    for check in sorted(groups, key=rank):
        members = groups[check]
        if check in PHRASES:
            lines += PHRASES[check](members)
        elif len(members) == 1:
            lines.append(str(members[0]["evidence"]))
        else:
            lines.append(f"{count(len(members), 'finding')} {check} on {listed([str(m['node']) for m in members])}")
    return lines
