# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the nodes' own packet filters do to the traffic between the nodes (calico.md F02).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._firewall import Direction, end_of, segment
from .._graph import Fact, Finding
from .._json import NotCollected, tagged
from .._netfilter_rules import Step
from .._question import Scope
from .._topology import BGP_PORT, bgp_peers, families, peer_addresses, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("netfilter.bgp")
def bgp_passes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Both sides of a session's handshake pass the filters of a node, in and out."""
    if not uses_bird(cluster):
        return
    for family in families(cluster):
        addresses = peer_addresses(cluster, family)
        for local, peer in scope.pairs(addresses):
            if local in addresses and addresses[peer] in bgp_peers(cluster, local, family):
                value = {"own": addresses[local], "address": addresses[peer], "port": BGP_PORT, "peer": peer}
                yield Fact("netfilter.bgp", local, tagged(peer, family), value)


@check("netfilter.bgp.blocked", fact="netfilter.bgp")
def bgp_not_dropped(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, own, other = documents.node(fact.node), fact.value["own"], fact.value["address"]
    family = "inet6" if ":" in own else "inet"
    try:
        device = facts.link_holding(own)
    except NotCollected:
        device = None
    hits: dict[Step, None] = {}
    ways: tuple[tuple[Direction, str, str], ...] = (("input", other, own), ("output", own, other))
    for way, src, dst in ways:
        for opens, sport, dport in ((True, None, BGP_PORT), (False, BGP_PORT, None)):
            hit = end_of(segment(way, src, dst, sport, dport, device, opens), way, facts.filters(family))
            if hit is not None:
                hits[hit] = None
    if not hits:
        return None
    first, *more = ordered = sorted(hits, key=lambda hit: -(hit.packets or 0))
    evidence = f"{fact.node}: {_line(first)}" + (f", and {len(more)} more" if more else "")
    counted = any(hit.packets for hit in hits)
    where = f"{first.base.backend}, table {first.base.table}, chain {first.chain}"
    return Finding("netfilter.bgp.blocked", fact, [hit.line for hit in ordered], evidence, (f"netfilter {fact.node}",), severity="latent",
                   hint={"counted": counted, "rules": [_line(hit) for hit in ordered], "where": where})  # fmt: skip


def _line(hit: Step) -> str:
    return hit.line if hit.packets is None else f"{hit.line} ({hit.packets} packets)"


@cause(roots=("netfilter.bgp.blocked",))
def bgp_filtered(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The same rules are one cause, for all the peers that they cut off."""
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.fact.node, *finding.hint["rules"]), []).append(finding)
    for (node, *rules), mine in alike.items():
        others = sorted({finding.fact.value["peer"] for finding in mine})
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        why = [f"It is in {mine[0].hint['where']}." + (f" So do: {'; '.join(rules[1:])}." if rules[1:] else "")]
        late = [] if any(finding.hint["counted"] for finding in mine) else ["No packet was counted yet: a session that stands ends when it restarts."]
        yield Cause(
            "bgp_tcp179_blocked", "F02", node, f"{node} itself drops TCP port 179 between it and {shown}: {rules[0]}", mine,
            objects=[*mine[0].actual, *others], why=[*why, *late],
            remedies=[Remedy("advise_tcp179", "R0", f"on {node}, take out, or accept TCP 179 of the other nodes before: {'; '.join(mine[0].actual)}", "",
                             node=node, object=mine[0].actual[0])],
        )  # fmt: skip
