# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What only the asked packet has: the kernel's own route decision, the way to DNS, the probe (design.md section 6).

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._steps import is_cloud_rule

from .._catalogue import Cause, cause, check, expects
from .._cluster import Cluster
from .._confront import agreement_fact, direction_of, object_of
from .._documents import Documents
from .._flannel import bridged, carries, direct_routing
from .._flannel import tunnel_device as flannel_device
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import NotCollected, as_mapping, family_of, parse_address, parse_network, tagged
from .._path import delivery_fact, echo_from, fib_fact, service_facts, to_own_pod, walk
from .._question import Endpoint, Scope, aliens, pod_endpoint
from .._remedies import CLOUD_RULES, CLOUD_SETUP, delete_cloud_rule
from .._topology import encapsulation, tunnel_device

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


def _needs(cluster: Cluster, scope: Scope, local: str, source: Endpoint, destination: Endpoint) -> tuple[FactId, ...]:
    needs = [FactId("sysctl.ip_forward", local, tagged("", family_of(destination.address))), FactId("podcidr", str(destination.node))]
    delivery = delivery_fact(cluster, local, destination)
    if delivery is not None:
        needs.append(delivery)
        block = cluster.block_of(destination.address)
        if delivery.kind == "route.block" and block is not None:  # the block's route can be right, and a route for a part of it in its way
            needs += [FactId("route.alien", node, str(block.cidr)) for node in aliens(scope, str(block.cidr))]
    if destination.kind == "pod":
        needs.append(FactId("pod.address", "", destination.label))
    needs.append(FactId("tunnel.unique", local, tagged("", family_of(destination.address))))
    if source.kind == "pod" and source.node == local:
        needs.append(FactId("sysctl.forwarding", local, source.label))
        needs += [FactId("veth", local, source.label), FactId("link.steady", local, source.label)]
    if destination.kind == "pod" and destination.node == local:
        needs.append(FactId("link.steady", local, destination.label))
    return tuple(needs)


def expected_device(cluster: Cluster, local: str, destination: Endpoint) -> str | None:
    """The device that the kernel must choose on `local` for the destination, None where the API does not tell its name."""
    if destination.kind == "pod" and destination.node == local:
        return destination.ifname
    network = parse_network(destination.address)
    if destination.kind == "pod" and carries(cluster):
        return flannel_device(cluster, local, destination.node) if direct_routing(cluster) is False else None
    if destination.kind == "pod" and destination.node and network is not None:
        how = encapsulation(cluster, network, local, destination.node)
        return tunnel_device(how, family_of(destination.address))
    return None


@expects("fib", "policy")
def asked_flows(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """The kernel is asked with the real source and input interface, so that policy rules and other tables count."""
    ends = (scope.question.source, scope.question.destination)
    for source, destination in (ends, ends[::-1]):
        for local in scope.question.nodes:
            iif = source.ifname if source.kind == "pod" and source.node == local else None
            value = {"dst": destination.address, "src": source.address, "iif": iif, "destination": destination.label, "own": to_own_pod(source, destination)}
            if iif is None and local != destination.node and source.kind != "node":
                continue
            needs = _needs(cluster, scope, local, source, destination)
            arrives = destination.kind == "node" and destination.node == local
            if not arrives and not (scope.question.same_node and bridged(cluster)):
                yield Fact(*fib_fact(local, source, destination), value=value, needs=needs)
            above = [fib_fact(local, *pair) for pair in (ends, ends[::-1])] + [FactId("flannel.forward", local)]
            above.append(FactId("policy.intent", local, f"{source.address}>{destination.address}"))
            if (source, destination) != ends:  # an answer needs the request
                above += [FactId("policy", node, f"{destination.address}>{source.address}") for node in scope.question.nodes]
            above += service_facts(scope)
            above += [FactId("endpoint.programmed", local, pod.label) for pod in scope.pods if pod.node == local]
            yield Fact("policy", local, f"{source.address}>{destination.address}", value=value, needs=(*needs, *above))


@check("fib.different", fact="fib")
def kernel_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted = documents.node(fact.node), fact.value
    query = {"dst": wanted["dst"]}
    if wanted["iif"]:
        query.update(src=wanted["src"], iif=wanted["iif"])
    elif wanted.get("own"):
        query.update(src=wanted["src"])
    answer = facts.lookup(**query)
    asked = f"ip route get {wanted['dst']}" + (f" from {wanted['src']}" if "src" in query else "") + (f" iif {wanted['iif']}" if wanted["iif"] else "")
    source = (f"fib {fact.node}",)
    if answer.get("error"):
        return Finding("fib.different", fact, answer["error"], f"on {fact.node}: {asked}: {answer['error']}", source)
    destination = scope.ends[wanted["destination"]]
    device = expected_device(documents.cluster, fact.node, destination)
    if device is None and destination.kind == "pod":
        block = delivery_fact(documents.cluster, fact.node, destination)
        device = facts.link_holding(documents.cluster.node(fact.node).calico_address(family_of(wanted["dst"]))) if block else None
        if device is not None and answer.get("dev") == device and not answer.get("gateway") and destination.node != fact.node:
            return None
    if device is None or answer.get("dev") == device:
        return _default_instead(fact, documents, answer, asked, destination, source)
    shown = f"via {answer.get('gateway')} " if answer.get("gateway") else ""
    owner = documents.cluster.nodes.get(str(destination.node))
    arrives = owner is not None and destination.node != fact.node and answer.get("gateway") in owner.known_addresses
    return Finding("fib.different", fact, answer.get("dev"), f"on {fact.node}: {asked}: {shown}dev {answer.get('dev')}, expected dev {device}", source,
                   severity="latent" if arrives else "critical")  # fmt: skip


def _default_instead(
    fact: Fact, documents: Documents, answer: t.Mapping[str, t.Any], asked: str, destination: Endpoint, source: tuple[str, ...]
) -> Finding | None:
    """Without encapsulation the right device is not enough: the default route uses it too, so the gateway is held against the owner's address."""
    if destination.kind != "pod" or destination.node == fact.node:
        return None
    delivery = delivery_fact(documents.cluster, fact.node, destination)
    wanted = documents.cluster.nodes.get(str(destination.node))
    gateway = answer.get("gateway")
    if delivery is None or wanted is None or gateway is None or gateway in wanted.known_addresses:
        return None
    for route in documents.node(fact.node).routes_to(delivery.object):
        if route.get("gateway") == gateway:
            return None
    return Finding("fib.different", fact, gateway, f"on {fact.node}: {asked}: via {gateway} dev {answer.get('dev')}, not {wanted.name}", source)


@expects("fib")
def sampled_flows(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """In an audit: the way from a pod of each node to one of another node, asked of both kernels."""
    for source, destination in scope.flows if scope.audit else ():
        value = {"dst": destination.address, "src": source.address, "destination": destination.label}
        for local, iif in ((str(source.node), source.ifname), (str(destination.node), None)):
            needs = _needs(cluster, scope, local, source, destination)
            yield Fact(*fib_fact(local, source, destination), value={**value, "iif": iif}, needs=needs)


@expects("pod.echo")
def sampled_echoes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for source, destination in scope.flows if scope.audit else ():
        needs = []
        for one, other in ((source, destination), (destination, source)):
            for end in (source, destination):
                needs += [fib_fact(str(end.node), one, other), *_needs(cluster, scope, str(end.node), one, other)]
        needs += [FactId(kind, str(end.node), end.label) for end in (source, destination) for kind in ("veth", "pod.link", "pod.route", "pod.gateway")]
        needs += [FactId("underlay.source", str(destination.node), f"{source.address}>{destination.address}")]
        value = {"dst": destination.address, "netns_of": echo_from(source)}
        yield Fact("pod.echo", str(source.node), f"{source.label}>{destination.label}", value=value, needs=tuple(needs))


@check("echo.unanswered", fact="pod.echo")
def echo_answered(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """An echo that nobody answers is no fault by itself: a policy may forbid it. But then nothing says that packets arrive."""
    try:
        tried = documents.node(fact.node).entries("reachability")
    except NotCollected as exc:
        raise NotCollected(exc.reason) from exc
    for entry in tried:
        if entry.get("dst") == fact.value["dst"] and entry.get("netns_of") == fact.value["netns_of"]:
            if entry.get("outcome") == "answered":
                return None
            said = f"{entry.get('outcome')}{': ' + str(entry['error']) if entry.get('error') else ''}"
            raise NotCollected(f"an echo from {fact.object.replace('>', ' to ')} was not answered ({said}); policies and packet filters were not looked at")
    raise NotCollected(f"{fact.node}: no echo was sent to {fact.value['dst']}")


@expects("dns.endpoint")
def dns(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Each node that a question's pod runs on must have a way to every CoreDNS pod."""
    for local in scope.core:
        for pod in cluster.dns_pods():
            if pod.node != local and "." in str(pod.address):
                endpoint = pod_endpoint(cluster, pod, pod.key)
                delivery = delivery_fact(cluster, local, endpoint)
                needs = (FactId("sysctl.ip_forward", local), FactId("podcidr", str(pod.node))) + ((delivery,) if delivery else ())
                yield Fact("dns.endpoint", local, pod.key, {"address": pod.address, "node": pod.node}, needs=needs)


@check("dns.endpoint.unreachable", fact="dns.endpoint")
def dns_reachable(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster, facts, address = documents.cluster, documents.node(fact.node), fact.value["address"]
    answer = facts.lookup(dst=address)
    text = f"{fact.object} ({address} on {fact.value['node']}) from {fact.node}"
    if answer.get("error"):
        return Finding("dns.endpoint.unreachable", fact, answer["error"], f"{text}: {answer['error']}", (f"fib {fact.node}",))
    pod = next(p for p in cluster.dns_pods() if p.key == fact.object)
    endpoint = pod_endpoint(cluster, pod, pod.key)
    device = expected_device(cluster, fact.node, endpoint)
    if device is not None and answer.get("dev") != device:
        where = f"via {answer.get('gateway')} dev {answer.get('dev')}" if answer.get("gateway") else f"dev {answer.get('dev')}"
        return Finding("dns.endpoint.unreachable", fact, where, f"{text}: packets go {where}, expected dev {device}", (f"fib {fact.node}",))
    wrong = _default_instead(fact, documents, answer, f"ip route get {address}", endpoint, (f"fib {fact.node}",))
    if wrong is None:
        return None
    return Finding("dns.endpoint.unreachable", fact, wrong.actual, f"{text}: packets go via {wrong.actual}", (f"fib {fact.node}",))


@expects("probe")
def probes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    pair = scope.question.lead
    path = walk(cluster, pair)
    for direction, hops, origin in (("forward", path.forward, pair.source), ("reverse", path.reverse, pair.destination)):
        needs = tuple(fact for hop in hops for fact in hop.facts)
        name = object_of(direction, pair, scope)
        yield Fact("probe", origin.node or "", name, value="seen at the far end", needs=(*needs, agreement_fact(origin.node, name)))


@check("probe.lost", fact="probe")
def probe_arrived(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    direction = direction_of(fact)
    arrived = documents.evidence.arrived(direction)
    if arrived is True:
        return None
    mine = [p for p in documents.evidence.probes if p.get("direction") == direction and not p.get("size")]
    if not mine and arrived is None:
        raise NotApplicable("no packets were sent in this run")
    if arrived is None:
        if all(p.get("protocol") in documents.evidence.forbidden for p in mine):
            raise NotApplicable(f"policy does not let {fact.node} send it by itself, and answers need none")
        raise NotCollected(f"the {direction} probe could not be watched: {next((p.get('reason') for p in mine if p.get('reason')), 'no reason given')}")
    sent = sum(int(p.get("sent") or 0) for p in mine)
    kinds = ", ".join(sorted({str(p.get("protocol")) for p in mine}))
    lost = as_mapping(documents.evidence.lost(direction))
    if lost.get("after"):
        what = "answers" if lost.get("what") == "replies" else f"marked packets ({kinds})"
        evidence = f"{what} from {fact.node} passed {lost['after']} and not {lost['hop']}"
        places = {str(hop.get("hop")): str(hop.get("node")) for hop in documents.evidence.way(direction)}
        captures = tuple(dict.fromkeys(f"capture {places.get(str(lost[name]))}" for name in ("after", "hop")))
        return Finding("probe.lost", fact, "lost", evidence, captures, hint={"hop": lost["hop"]})
    return Finding("probe.lost", fact, "lost", f"{sent} marked packets ({kinds}) left {fact.node}, none was seen at the far end", ("probe",))


@cause(roots=("fib.different",))
def policy_rule(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The routes are right and the kernel decides otherwise: a rule of another table stands before them."""
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        by_node.setdefault(finding.fact.node, []).append(finding)
    for node, mine in by_node.items():
        try:
            foreign = [r for r in diagnosis.documents.node(node).rules if int(r.get("priority") or 0) not in (0, 32766, 32767)]
        except NotCollected:
            foreign = []
        if foreign:
            rule = foreign[0]
            text = f"ip rule {rule.get('priority')} (from {rule.get('src') or 'all'} lookup {rule.get('table')})"
            dns = [f for f in diagnosis.findings if f.check == "dns.endpoint.unreachable" and f.fact.node == node and _covers(rule, f.fact.value["address"])]
            cloud = int(rule.get("priority") or 0) in CLOUD_RULES
            yield Cause("nm_cloud_setup_rules" if cloud else "alien_policy_rule_shadows_main", "F10" if cloud else "F32", node,
                        f"On {node} the {text} decides before Calico's routes.", mine, objects=[text], also=dns, heuristic=len(foreign) > 1,
                        why=[CLOUD_SETUP] if cloud else [],
                        remedies=delete_cloud_rule(node, rule, text) if len(foreign) == 1 and is_cloud_rule(rule) else [])  # fmt: skip


def _covers(rule: t.Mapping[str, t.Any], address: str) -> bool:
    """Does a policy rule hold for packets to the address?"""
    network, parsed = parse_network(rule.get("dst") or "0.0.0.0/0"), parse_address(address)
    return network is not None and parsed is not None and parsed in network
