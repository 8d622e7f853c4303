# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The address that calico-node announces for a node (calico.md section 6; F01).

from __future__ import annotations

import typing as t

from .._autodetection import autodetect
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected, as_mapping, objects
from .._question import Scope
from .._topology import intended_address

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("node.address")
def addresses(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for node in cluster.nodes.values():
        if node.annotation("IPv4Address") is not None or node.name in scope.core:
            yield Fact("node.address", node.name, value=intended_address(cluster, node))


@check("node.address.wrong", "node.address.absent", fact="node.address")
def announced_address(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    node = documents.cluster.node(fact.node)
    announced = node.calico_address
    if not documents.cluster.backend:
        raise NotApplicable("no calico-node runs in this cluster")
    if announced is None:
        if documents.cluster.backend == "none":
            raise NotApplicable("calico-node only enforces policy here and announces no address")
        return Finding("node.address.absent", fact, None, f"node {fact.node} has no annotation projectcalico.org/IPv4Address", ("api",))
    if fact.value is None:
        raise NotCollected(f"{fact.node}: neither an InternalIP nor an autodetection method says which address it should announce")
    facts = documents.node(fact.node)
    if announced == fact.value:
        if facts.collected and facts.address_on_node(announced) is None:
            return _stale(fact, announced, ("api", f"kernel {fact.node}"))
        return None
    sources, evidence, hint = ["api"], f"projectcalico.org/IPv4Address: {node.annotation('IPv4Address')}", {}
    if facts.collected:
        try:
            ifname = facts.link_holding(announced)
            sources.append(f"kernel {fact.node}")
            if ifname is None:
                return _stale(fact, announced, tuple(sources))
            held = as_mapping(facts.address_on_node(announced))
            evidence += f"; on {fact.node}: inet {announced}/{held.get('prefixlen')} dev {ifname}"
            hint = {"ifname": ifname, "prefixlen": held.get("prefixlen")}
        except NotCollected:
            pass
    else:
        listed = node.interface_of(announced)
        if listed:
            evidence += f"; projectcalico.org/Interfaces: it is on {listed}"
            hint = {"ifname": listed}
    if _sessions_work(documents, announced):
        raise NotApplicable(f"{fact.node} announces {announced} instead of {fact.value}, and its BGP sessions are Established")
    sources += [f"bird {name}" for name in _peers_that_fail(documents, fact.node, (announced, fact.value))]
    return Finding("node.address.wrong", fact, announced, evidence, tuple(sources), hint=hint)


def _stale(fact: Fact, announced: str, sources: tuple[str, ...]) -> Finding:
    evidence = f"projectcalico.org/IPv4Address: {announced}; no interface of {fact.node} has it"
    return Finding("node.address.wrong", fact, announced, evidence, sources, hint={"stale": True})


def _protocols_towards(documents: Documents, address: str) -> Iterator[tuple[NodeFacts, t.Any]]:
    for facts in documents.collected():
        try:
            for protocol in facts.bgp_protocols:
                if as_mapping(protocol.get("bgp")).get("neighbor_address") == address:
                    yield facts, protocol
        except NotCollected:
            continue


def _sessions_work(documents: Documents, announced: str) -> bool:
    return any(as_mapping(p.get("bgp")).get("state") == "Established" for _facts, p in _protocols_towards(documents, announced))


def _peers_that_fail(documents: Documents, node: str, addresses: tuple[str | None, ...]) -> list[str]:
    """Other nodes whose BIRD was read and has an Established session with none of the addresses."""
    result = []
    for facts in documents.collected():
        try:
            bgp = [as_mapping(protocol.get("bgp")) for protocol in facts.bgp_protocols]
        except NotCollected:
            continue
        if facts.name != node and not any(p.get("neighbor_address") in addresses and p.get("state") == "Established" for p in bgp):
            result.append(facts.name)
    return sorted(result)


@cause(roots=("node.address.wrong", "node.address.absent"))
def wrong_nic(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    cluster = diagnosis.documents.cluster
    for finding in findings:
        node, announced, intended = finding.fact.node, finding.actual, finding.fact.value
        facts = diagnosis.documents.node(node)
        if announced is None:
            yield Cause("node_ip_wrong_nic", "F01", node, f"{node} announces no address; its Kubernetes address is {intended}.", [finding])
            continue
        why = []
        if finding.hint.get("stale"):
            summary = f"{node} announces {announced}, which no interface of it has."
        elif finding.hint.get("ifname"):
            summary = f"{node} announces {announced}, an address of its interface {finding.hint['ifname']}."
        else:
            summary = f"{node} announces {announced}, not its Kubernetes address."
        try:
            device = facts.link_holding(intended)
        except NotCollected:
            device = cluster.node(node).interface_of(intended)
        why.append(f"Its Kubernetes address is {intended}{f' on {device}' if device else ''}.")
        why.append(f"calico-node's autodetection is {cluster.autodetection or 'off: the address stays until it is changed by hand'}.")
        yield Cause(
            "node_ip_wrong_nic", "F01", node, summary, [finding], objects=[announced], why=why, remedies=list(_remedies(finding, diagnosis))
        )


def _remedies(finding: Finding, diagnosis: Diagnosis) -> Iterator[Remedy]:
    cluster, node = diagnosis.documents.cluster, finding.fact.node
    announced, intended, ifname = finding.actual, finding.fact.value, finding.hint.get("ifname")
    interval = cluster.monitor_interval
    verify = f"{node} announces {intended}"
    facts = diagnosis.documents.node(node)
    if ifname and finding.hint.get("prefixlen") and cluster.autodetection and facts.collected:
        obstacles = removal_obstacles(facts, str(ifname), cluster)
        prefix = f"{announced}/{finding.hint['prefixlen']}"
        try:
            after = autodetect(cluster, node, facts, without=announced)
            if after != intended:
                obstacles.append(f"without it the autodetection {cluster.autodetection} would choose {after or 'nothing'}, not {intended}")
        except NotCollected as exc:
            obstacles.append(f"what the autodetection would choose without it is not known ({exc.reason})")
        if not any(source.startswith("bird ") and source != f"bird {node}" for source in finding.sources):
            obstacles.append("no other node's BIRD was seen to have lost its session with it")
        if not obstacles:
            yield Remedy(
                "delete_address", "R1", f"delete {prefix} from {ifname} on {node}", f"ip address add {prefix} dev {ifname}",
                node=node, object=f"{ifname} {prefix}", change=(f"{prefix} dev {ifname}", ""),
                parameters={"ifname": str(ifname), "address": prefix, "intended": intended}, verify=verify,
                blast_radius=f"only what uses {announced} itself; calico-node's monitor then announces {intended} again",
                preconditions=(
                    f"{ifname} carries no default route, no route to a peer and not this connection",
                    f"autodetection {cluster.autodetection} chooses {intended} once the address is gone",
                ),
                wait_seconds=interval + 30,
            )
            yield Remedy(
                "restart_calico_node", "R2", f"restart calico-node on {node}", "none needed: its DaemonSet keeps it running", node=node,
                object=f"calico-node on {node}", change=("running", "restarted"), parameters={"component": "calico-node", "intended": intended},
                verify=verify, blast_radius=f"BGP sessions of {node} restart gracefully; new pods on {node} wait some seconds",
                preconditions=(f"autodetection {cluster.autodetection} chooses {intended} on {node}",),
                wait_seconds=120, only_if=f"{node} does not announce {intended} within {interval + 30:.0f} s",
            )
        else:
            yield Remedy("advise_address", "R0", f"remove {prefix} from {ifname} on {node} by hand: {'; '.join(obstacles)}", "", node=node)
    yield Remedy(
        "advise_autodetection", "R0",
        "for good: let calico-node use the Kubernetes address (IP_AUTODETECTION_METHOD=kubernetes-internal-ip, or nodeAddressAutodetectionV4"
        " of the operator's Installation)", "", node=node,
    )


def removal_obstacles(facts: NodeFacts, ifname: str, cluster: Cluster) -> list[str]:
    """Why an address must not simply be deleted: what the interface still carries."""
    reasons = []
    peers = {str(node.internal_ip) for node in cluster.nodes.values()}
    try:
        for route in facts.routes:
            devices = {route.get("dev")} | {hop.get("dev") for hop in objects(route.get("nexthops"))}
            if ifname in devices and route.get("protocol") != "kernel" and route.get("table") != 255:
                reasons.append(f"the route to {route.get('dst')} uses {ifname}")
        for entry in facts.entries("lookups") if "lookups" in (facts.document or {}) else []:
            if entry.get("dst") in peers and as_mapping(entry.get("route")).get("dev") == ifname:
                reasons.append(f"node {entry.get('dst')} is reached over {ifname}")
    except NotCollected as exc:
        reasons.append(exc.reason)
    return list(dict.fromkeys(reasons))[:3]
