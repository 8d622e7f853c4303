# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Routes to the pods of other nodes (calico.md section 3; F22, F23, F24).

from __future__ import annotations

import ipaddress
import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import MAIN_TABLE, Documents, NodeFacts
from .._graph import Fact, FactId, Finding
from .._json import Json, NotCollected, as_mapping, objects, parse_network
from .._question import Scope
from .._remedies import restart_calico_node
from .._routes import hops, route_line
from .._topology import TUNNEL_DEVICE, encapsulation, peer_addresses, pod_prefixes, same_subnet, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

# rtnetlink protocols that routes of Calico carry: BIRD's and Felix's (dataplane_defs.go)
OWN_PROTOCOLS = ("bird", "80")
CALICO_DEVICES = ("tunl0", "vxlan.calico", "wireguard.cali")


@expects("route.block")
def block_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    addresses = peer_addresses(cluster)
    prefixes = pod_prefixes(cluster)
    for local, peer in scope.pairs(addresses):
        if local not in cluster.nodes:
            continue
        for remote in prefixes:
            if remote.node == peer:
                yield block_route(cluster, scope, local, remote.prefix, peer, addresses.get(peer))


def block_route(cluster: Cluster, scope: Scope, local: str, prefix: str, peer: str, address: str | None) -> Fact:
    network = parse_network(prefix)
    how = encapsulation(cluster, network, local, peer) if network is not None else None
    value = {"encapsulation": how, "gateway": address, "dev": TUNNEL_DEVICE.get(how or ""), "owner": peer}
    if how == "none" and same_subnet(cluster, cluster.node(local), peer) is not True:
        value["gateway"] = None  # a router in between: BIRD resolves the next hop recursively
    if how == "vxlan":
        value["gateway"] = cluster.nodes[peer].annotation("IPv4VXLANTunnelAddr") if peer in cluster.nodes else None
    needs = [FactId("node.address", local), FactId("node.address", peer), FactId("route.alien", local, prefix)]
    needs += [FactId("route.alien", other, prefix) for other in scope.asked_nodes if other != local]
    if uses_bird(cluster):
        needs += [FactId("bird.running", local), FactId("bird.running", peer), FactId("bgp.session", local, peer), FactId("bgp.session", peer, local),
                  FactId("bgp.graceful_restart", local), FactId("bgp.graceful_restart", peer)]  # fmt: skip
    if value["dev"]:
        needs.append(FactId("tunnel.device", local))
    return Fact("route.block", local, prefix, value, tuple(needs))


@expects("route.alien")
def no_alien_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for local in scope.asked_nodes:
        for remote in pod_prefixes(cluster):
            if remote.borrowed is None:
                yield Fact("route.alien", local, remote.prefix, value=None)


@expects("route.blackhole")
def blackholes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for remote in pod_prefixes(cluster):
        if remote.node in scope.core and remote.borrowed is None and not remote.prefix.endswith("/32"):
            needs = (FactId("bird.running", remote.node), FactId("bgp.graceful_restart", remote.node)) if uses_bird(cluster) else ()
            yield Fact("route.blackhole", remote.node, remote.prefix, value="blackhole", needs=needs)


@check("route.block.missing", "route.block.different", fact="route.block")
def block_route_present(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, expected = documents.node(fact.node), fact.value
    found = facts.routes_to(fact.object)
    source = (f"kernel {fact.node}",)
    if not found:
        in_bird = _line_in_bird(facts, fact.object)
        if in_bird:
            return Finding("route.block.missing", fact, None, f"no route to {fact.object} in the kernel; BIRD has: {in_bird}", (*source, f"bird {fact.node}"),
                           hint={"bird": in_bird})  # fmt: skip
        return Finding("route.block.missing", fact, None, f"no route to {fact.object} on {fact.node}", source)
    best = min(found, key=lambda route: route.get("metric") or 0)
    if expected["encapsulation"] is None:
        raise NotCollected(f"no IP pool in the Kubernetes API says how packets to {fact.object} travel")
    gateway, device = expected["gateway"], expected["dev"]
    if device is None:
        device = facts.link_holding(documents.cluster.node(fact.node).calico_address)
    problem = best.get("type") != "unicast" or len(hops(best)) != 1
    if not problem:
        hop = hops(best)[0]
        problem = (gateway is not None and hop[0] != gateway) or (device is not None and hop[1] != device)
    if not problem:
        return None
    return Finding("route.block.different", fact, route_line(best), route_line(best), source, hint={"protocol": best.get("protocol")})


def _line_in_bird(facts: NodeFacts, prefix: str) -> str | None:
    try:
        for route in facts.bird_routes:
            if route.get("prefix") == prefix and route.get("protocol") not in ("kernel1", None):
                via = ", ".join(f"via {hop.get('gateway')} on {hop.get('dev')}" for hop in objects(route.get("nexthops")))
                return f"{prefix} {via} [{route.get('protocol')}] {route.get('state') or ''}".rstrip()
    except NotCollected:
        pass
    return None


def is_alien(route: Mapping[str, Json], cluster_prefix: str) -> bool:
    """A route for a whole pod block, or for part of it, that neither BIRD, nor Felix, nor the CNI plugin wrote."""
    if route.get("table") != MAIN_TABLE or route.get("protocol") in OWN_PROTOCOLS:
        return False
    if route.get("protocol") == "kernel" and route.get("scope") == "link":  # a connected route
        return False
    devices = [str(device) for _gateway, device in hops(route)]
    if any(device.startswith("cali") or device in CALICO_DEVICES for device in devices):
        return False
    try:
        return ipaddress.ip_network(str(route.get("dst"))).subnet_of(ipaddress.ip_network(cluster_prefix))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False


@check("route.alien", fact="route.alien")
def no_alien_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts = documents.node(fact.node)
    for route in facts.routes:
        if is_alien(route, fact.object):
            sources = [f"kernel {fact.node}"]
            refused = _line_in_bird(facts, fact.object)
            evidence = route_line(route)
            if refused and refused.endswith("!"):
                sources.append(f"bird {fact.node}")
                evidence += f"; BIRD could not install its own: {refused}"
            return Finding("route.alien", fact, route_line(route), evidence, tuple(sources), hint={"route": dict(route)})
    return None


@check("route.blackhole.missing", fact="route.blackhole")
def blackhole_present(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    found = documents.node(fact.node).routes_to(fact.object)
    if any(route.get("type") == "blackhole" for route in found):
        return None
    evidence = f"no blackhole for its own block {fact.object} on {fact.node}"
    return Finding("route.blackhole.missing", fact, None, evidence, (f"kernel {fact.node}",), severity="warning")


@cause(roots=("route.alien",))
def alien_route(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, line = finding.fact.node, str(finding.actual)
        route = as_mapping(finding.hint.get("route"))
        origin = {"static": "somebody's static route", "dhcp": "a route from DHCP", "boot": "a route added by hand or by a script"}
        yield Cause(
            "remote_block_route_missing_bird_has_it", "F22", node, f"{node} has a route of its own for the pods in {finding.fact.object}: {line}",
            [finding], objects=[finding.fact.object],
            why=[f"It is {origin.get(str(route.get('protocol')), 'neither from BIRD nor from Felix')}; BIRD cannot install its own route in its place"
                 + ("." if route.get("protocol") == "kernel" else ", and announces this one to the other nodes.")],
            remedies=[
                Remedy("delete_route", "R1", f"delete the route {line} on {node}", f"ip route add {line}", node=node, object=line, change=(line, ""),
                       parameters={"route": dict(route)}, verify=f"{node} routes {finding.fact.object} by BIRD", wait_seconds=30,
                       blast_radius=f"packets of {node} to {finding.fact.object} take BIRD's route instead",
                       preconditions=("the route is neither BIRD's, nor Felix's, nor the kernel's own",)),
            ],
        )  # fmt: skip


@cause(roots=("route.block.missing",))
def not_learned(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, owner, prefix = finding.fact.node, finding.fact.value["owner"], finding.fact.object
        if finding.hint.get("bird"):
            yield Cause("remote_block_route_missing_bird_has_it", "F22", node, f"BIRD on {node} knows the way to {prefix} but the kernel has no such route.",
                        [finding], objects=[prefix], remedies=restart_calico_node(diagnosis.documents, node, f"{node} has a route to {prefix}"))  # fmt: skip
        elif uses_bird(diagnosis.documents.cluster):
            yield Cause("remote_block_route_missing_not_learned", "F23", node, f"{node} has no route to {prefix}, the block of {owner}: it was not announced.",
                        [finding], objects=[prefix], heuristic=True,
                        why=[f"The session with {owner} is not known to be down; {owner} may not announce the block."])  # fmt: skip
        else:
            yield Cause("felix_owned_route_missing", "F24", node, f"{node} has no route to {prefix}, the block of {owner}; Felix should have written it.",
                        [finding], objects=[prefix])  # fmt: skip
