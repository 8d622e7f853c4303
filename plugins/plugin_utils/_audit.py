# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the whole cluster judged without a question: its scope, and how each node and each session stands.

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ._cluster import Cluster
from ._documents import Documents
from ._flannel import carries
from ._graph import FactId, Judged
from ._json import Json, NotCollected, as_mapping, family_of, parse_network
from ._question import AUDIT, Doubts, Scope, pod_endpoint
from ._routes import foreign_routes
from ._topology import (
    VTEP_ADDRESS,
    bgp_peers,
    default_vtep_mac,
    encapsulation,
    families,
    is_reflector,
    peer_addresses,
    pod_prefixes,
    same_subnet,
    tunnel_device,
    uses_bird,
    uses_encapsulation,
)

ALL_PAIRS = 50  # nodes up to which each pair is looked at with all its facts
MOST_PAIRS = 20_000
DEVICES = ("tunl0", "vxlan.calico", "vxlan-v6.calico")

# what a row of a node counts: its name in the report -> the kinds of facts
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sessions": ("bgp.session",),
    "routes": ("route.block", "flannel.route"),
    "pods": ("veth", "route.local", "neighbour.pod", "pod.link", "pod.route", "pod.gateway", "endpoint.programmed"),
}


def scope_of(cluster: Cluster, documents: Documents | None = None) -> Scope:
    """All nodes, and all pods with a network of their own. Errors: NotCollected."""
    everyone = tuple(pod_endpoint(cluster, pod, pod.key) for pod in cluster.workloads if pod.node in cluster.nodes)
    return Scope(AUDIT, tuple(cluster.nodes), everyone=everyone, doubts=_doubts(cluster, documents))


def _doubts(cluster: Cluster, documents: Documents | None) -> Doubts | None:
    """Without what the API tells of blocks and pools, every pair is in doubt; flannel's pairs have few facts each."""
    try:
        return doubts(cluster, documents) if documents is not None and not carries(cluster) else None
    except NotCollected:
        return None


def doubts(cluster: Cluster, documents: Documents) -> Doubts | None:
    """In a large cluster, where not each pair of nodes can be looked at with all its facts; None in a small one."""
    names = [name for name in cluster.nodes if documents.node(name).collected]
    if len(cluster.nodes) <= ALL_PAIRS:
        return None
    views = {name: View(cluster, documents, name) for name in names}
    macs = {address: mac for view in views.values() for address, mac in view.own_macs()}
    found: list[tuple[str, str]] = []
    right: dict[str, dict[str, int]] = {}
    foreign: dict[str, list[str]] = {}
    for name, view in views.items():
        sessions, routes, wrong = view.compare(macs)
        right[name] = {"sessions": sessions, "routes": routes}
        found += [(name, peer) for peer in wrong]
        for prefix in view.foreign():
            foreign.setdefault(prefix, []).append(name)
    pairs = dict.fromkeys(found)
    pairs.update(dict.fromkeys((peer, name) for name, peer in found if peer in views))
    chosen = tuple(pairs)[:MOST_PAIRS]
    return Doubts(chosen, {prefix: tuple(nodes) for prefix, nodes in foreign.items()}, right, len(pairs) - len(chosen))


class View:
    """One node's tables, held against what is plainly right. What cannot be read leaves every pair of the node in doubt."""

    def __init__(self, cluster: Cluster, documents: Documents, name: str) -> None:
        self.cluster, self.facts, self.name = cluster, documents.node(name), name
        self.tables = cluster.once("rows by node", lambda: _rows_by_node(cluster))

    def own_macs(self) -> Iterator[tuple[str, str]]:
        try:
            for address in self.cluster.nodes[self.name].calico_addresses:
                held = self.facts.address_on_node(address)
                mac = self.facts.links.get(str(held.get("ifname")), {}).get("address") if held is not None else None
                if isinstance(mac, str):
                    yield address, mac
        except NotCollected:
            return

    def foreign(self) -> Iterator[str]:
        """The blocks inside of which the node has a route that is not Calico's."""
        try:
            for network, _route in self.facts.once("foreign routes", lambda: foreign_routes(self.facts)):
                block = self.cluster.block_of(str(network.network_address))
                if block is not None:
                    yield str(block.cidr)
        except NotCollected:
            return

    def compare(self, macs: Mapping[str, str]) -> tuple[int, int, list[str]]:
        """(sessions, routes that are plainly right, peers of which something is not)."""
        sessions = routes = 0
        wrong: dict[str, None] = {}
        try:
            established, wanted = self._established(), self._wanted()
            here = {str(n.get("dst")): n for n in self.facts.neighbours}
            ends = {(e.get("mac"), e.get("dst")) for e in self.facts.fdb} if self.tables.tunnels else set()
            for peer, row in self.tables.peers.items():
                if peer == self.name:
                    continue
                for address in row:
                    neighbour = here.get(address, {})
                    strange = neighbour.get("lladdr") not in (None, macs.get(address)) and address in macs
                    silent = not neighbour.get("lladdr") and bool(set(neighbour.get("state") or ()) & {"FAILED", "INCOMPLETE"})
                    asked = established is not None and (wanted is None or address in wanted)
                    if (asked and address not in (established or ())) or strange or silent:
                        wrong[peer] = None
                    else:
                        sessions += asked
                for prefix, ways in self.tables.prefixes.get(peer, {}).items():
                    if self._leads_there(prefix, ways, peer):
                        routes += 1
                    else:
                        wrong[peer] = None
                for dst, mac, outer in self.tables.tunnels.get(peer, ()):
                    if (mac, outer) not in ends or here.get(dst, {}).get("lladdr") != mac:
                        wrong[peer] = None
        except NotCollected:
            return 0, 0, [peer for peer in self.tables.peers if peer != self.name]
        return sessions, routes, list(wrong)

    def _wanted(self) -> set[str] | None:
        """The addresses that the node must have a session with; None: with all others."""
        known = self.cluster
        if known.mesh and not known.section("bgppeers") and not known.once("a reflector", lambda: any(map(is_reflector, known.nodes.values()))):
            return None
        return {address for family in families(known) for address in bgp_peers(known, self.name, family)}

    def _established(self) -> set[str] | None:
        if not uses_bird(self.cluster):
            return None
        return {
            str(bgp.get("neighbor_address"))
            for family in families(self.cluster)
            for protocol in self.facts.bgp_protocols(family)
            if (bgp := as_mapping(protocol.get("bgp"))).get("state") == "Established"
        }

    def _leads_there(self, prefix: str, ways: tuple[tuple[str | None, str], ...], peer: str) -> bool:
        found = self.facts.routes_to(prefix)
        if len(found) != 1 or found[0].get("type") != "unicast" or found[0].get("nexthops"):
            return False
        route, device, family = found[0], ways[0][0], family_of(prefix)
        network = self.cluster.blocks_by_prefix.get(prefix)
        if len(ways) > 1 and network is not None:
            device = tunnel_device(encapsulation(self.cluster, network.cidr, self.name, peer), family)
        if route.get("dev") != device if device else route.get("dev") in DEVICES:
            return False
        gateway = next((gateway for way, gateway in ways if way == device), None)
        return route.get("gateway") == gateway or (device is None and same_subnet(self.cluster, self.name, peer, family) is not True)


@dataclass
class RowsByNode:
    """What is plainly right, by the node that it leads to. ways: (tunnel device or None, gateway); tunnels: (inner address, MAC, outer address)."""

    peers: dict[str, list[str]]
    prefixes: dict[str, dict[str, tuple[tuple[str | None, str], ...]]]
    tunnels: dict[str, list[tuple[str, str, str]]]


def _rows_by_node(cluster: Cluster) -> RowsByNode:
    result = RowsByNode({}, {}, {})
    for family in families(cluster):
        for name, address in peer_addresses(cluster, family).items():
            result.peers.setdefault(name, []).append(address)
            vtep = cluster.nodes[name].annotation(VTEP_ADDRESS[family])
            if vtep is not None and uses_encapsulation(cluster, "vxlan", family):
                mac = cluster.nodes[name].annotation("VXLANTunnelMACAddr" if family == "ipv4" else "VXLANTunnelMACAddrV6") or default_vtep_mac(name, family)
                result.tunnels.setdefault(name, []).append((vtep, mac.lower(), address))
    for remote in pod_prefixes(cluster):
        node, network = cluster.nodes.get(remote.node), parse_network(remote.prefix)
        family = family_of(remote.prefix)
        pool = cluster.pool_of(network) if network is not None else None
        outer = peer_addresses(cluster, family).get(remote.node)
        if node is None or pool is None or outer is None:
            continue
        inside = node.annotation(VTEP_ADDRESS[family]) or ""
        tunnel = ("vxlan", inside, pool.vxlan) if pool.vxlan != "Never" else ("ipip", outer, pool.ipip) if pool.ipip != "Never" else ("none", outer, "Never")
        ways: list[tuple[str | None, str]] = [(tunnel_device(tunnel[0], family), tunnel[1])]
        if tunnel[2] == "CrossSubnet":
            ways.append((None, outer))
        result.prefixes.setdefault(remote.node, {})[remote.prefix] = tuple(ways)
    return result


def unseen(documents: Documents, core: Iterable[str]) -> dict[str, str]:
    """Node -> the reason why nothing of it was read."""
    found = ((name, documents.node(name)) for name in core)
    return {name: f"{name} {facts.reason}" for name, facts in found if not facts.collected}


def folded(entries: Iterable[Mapping[str, str]], nobody: Mapping[str, str]) -> list[dict[str, str]]:
    """What was not checked: all that fails for one unseen node is one entry."""
    nodes = {reason: name for name, reason in nobody.items()}
    result: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for entry in entries:
        name = nodes.get(entry["reason"])
        one = dict(entry) if name is None else {"check": "everything", "node": name, "object": "", "reason": entry["reason"]}
        result.setdefault((one["check"], one["node"], one["object"], one["reason"]), one)
    for name, reason in nobody.items():
        result.setdefault(("everything", name, "", reason), {"check": "everything", "node": name, "object": "", "reason": reason})
    return list(result.values())


def rows(scope: Scope, documents: Documents, judged: Mapping[FactId, Judged]) -> list[dict[str, Json]]:
    """How each node stands; `findings` counts what is wrong on it, whatever it is."""
    result: dict[str, dict[str, Json]] = {}
    for name in dict.fromkeys((*scope.core, *documents.nodes)):
        result[name] = {"node": name, "address": _address(documents, name), "seen": documents.node(name).collected, "findings": 0}
        result[name].update({column: {"right": 0, "of": 0} for column in COLUMNS})
    if scope.doubts is not None:
        for name, right in scope.doubts.right.items():
            result[name].update({what: {"right": number, "of": number} for what, number in right.items()})
    columns = {kind: column for column, kinds in COLUMNS.items() for kind in kinds}
    for fact_id, verdict in judged.items():
        row = result.get(fact_id.node)
        if row is None:
            continue
        row["findings"] += verdict.outcome == "finding"
        column = columns.get(fact_id.kind)
        if column is not None and verdict.outcome != "not_applicable":
            row[column]["of"] += 1
            row[column]["right"] += verdict.outcome == "ok"
    return list(result.values())


def _address(documents: Documents, name: str) -> str | None:
    try:
        node = documents.cluster.nodes.get(name)
    except NotCollected:
        return None
    return next(iter((*node.calico_addresses, *node.internal_ips)), None) if node is not None else None


def sessions(judged: Mapping[FactId, Judged], documents: Documents) -> list[dict[str, Json]]:
    """The sessions between two nodes that are not Established, each once, with what either side says."""
    result: dict[tuple[str, ...], dict[str, Json]] = {}
    for fact_id, verdict in judged.items():
        if fact_id.kind != "bgp.session" or verdict.finding is None:
            continue
        peer = str(as_mapping(verdict.fact.value).get("peer") or fact_id.object)
        ends = tuple(sorted((fact_id.node, peer)))
        entry = result.setdefault((*ends, verdict.fact.family), {"ends": list(ends), "family": verdict.fact.family, "said": {}})
        entry["said"][fact_id.node] = str(verdict.finding.actual or "no such peer")
    for entry in result.values():
        first, last = entry["ends"]
        for node, other in ((first, last), (last, first)):
            if node not in entry["said"]:
                entry["said"][node] = _word(node, other, entry["family"], judged, documents)
    return list(result.values())


def _word(node: str, peer: str, family: str, judged: Mapping[FactId, Judged], documents: Documents) -> str | None:
    """What the other side of a dead session says; None where it was not read, or is no node of the cluster."""
    verdict = judged.get(FactId("bgp.session", node, peer if family == "ipv4" else f"{peer} ipv6"))
    if verdict is not None and verdict.outcome == "ok":
        return "Established"
    try:
        documents.node(node).bird(t.cast("t.Any", family))
    except NotCollected:
        return None
    return "not configured" if verdict is None else None
