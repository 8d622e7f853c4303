# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# With which address a pod's packets leave for what is no pod (IPPool natOutgoing).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._dataplane import felix_setting
from .._documents import Documents
from .._flannel import carries
from .._graph import Fact, Finding, NotApplicable, Severity
from .._json import NotCollected, family_of
from .._netfilter_rules import Unknown
from .._packet_blame import calico_chain
from .._packet_walk import Walks, flow_of
from .._question import Scope
from .._remedies import dead_felix, restart_calico_node

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

CHAIN = "cali-nat-outgoing"  # felix/rules/nat.go


@expects("nat.outgoing")
def leaves_as_its_node(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Of a pod's packets to an address that is in no pool: those of a pool with natOutgoing leave with the address of the node."""
    question = scope.question
    source, destination = question.source, question.destination
    if scope.audit or source.kind != "pod" or destination.kind not in ("address", "node") or destination.node == source.node or carries(cluster):
        return
    pool = cluster.pool_of(source.address)
    if pool is None or cluster.pool_of(destination.address) is not None:
        return
    node = str(source.node)
    if destination.kind == "node" and felix_setting(cluster, node, "natOutgoingExclusions") == "IPPoolsAndHostIPs":
        return
    yield Fact("nat.outgoing", node, f"{source.address}>{destination.address}", {"pool": pool.name, "masquerade": pool.nat_outgoing, "src": source.address})


@check("nat.outgoing.missing", "nat.outgoing.off", fact="nat.outgoing")
def masqueraded(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    node, question, wanted = fact.node, scope.question, fact.value
    if not wanted["masquerade"]:
        if question.destination.kind == "node" or _replied(documents):
            raise NotApplicable(f"pool {wanted['pool']} has natOutgoing off, and what is asked for knows the way to its addresses")
        evidence = f"pool {wanted['pool']}: natOutgoing is off, so {question.destination.address} sees {wanted['src']}, and must have a route to it"
        return Finding("nat.outgoing.off", fact, wanted["src"], evidence, ("Kubernetes API",), severity="latent" if not _asked(documents) else "warning")
    filters = documents.node(node).filters("inet6" if family_of(wanted["src"]) == "ipv6" else "inet")
    if not any(calico_chain(name) == CHAIN for base in filters.bases for name in base.chains):
        raise NotApplicable(f"Felix has no chain {CHAIN} on {node}")
    try:
        found = Walks(documents.collected()).leaving(flow_of(question))
    except Unknown as exc:
        raise NotCollected(f"{node}: with which address the packet leaves cannot be told: {exc}") from exc
    if not found:
        raise NotCollected(f"{node}: the packet was not followed to where it leaves")
    if wanted["src"] not in found:
        return None
    evidence = f"{node}: no rule of {CHAIN} takes {wanted['src']} to {question.destination.address}, though pool {wanted['pool']} has natOutgoing"
    severity: Severity = "warning" if _replied(documents) else "critical"
    return Finding("nat.outgoing.missing", fact, sorted(found), evidence, (f"netfilter {node}", "Kubernetes API"), severity=severity)


def _asked(documents: Documents) -> bool:
    return any(probe.get("direction") == "forward" and probe.get("sent") for probe in documents.evidence.probes)


def _replied(documents: Documents) -> bool:
    return any(probe.get("direction") == "forward" and (probe.get("replied") or probe.get("refused")) for probe in documents.evidence.probes)


@cause(roots=("nat.outgoing.missing",))
def not_masqueraded(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pool = finding.fact.node, finding.fact.value["pool"]
        summary = f"{node} lets {finding.fact.value['src']} leave with its own address, though pool {pool} has natOutgoing."
        yield Cause("nat_outgoing_missing", None, node, summary, [finding], objects=[f"IPPool {pool}", CHAIN], also=dead_felix(diagnosis, node),
                    why=["Who is outside of the cluster has no route to the addresses of pods, so the answers are lost.",
                         "Felix masquerades what goes from its set masq-ipam-pools to what is not in all-ipam-pools; a Felix that hangs keeps old sets."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"nat.outgoing on {node}"))  # fmt: skip


@cause(roots=("nat.outgoing.off",))
def switched_off(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    first = findings[0]
    pool = first.fact.value["pool"]
    advice = f"set natOutgoing of IPPool {pool} to true, or give the network outside a route to it (BGP)"
    yield Cause("nat_outgoing_off", None, first.fact.node, f"Pods of pool {pool} leave with their own addresses (natOutgoing is off), and nothing came back.",
                findings, objects=[f"IPPool {pool}"], heuristic=True,
                why=["Who is outside of the cluster needs a route to the pods to answer them."],
                remedies=[Remedy("advise_nat_outgoing", "R0", advice, "", object=f"IPPool {pool}")])  # fmt: skip
