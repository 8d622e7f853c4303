# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Routes to the pods of other nodes (calico.md section 3; F22 to F25, F28 to F31).

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, FactId, Finding
from .._json import IPNetwork, Json, NotCollected, as_mapping, family_of, objects, parse_address, parse_network, tagged
from .._question import Scope, aliens
from .._remedies import dead_felix, felix_first, reload_in, reload_out, restart_calico_node
from .._routes import foreign_routes, hops, route_line
from .._topology import (
    VTEP_ADDRESS,
    bgp_peers,
    encapsulation,
    families,
    felix_programs,
    is_reflector,
    peer_addresses,
    pod_prefixes,
    pool_class,
    reflectors,
    same_subnet,
    tunnel_device,
    uses_bird,
)
from .bgp import established, session_with

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis


@expects("route.block")
def block_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not cluster.backend:
        return
    by_node: dict[str, list[str]] = {}
    for remote in pod_prefixes(cluster):
        by_node.setdefault(remote.node, []).append(remote.prefix)
    everyone = dict.fromkeys(name for family in families(cluster) for name in peer_addresses(cluster, family))
    for local, peer in scope.pairs(everyone):
        if local in cluster.nodes:
            for prefix in by_node.get(peer, ()):
                yield block_route(cluster, scope, local, prefix, peer)


def block_route(cluster: Cluster, scope: Scope, local: str, prefix: str, peer: str) -> Fact:
    family = family_of(prefix)
    address = peer_addresses(cluster, family).get(peer)
    network = parse_network(prefix)
    how = encapsulation(cluster, network, local, peer) if network is not None else None
    value = {"encapsulation": how, "gateway": address, "dev": tunnel_device(how, family), "owner": peer}
    if how == "none" and same_subnet(cluster, local, peer, family) is not True:
        value["gateway"] = None  # a router in between: BIRD resolves the next hop recursively
    if how == "vxlan":
        value["gateway"] = cluster.nodes[peer].annotation(VTEP_ADDRESS[family]) if peer in cluster.nodes else None
    tag = tagged("", family)
    needs = [FactId("node.address", local, tag), FactId("node.address", peer, tag), FactId("vtep", peer, tag)]
    needs += [FactId("ipam.affinity", claimer, prefix) for claimer in {peer, *cluster.claimers.get(prefix, ())}]
    needs += [FactId("route.alien", other, prefix) for other in dict.fromkeys((local, *aliens(scope, prefix)))]
    if not felix_programs(cluster, pool_class(cluster, network) if network is not None else how):
        needs += [FactId("bgp.topology", local, tagged(peer, family))]
        needs += [FactId(kind, name, tag) for name in (local, peer) for kind in ("bird.running", "bgp.graceful_restart")]
        for one, other in _session_chain(cluster, local, peer, family):
            needs += [FactId("bgp.session", one, tagged(other, family)), FactId("bgp.session", other, tagged(one, family)), FactId("bird.running", other, tag)]
    if value["dev"]:
        needs.append(FactId("tunnel.device", local, tag))
    return Fact("route.block", local, prefix, value, tuple(needs))


def _session_chain(cluster: Cluster, local: str, peer: str, family: t.Any) -> Iterator[tuple[str, str]]:
    """The sessions that carry a route from `peer` to `local`: their own, or those of both with their route reflectors."""
    addresses = peer_addresses(cluster, family)
    if addresses.get(peer) in bgp_peers(cluster, local, family):
        yield local, peer
        return
    for end in (local, peer):
        if end in cluster.nodes and not is_reflector(cluster.nodes[end]):
            yield from ((end, reflector) for reflector in reflectors(cluster, end, family))


@expects("route.alien")
def no_alien_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend:
        for remote in pod_prefixes(cluster):
            for local in aliens(scope, remote.prefix) if remote.borrowed is None else ():
                yield Fact("route.alien", local, remote.prefix, value=None, needs=(FactId("pool.apart", local),))


@expects("pool.apart")
def pools_apart(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend not in ("", "none"):
        for local in scope.asked_nodes:
            yield Fact("pool.apart", local, value="no network of the node's own overlaps an IP pool")


@check("pool.overlaps", fact="pool.apart")
def no_overlap(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Connected networks, and the addresses of other nodes, against the pools (calico.md F65)."""
    pools = [pool.cidr for pool in documents.cluster.pools if not pool.disabled]
    for network, route in _cached_foreign(documents.node(fact.node)):
        if route.get("protocol") == "kernel" and route.get("scope") == "link":
            for pool in pools:
                if pool.version == network.version and network.overlaps(pool):
                    evidence = f"{route_line(route)} on {fact.node} overlaps the IP pool {pool}"
                    return Finding("pool.overlaps", fact, str(network), evidence, (f"kernel {fact.node}", "api"), severity="latent",
                                   hint={"dev": route.get("dev"), "pool": str(pool)})  # fmt: skip
    return None


@cause(roots=("pool.overlaps",))
def overlapping_networks(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, device, pool = finding.fact.node, finding.hint["dev"], finding.hint["pool"]
        yield Cause("pool_overlaps_host_network", "F65", node, f"{node} has the network {finding.actual} on {device}, which overlaps the IP pool {pool}.",
                    [finding], objects=[str(finding.actual), str(device)], why=["Packets for pods in it go to that interface where no narrower route exists."],
                    remedies=[Remedy("advise_overlap", "R0", f"move one of the two: remove {finding.actual} from {device} on {node}, or use another pool", "",
                                     node=node)])  # fmt: skip


@expects("route.blackhole")
def blackholes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for remote in pod_prefixes(cluster):
        network = parse_network(remote.prefix)
        if remote.node in scope.mine and remote.borrowed is None and network is not None and network.prefixlen < network.max_prefixlen:
            tag = tagged("", family_of(remote.prefix))
            needs = [FactId("ipam.affinity", remote.node, remote.prefix)]
            if uses_bird(cluster):
                needs += [FactId("bird.running", remote.node, tag), FactId("bgp.graceful_restart", remote.node, tag)]
            yield Fact("route.blackhole", remote.node, remote.prefix, value="blackhole", needs=tuple(needs))


@expects("routes.programming")
def one_programmer(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend == "bird":
        yield Fact("routes.programming", "", value="each route to another node is written by Felix or by BIRD, not by both")


@check("routes.programming.both", "routes.programming.none", fact="routes.programming")
def programmed_once(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """programClusterRoutes of FelixConfiguration and BGPConfiguration must complement each other (calico.md section 3.2)."""
    cluster = documents.cluster
    felix = str(cluster.felix_configuration().get("programClusterRoutes") or "")
    bird = str(cluster.bgp_configuration().get("programClusterRoutes") or "")
    if not felix and not bird:
        return None
    newer = felix_programs(cluster, "ipip") and not felix
    felix, bird = felix or ("EnabledIPIPOnly" if newer else "Disabled"), bird or ("EnabledNoEncapOnly" if newer else "Enabled")
    evidence = f"FelixConfiguration programClusterRoutes {felix}, BGPConfiguration programClusterRoutes {bird}"
    both, none = _classes(felix) & _classes(bird), {"ipip", "none"} - _classes(felix) - _classes(bird)
    used = {"ipip" if pool.ipip != "Never" else "none" for pool in cluster.pools if not pool.disabled and pool.vxlan == "Never"}
    if both & used:
        return Finding("routes.programming.both", fact, sorted(both), evidence, ("api",), severity="latent")
    if none & used:
        return Finding("routes.programming.none", fact, sorted(none), evidence, ("api",), severity="latent")
    return None


def _classes(setting: str) -> set[str]:
    return {"Enabled": {"ipip", "none"}, "EnabledIPIPOnly": {"ipip"}, "EnabledNoEncapOnly": {"none"}}.get(setting, set())


@check("route.block.missing", "route.block.different", fact="route.block")
def block_route_present(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, expected = documents.node(fact.node), fact.value
    found = facts.routes_to(fact.object)
    source = (f"kernel {fact.node}",)
    if not found:
        return _missing(fact, documents, source)
    best = min(found, key=lambda route: route.get("metric") or 0)
    if expected["encapsulation"] is None:
        raise NotCollected(f"no IP pool in the Kubernetes API says how packets to {fact.object} travel")
    gateway, device = expected["gateway"], expected["dev"]
    if device is None:
        device = facts.link_holding(documents.cluster.node(fact.node).calico_address(fact.family))
    if best.get("type") == "unicast" and len(hops(best)) == 1:
        hop = hops(best)[0]
        if gateway in (None, hop[0]) and device in (None, hop[1]):
            return None
        if expected["encapsulation"] == "none" and hop[1] == device and fact.family == "ipv6" and str(hop[0]).startswith("fe80:"):
            return None  # BIRD may name a neighbour by its link-local address
    severity: t.Literal["critical", "latent"] = "latent" if reaches_owner(documents, fact.node, best, expected["owner"]) else "critical"
    return Finding("route.block.different", fact, route_line(best), route_line(best), source, severity, hint={"route": dict(best)})


def _missing(fact: Fact, documents: Documents, source: tuple[str, ...]) -> Finding:
    """Latent where each pod of the block has a route of its own instead."""
    facts = documents.node(fact.node)
    in_bird = _line_in_bird(facts, fact.object)
    evidence = f"no route to {fact.object} " + (f"in the kernel; BIRD has: {in_bird}" if in_bird else f"on {fact.node}")
    sources = (*source, f"bird {fact.node}") if in_bird else source
    network = parse_network(fact.object)
    addresses = [a for pod in documents.cluster.workloads_on(fact.value["owner"]) for a in pod.addresses if network and parse_address(a) in network]
    single = addresses and all(facts.routes_to(f"{address}/{network.max_prefixlen}") for address in addresses) if network is not None else False
    return Finding("route.block.missing", fact, None, evidence, sources, "latent" if single else "critical", hint={"bird": in_bird})


def reaches_owner(documents: Documents, local: str, route: Mapping[str, Json], owner: str) -> bool:
    """Whether the route hands packets to the right machine, if not in the expected way: over its Kubernetes address, or one on a shared network."""
    if route.get("type") != "unicast" or len(hops(route)) != 1:
        return False
    gateway = hops(route)[0][0]
    node = documents.cluster.nodes.get(owner)
    if gateway is None or node is None:
        return False
    if gateway in node.internal_ips:
        return True
    try:
        held = documents.node(owner).address_on_node(gateway) is not None
    except NotCollected:
        held = gateway in node.known_addresses
    try:
        answer = documents.node(local).lookup(dst=gateway)
    except NotCollected:
        return False
    return held and not answer.get("error") and not answer.get("gateway")


def _line_in_bird(facts: NodeFacts, prefix: str) -> str | None:
    try:
        for route in facts.bird_routes_to(prefix):
            if route.get("protocol") not in ("kernel1", None):
                via = ", ".join(f"via {hop.get('gateway')} on {hop.get('dev')}" for hop in objects(route.get("nexthops")))
                return f"{prefix} {via} [{route.get('protocol')}] {route.get('state') or ''}".rstrip()
    except NotCollected:
        pass
    return None


@check("route.alien", fact="route.alien")
def no_alien_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A route for the whole block, or for part of it, that Calico did not write. A blackhole that Felix wrote has no sender of its own to tell it by."""
    facts, prefix = documents.node(fact.node), parse_network(fact.object)
    owner = documents.cluster.blocks_by_prefix.get(fact.object)
    for network, route in _cached_foreign(facts):
        if prefix is None or network.version != prefix.version or not network.subnet_of(prefix):  # type: ignore[arg-type]
            continue
        if route.get("type") == "blackhole" and owner is not None and owner.node == fact.node:
            continue
        sources = [f"kernel {fact.node}"]
        refused = _line_in_bird(facts, fact.object)
        evidence = route_line(route)
        if refused and refused.endswith("!"):
            sources.append(f"bird {fact.node}")
            evidence += f"; BIRD could not install its own: {refused}"
        harmless = owner is not None and reaches_owner(documents, fact.node, route, str(owner.node))
        severity: t.Literal["critical", "latent"] = "latent" if harmless else "critical"
        return Finding("route.alien", fact, route_line(route), evidence, tuple(sources), severity, hint={"route": dict(route), "reaches_owner": harmless})
    return None


def _cached_foreign(facts: NodeFacts) -> list[tuple[IPNetwork, Mapping[str, Json]]]:
    return facts.once("foreign routes", lambda: foreign_routes(facts))


@check("route.blackhole.missing", fact="route.blackhole")
def blackhole_present(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    found = documents.node(fact.node).routes_to(fact.object)
    if any(route.get("type") in ("blackhole", "unreachable") for route in found):
        return None
    evidence = f"no blackhole for its own block {fact.object} on {fact.node}"
    return Finding("route.blackhole.missing", fact, None, evidence, (f"kernel {fact.node}",), severity="latent")


ORIGIN = {"static": "somebody's static route", "dhcp": "a route from DHCP", "boot": "a route added by hand or by a script"}


def delete_route(node: str, line: str, route: Mapping[str, Json], verify: str, blast_radius: str) -> Remedy:
    return Remedy("delete_route", "R1", f"delete the route {line} on {node}", f"ip route add {line}", node=node, object=line, change=(line, ""),
                  parameters={"route": dict(route)}, verify=verify, wait_seconds=30, blast_radius=blast_radius,
                  preconditions=("the route is neither BIRD's, nor Felix's, nor the kernel's own",))  # fmt: skip


def _arrival_unread(diagnosis: Diagnosis, sender: str, receiver: str) -> bool:
    """Whether a node takes packets that another one sends over such a route could not be read: they may come in on another interface (F15)."""
    return any(
        verdict.outcome in ("not_checked", "not_reached") and verdict.fact.node == receiver and verdict.fact.value["from"] == sender
        for fact_id, verdict in diagnosis.judged.items()
        if fact_id.kind == "underlay.source"
    )


@cause(roots=("route.alien",))
def alien_route(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, line, prefix = finding.fact.node, str(finding.actual), finding.fact.object
        route = as_mapping(finding.hint.get("route"))
        owner = diagnosis.documents.cluster.blocks_by_prefix.get(prefix)
        spread = "" if route.get("protocol") == "kernel" or not uses_bird(diagnosis.documents.cluster) else " BIRD learns it and announces it to the others."
        why = [f"It is {ORIGIN.get(str(route.get('protocol')), 'neither from BIRD nor from Felix')}.{spread}"]
        remedies = [delete_route(node, line, route, f"{node} routes {prefix} by Calico", f"packets of {node} to {prefix} take Calico's route instead")]
        if route.get("type") in ("blackhole", "unreachable", "prohibit"):
            of = f", a block of {owner.node}" if owner is not None and owner.node else ""
            yield Cause("blackhole_wrong_block", "F28", node, f"{node} throws away packets for {prefix}{of}: {line}", [finding], objects=[prefix], why=why,
                        remedies=remedies)  # fmt: skip
        elif owner is not None and _arrival_unread(diagnosis, node, str(owner.node)):
            continue
        elif finding.hint.get("reaches_owner"):
            how = encapsulation(diagnosis.documents.cluster, t.cast(IPNetwork, parse_network(prefix)), node, str(owner.node)) if owner else None
            if how in ("ipip", "vxlan"):
                yield Cause("route_wrong_encap", "F25", node, f"{node} sends packets for {prefix} past the tunnel: {line}", [finding], objects=[prefix],
                            why=[f"The pool says {how}; the way back is still through the tunnel.", *why], remedies=remedies)  # fmt: skip
            else:
                yield Cause("remote_block_route_missing_bird_has_it", "F22", node, f"{node} has a route of its own for {prefix}: {line}", [finding],
                            objects=[prefix], why=["It leads to the right node over another of its addresses.", *why], remedies=remedies)  # fmt: skip
        else:
            yield Cause("remote_block_route_missing_bird_has_it", "F22", node, f"{node} has a route of its own for the pods in {prefix}: {line}", [finding],
                        objects=[prefix], why=why, remedies=remedies)  # fmt: skip


def _ask_again(documents: Documents, finding: Finding) -> list[Remedy]:
    """Where the owner has the block, the pool may be announced, and a session of its own with the node is up, or one of each with the same outside peer."""
    node, owner, prefix, family = finding.fact.node, str(finding.fact.value["owner"]), finding.fact.object, finding.fact.family
    network = parse_network(prefix)
    pool = documents.cluster.pool_of(network) if network is not None else None
    if pool is None or not pool.bgp_export:
        return []
    try:
        if not documents.node(owner).bird_routes_to(prefix):
            return []
        direct = _protocol(documents, node, documents.cluster.node(owner).calico_address(family))
        if direct:
            return [reload_in(node, owner, family, direct, prefix)]
        for address, peer in bgp_peers(documents.cluster, node, family).items():
            mine, theirs = (_protocol(documents, end, "" if peer.node else address) for end in (node, owner))
            if mine and theirs:
                told = reload_out(owner, address, node, family, theirs, prefix)
                return [reload_in(node, address, family, mine, prefix), replace(told, only_if=f"{address} has not got it either")]
    except NotCollected:
        pass
    return []


def _protocol(documents: Documents, local: str, address: str | None) -> str:
    """The established session of a node with an address, "" where there is none."""
    session = session_with(documents.node(local), address) if address else None
    return str(session.get("name")) if session is not None and established(session) else ""


@cause(roots=("route.block.missing",))
def not_learned(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    cluster = diagnosis.documents.cluster
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        node, owner, prefix = finding.fact.node, finding.fact.value["owner"], finding.fact.object
        borrowed = prefix.endswith(("/32", "/128"))
        network = parse_network(prefix)
        felix = network is not None and felix_programs(cluster, pool_class(cluster, network))
        if felix and not borrowed:
            by_node.setdefault(node, []).append(finding)
        elif finding.hint.get("bird") and not felix:
            yield Cause("remote_block_route_missing_bird_has_it", "F22", node, f"BIRD on {node} knows the way to {prefix} but the kernel has no such route.",
                        [finding], objects=[prefix], remedies=restart_calico_node(diagnosis.documents, node, f"{node} has a route to {prefix}"))  # fmt: skip
        elif borrowed:
            dead = dead_felix(diagnosis, node)
            yield Cause("borrowed_ip_no_host_route", "F30", node, f"{node} has no route of its own to {prefix}, an address that {owner} borrowed.", [finding],
                        objects=[prefix], also=dead, why=["Its packets go to the node that owns the block, which throws them away if it has no route either."],
                        remedies=restart_calico_node(diagnosis.documents, node if dead else owner, f"{node} has a route to {prefix}"))  # fmt: skip
        else:
            yield Cause("remote_block_route_missing_not_learned", "F23", node, f"{node} has no route to {prefix}, the block of {owner}: it was not announced.",
                        [finding], objects=[prefix], heuristic=True,
                        why=[f"The session with {owner} is not known to be down; {owner} may not announce the block."],
                        remedies=_ask_again(diagnosis.documents, finding))  # fmt: skip
    for node, mine in by_node.items():
        prefixes = [f.fact.object for f in mine]
        dead = dead_felix(diagnosis, node)
        verify = f"{node} has a route to {prefixes[0]}"
        restart = restart_calico_node(diagnosis.documents, node, verify)
        yield Cause("felix_owned_route_missing", "F24", node, f"{node} has no route to {', '.join(prefixes)}; Felix should have written it.", mine,
                    objects=prefixes, also=dead,
                    why=[f"Felix on {node} is dead; it would write the route." if dead else "Felix writes it again within 90 s if it is well."],
                    remedies=restart if dead else felix_first(node, verify, restart))  # fmt: skip


@cause(roots=("route.block.different",))
def through_wrong_device(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, wanted = finding.fact.node, finding.fact.value
        route = as_mapping(finding.hint.get("route"))
        if len(hops(route)) != 1 or route.get("type") != "unicast":
            continue
        gateway, device = hops(route)[0]
        if wanted["dev"] is not None and device != wanted["dev"]:
            summary = f"{node} sends packets for {finding.fact.object} through {device} instead of {wanted['dev']}."
            yield Cause("route_wrong_encap", "F25", node, summary, [finding], objects=[finding.fact.object], why=[f"Its route: {finding.actual}."],
                        remedies=restart_calico_node(diagnosis.documents, node, f"{node} routes {finding.fact.object} through {wanted['dev']}"))  # fmt: skip
        elif wanted["gateway"] is not None and gateway == wanted["gateway"]:
            summary = f"{node} has the right gateway for {finding.fact.object} but the wrong device: {finding.actual}"
            yield Cause("route_wrong_device", None, node, summary, [finding], objects=[finding.fact.object],
                        remedies=restart_calico_node(diagnosis.documents, node, f"{node} routes {finding.fact.object} to {gateway}"))  # fmt: skip
        elif wanted["gateway"] is not None and gateway != wanted["gateway"]:
            summary = f"{node} sends packets for {finding.fact.object} to {gateway or device}, not to {wanted['owner']} ({wanted['gateway']})."
            verify = f"{node} routes {finding.fact.object} to {wanted['gateway']}"
            to_owner = _route_to_owner(diagnosis.documents.node(node), wanted["gateway"], gateway)
            if to_owner is None:
                yield Cause("nexthop_gateway_not_node", "F27", node, summary, [finding], objects=[finding.fact.object], why=[f"Its route: {finding.actual}."],
                            remedies=restart_calico_node(diagnosis.documents, node, verify))  # fmt: skip
                continue
            line = route_line(to_owner)
            yield Cause("nexthop_gateway_not_node", "F27", node, summary, [finding], objects=[finding.fact.object, line],
                        why=[f"Its route: {finding.actual}.", f"BIRD takes the way to the node itself for it: {line}"],
                        remedies=[delete_route(node, line, to_owner, verify, f"packets of {node} to {wanted['owner']} and its pods")])  # fmt: skip


def _route_to_owner(facts: NodeFacts, owner: str, gateway: str | None) -> Mapping[str, Json] | None:
    """A route that Calico did not write and that sends packets for another node to a gateway: BGP's next hop is looked up in the same table."""
    address = parse_address(owner)
    return next((route for network, route in _cached_foreign(facts) if gateway and address in network and [gateway] == [hop[0] for hop in hops(route)]), None)


@cause(roots=("routes.programming.both", "routes.programming.none"))
def not_complementary(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        both = finding.check == "routes.programming.both"
        summary = "Felix and BIRD both write the routes to other nodes." if both else "Neither Felix nor BIRD writes the routes to other nodes."
        yield Cause("programclusterroutes_mismatch", "F31", "", summary, [finding], objects=["FelixConfiguration default", "BGPConfiguration default"],
                    why=[f"{finding.evidence}."] + (["Felix takes over what BIRD wrote; BIRD then shows `!` for every block."] if both else []),
                    remedies=[Remedy("advise_program_routes", "R0",
                                     "set the two programClusterRoutes to values that complement each other: (Disabled, Enabled),"
                                     " (Enabled, Disabled), (EnabledIPIPOnly, EnabledNoEncapOnly) or (EnabledNoEncapOnly, EnabledIPIPOnly)", "")])  # fmt: skip
