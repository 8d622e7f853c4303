# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The address that calico-node announces for a node (calico.md section 6; F01).

from __future__ import annotations

import typing as t

from .._autodetection import autodetect
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import ADDRESS_ANNOTATION, Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Family, NotCollected, as_list, as_mapping, objects, tagged
from .._question import Scope
from .._remedies import FOR_GOOD, sessions_meanwhile, set_autodetection, set_node_address
from .._routes import OWN_PROTOCOLS
from .._topology import families, intended_address, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("node.address", "node.mask")
def addresses(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for family in families(cluster):
        for node in cluster.nodes.values():
            if node.calico_interface(family) is not None or node.name in scope.mine:
                intended = intended_address(cluster, node, family)
                yield Fact("node.address", node.name, tagged("", family), value=intended)
            if node.calico_interface(family) is not None and node.name in scope.mine:
                needs = (FactId("node.address", node.name, tagged("", family)),)
                yield Fact("node.mask", node.name, tagged("", family), value="the mask of its interface", needs=needs)


@check("node.address.wrong", "node.address.absent", "node.address.duplicate", fact="node.address")
def announced_address(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    node, family, intended = documents.cluster.node(fact.node), fact.family, fact.value
    annotation = ADDRESS_ANNOTATION[family]
    announced = node.calico_address(family)
    if not documents.cluster.backend:
        raise NotApplicable("no calico-node runs in this cluster")
    if announced is None:
        if documents.cluster.backend == "none":
            raise NotApplicable("calico-node only enforces policy here and announces no address")
        if documents.cluster.rebuilt:
            raise NotCollected(f"{fact.node}: neither the Kubernetes API nor its BIRD tells which address it announces")
        return Finding("node.address.absent", fact, None, f"node {fact.node} has no annotation projectcalico.org/{annotation}", ("api",), severity="latent")
    if intended is None:
        raise NotCollected(f"{fact.node}: neither an InternalIP nor an autodetection method says which address it should announce")
    facts = documents.node(fact.node)
    told = f"bird {fact.node}" if documents.cluster.rebuilt else "api"
    line = f"its own word: {node.annotation(annotation)}" if documents.cluster.rebuilt else f"projectcalico.org/{annotation}: {node.annotation(annotation)}"
    twins = [name for name, address in _announced(documents.cluster, family) if address == announced and name != fact.node]
    if announced == intended:
        if twins and node.ready is False:
            evidence = f"{line} on {fact.node}, which is not Ready, and on {', '.join(twins)}"
            return Finding("node.address.duplicate", fact, announced, evidence, ("api",), severity="latent", hint={"twins": twins, "renamed": True})
        if facts.collected and facts.address_on_node(announced) is None:
            return _stale(fact, announced, line, (told, f"kernel {fact.node}"))
        return None
    if twins:
        evidence = f"{line} on {fact.node}, and on {', '.join(twins)} too"
        return Finding("node.address.duplicate", fact, announced, evidence, ("api",), severity="latent", hint={"twins": twins})
    sources, evidence, hint = [told], line, {}
    if facts.collected:
        try:
            ifname = facts.link_holding(announced)
            sources.append(f"kernel {fact.node}")
            if ifname is None:
                return _stale(fact, announced, line, tuple(sources))
            held = as_mapping(facts.address_on_node(announced))
            evidence += f"; on {fact.node}: {'inet' if family == 'ipv4' else 'inet6'} {announced}/{held.get('prefixlen')} dev {ifname}"
            hint = {"ifname": ifname, "prefixlen": held.get("prefixlen")}
        except NotCollected:
            pass
    else:
        listed = node.interface_of(announced)
        if listed:
            evidence += f"; projectcalico.org/Interfaces: it is on {listed}"
            hint = {"ifname": listed}
    if _sessions_work(documents, announced):
        raise NotApplicable(f"{fact.node} announces {announced} instead of {intended}, and its BGP sessions are Established")
    sources += [f"bird {name}" for name in _peers_that_fail(documents, fact.node, family, (announced, intended))]
    sources += [f"kernel {name}" for name in _senders_to(documents, fact.node, announced)]
    return Finding("node.address.wrong", fact, announced, evidence, tuple(sources), severity="latent", hint=hint)


def _announced(cluster: Cluster, family: Family) -> list[tuple[str, str]]:
    def read() -> list[tuple[str, str]]:
        return [(node.name, address) for node in cluster.nodes.values() if (address := node.calico_address(family)) is not None]

    return cluster.once(f"announced {family}", read)


def _stale(fact: Fact, announced: str, line: str, sources: tuple[str, ...]) -> Finding:
    evidence = f"{line}; no interface of {fact.node} has it"
    return Finding("node.address.wrong", fact, announced, evidence, sources, severity="latent", hint={"stale": True})


def _protocols_towards(documents: Documents, address: str) -> Iterator[tuple[NodeFacts, t.Any]]:
    for facts in documents.collected():
        try:
            yield from ((facts, protocol) for protocol in facts.bgp_sessions(address))
        except NotCollected:
            continue


def _sessions_work(documents: Documents, announced: str) -> bool:
    return any(as_mapping(p.get("bgp")).get("state") == "Established" for _facts, p in _protocols_towards(documents, announced))


def _peers_that_fail(documents: Documents, node: str, family: Family, addresses: tuple[str | None, ...]) -> list[str]:
    """Other nodes whose BIRD was read and has an Established session with none of the addresses."""
    result = []
    for facts in documents.collected():
        try:
            bgp = [as_mapping(protocol.get("bgp")) for protocol in facts.bgp_protocols(family)]
        except NotCollected:
            continue
        if facts.name != node and not any(p.get("neighbor_address") in addresses and p.get("state") == "Established" for p in bgp):
            result.append(facts.name)
    return sorted(result)


def _senders_to(documents: Documents, node: str, announced: str) -> list[str]:
    """Other nodes whose kernel sends a tunnel's packets there: by an FDB entry of VXLAN, or by a route of Felix."""
    result = []
    for facts in documents.collected():
        if facts.name == node:
            continue
        try:
            through = any(r.get("gateway") == announced and r.get("protocol") in OWN_PROTOCOLS for r in facts.routes)
            if through or any(entry.get("dst") == announced for entry in facts.fdb):
                result.append(facts.name)
        except NotCollected:
            continue
    return sorted(result)


@check("node.mask.different", fact="node.mask")
def announced_mask(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """CrossSubnet goes by the mask in the annotation: a narrower one than the interface's makes neighbours look remote."""
    cluster, family = documents.cluster, fact.family
    announced = cluster.node(fact.node).calico_interface(family)
    if announced is None:
        raise NotApplicable("no address is announced")
    held = documents.node(fact.node).address_on_node(str(announced.ip))
    if held is None:
        raise NotApplicable(f"no interface of {fact.node} has {announced.ip}")
    if held.get("prefixlen") == announced.network.prefixlen:
        return None
    evidence = f"projectcalico.org/{ADDRESS_ANNOTATION[family]}: {announced}; {announced.ip}/{held.get('prefixlen')} dev {held.get('ifname')}"
    return Finding("node.mask.different", fact, announced.network.prefixlen, evidence, ("api", f"kernel {fact.node}"), severity="latent",
                   hint={"prefixlen": held.get("prefixlen")})  # fmt: skip


def _announced_ip(diagnosis: Diagnosis, finding: Finding) -> str:
    announced = diagnosis.documents.cluster.node(finding.fact.node).calico_interface(finding.fact.family)
    return str(announced.ip) if announced is not None else ""


@cause(roots=("node.mask.different",))
def wrong_mask(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, mask = finding.fact.node, finding.hint.get("prefixlen")
        yield Cause(
            "node_mask_32", "F26", node, f"{node} announces its address with the mask /{finding.actual}, its interface has /{mask}.", [finding],
            objects=[f"/{finding.actual}"],
            why=["CrossSubnet pools go by this mask: nodes of its own subnet count as remote and are reached through the tunnel."],
            remedies=set_node_address(diagnosis.documents, node, finding.fact.family, _announced_ip(diagnosis, finding), f"{node} announces the mask /{mask}"),
        )  # fmt: skip


@cause(roots=("node.address.duplicate",))
def duplicate_address(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, twins = finding.fact.node, [str(name) for name in finding.hint["twins"]]
        if finding.hint.get("renamed"):
            yield Cause("node_renamed", None, node, f"{node} is not Ready and has the address {finding.actual} of {', '.join(twins)}: the machine was renamed.",
                        [finding], objects=[str(finding.actual), *twins], why=["Both Node objects are peers of all others, under one address."],
                        remedies=[*_clear_address(finding, diagnosis, twins),
                                  Remedy("advise_delete_node", "R0", f"if {node} is the old name: kubectl delete node {node}", "", node=node)])  # fmt: skip
            continue
        yield Cause(
            "duplicate_node_ip", "F50", node, f"{node} announces {finding.actual}, the address of {', '.join(twins)}.", [finding],
            objects=[str(finding.actual), *twins],
            why=[f"Its own address is {finding.fact.value}.", "Nodes with one address have no BGP session with each other; the others' confd refuses"
                 " a configuration that names it twice."],
            remedies=_own_address(finding, diagnosis),
        )  # fmt: skip


def _clear_address(finding: Finding, diagnosis: Diagnosis, twins: list[str]) -> Iterator[Remedy]:
    """Take the annotation of a Node that is not Ready away (R3), where a Ready one has the address itself."""
    cluster, node, address, family = diagnosis.documents.cluster, finding.fact.node, str(finding.actual), finding.fact.family
    owners = [twin for twin in twins if cluster.node(twin).ready and address in cluster.node(twin).internal_ips]
    name, was = ADDRESS_ANNOTATION[family], cluster.node(node).annotation(ADDRESS_ANNOTATION[family])
    if len(owners) == 1 and was is not None:
        key = f"projectcalico.org/{name}"
        yield Remedy(
            "clear_node_address", "R3", f"kubectl annotate node {node} {key}-", f"kubectl annotate node {node} {key}={was}", object=f"Node/{node} {key}",
            change=(was, ""), parameters={"node": node, "annotation": key, "was": was, "twin": owners[0]}, verify=f"only {owners[0]} announces {address}",
            blast_radius=f"{node} is no BGP peer any more; its calico-node would write it again",
            preconditions=(f"{node} is not Ready, {owners[0]} is", f"{key} of {node} is {was}"),
        )  # fmt: skip


def _own_address(finding: Finding, diagnosis: Diagnosis) -> list[Remedy]:
    """Where calico-node has detected the address of another node, it must detect otherwise: its monitor would undo what is written."""
    documents, node, family, intended = diagnosis.documents, finding.fact.node, finding.fact.family, finding.fact.value
    verify = f"{node} announces {intended}"
    try:
        detected = family == "ipv4" and documents.cluster.autodetection != "" and documents.node(node).address_on_node(str(finding.actual)) is not None
    except NotCollected:
        detected = False
    return set_autodetection(documents, node, verify) if detected else set_node_address(documents, node, family, str(intended), verify)


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
        whose = "Its own address is most likely" if cluster.rebuilt else "Its Kubernetes address is"
        why.append(f"{whose} {intended}{f' on {device}' if device else ''}.")
        if not cluster.rebuilt:
            method = cluster.autodetection_in(finding.fact.family)
            why.append(f"calico-node's autodetection is {method or 'off: the address stays until it is changed by hand'}.")
        yield Cause(
            "node_ip_wrong_nic", "F01", node, summary, [finding], objects=[announced], why=why, remedies=list(_remedies(finding, diagnosis))
        )


def _remedies(finding: Finding, diagnosis: Diagnosis) -> Iterator[Remedy]:
    cluster, node = diagnosis.documents.cluster, finding.fact.node
    announced, intended, ifname = finding.actual, finding.fact.value, finding.hint.get("ifname")
    interval = cluster.monitor_interval
    verify = f"{node} announces {intended}"
    facts = diagnosis.documents.node(node)
    if ifname and finding.hint.get("prefixlen") and cluster.autodetection and facts.collected and finding.fact.family == "ipv4":
        obstacles = removal_obstacles(facts, str(ifname), cluster)
        prefix = f"{announced}/{finding.hint['prefixlen']}"
        try:
            after = autodetect(cluster, node, facts, without=announced)
            if after != intended:
                obstacles.append(f"without it the autodetection {cluster.autodetection} would choose {after or 'nothing'}, not {intended}")
        except NotCollected as exc:
            obstacles.append(f"what the autodetection would choose without it is not known ({exc.reason})")
        obstacles += _unwitnessed(finding, facts, str(ifname), uses_bird(cluster))
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
                verify=verify, blast_radius=f"{sessions_meanwhile(diagnosis.documents, node)}new pods on {node} wait some seconds",
                preconditions=(f"autodetection {cluster.autodetection} chooses {intended} on {node}",),
                wait_seconds=120, only_if=f"{node} does not announce {intended} within {interval + 30:.0f} s",
            )
        else:
            yield Remedy("advise_address", "R0", f"remove {prefix} from {ifname} on {node} by hand: {'; '.join(obstacles)}", "", node=node)
    if not cluster.autodetection and intended:
        yield from set_node_address(diagnosis.documents, node, finding.fact.family, str(intended), verify)
    if ifname and facts.collected and finding.fact.family == "ipv4":
        yield from set_autodetection(diagnosis.documents, node, verify)
    elif not finding.hint.get("stale"):
        yield Remedy("advise_autodetection", "R0", f"for good: let calico-node use the Kubernetes address ({FOR_GOOD})", "", node=node)


def _unwitnessed(finding: Finding, facts: NodeFacts, ifname: str, bird: bool) -> list[str]:
    """What another node must have seen of it, before an address is deleted."""
    others = [source for source in finding.sources if source.startswith("bird " if bird else "kernel ") and source.partition(" ")[2] != finding.fact.node]
    if bird:
        return [] if others else ["no other node's BIRD was seen to have lost its session with it"]
    reasons = [] if others else [f"no other node was seen to send its tunnel's packets to {finding.actual}"]
    try:
        used = _carries(facts, ifname)
    except NotCollected as exc:
        return [*reasons, exc.reason]
    return [*reasons, f"{ifname} has a carrier, so somebody may use it"] if used else reasons


def _carries(facts: NodeFacts, ifname: str) -> bool:
    """A bridge without ports carries nothing, whatever its flags say."""
    link = as_mapping(facts.links.get(ifname))
    ports = [name for name, other in facts.links.items() if other.get("master") == ifname]
    if as_mapping(link.get("linkinfo")).get("info_kind") == "bridge" and not ports:
        return False
    return {"UP", "LOWER_UP"} <= set(map(str, as_list(link.get("flags"))))


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
