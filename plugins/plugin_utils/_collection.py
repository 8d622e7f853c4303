# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what has to be asked of which node, so that the checks can judge (waves; design.md section 8).

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ._cluster import Cluster
from ._flannel import bridged, carries, leases
from ._json import Json, NotCollected
from ._path import echo_from, to_own_pod
from ._question import Question, Scope
from ._topology import families, peer_addresses

FULL = ("identity", "links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls", "bird", "calico", "netfilter", "conntrack", "sandboxes",
        "lookups", "counters", "network_manager")  # fmt: skip
WITNESS = ("identity", "links", "addresses", "routes", "rules", "neighbours", "bird", "calico", "lookups")
MOST_WITNESSES = 5  # nodes asked in a later wave because of what the first one said
KNOCKS = 3  # at a Service's own address: each may meet another endpoint
MOST_AGAIN = 8  # nodes of an audit that are asked a second time
MOST_PEERS = 64  # in a larger cluster, only the way to nodes that are asked themselves is looked up
LINK_LOCAL_GATEWAY = "169.254.1.1"
HOST_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"  # the kernel's EUI-64 address for the MAC of every host link; the gateway of every IPv6 pod


@dataclass
class Wanted:
    """One node to be asked. flows: route look-ups; reachability: small live tests; pods: whose namespaces to look into."""

    node: str
    subset: tuple[str, ...]
    why: str
    flows: list[dict[str, Json]] = field(default_factory=list)
    pods: list[dict[str, Json]] = field(default_factory=list)
    reachability: list[dict[str, Json]] = field(default_factory=list)
    dns: list[dict[str, Json]] = field(default_factory=list)

    def to_json(self) -> dict[str, Json]:
        return {"node": self.node, "subset": list(self.subset), "flows": self.flows, "pods": self.pods, "reachability": self.reachability, "why": self.why,
                **({"dns": self.dns} if self.dns else {})}  # fmt: skip

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Wanted:
        return cls(raw["node"], tuple(raw["subset"]), raw["why"], raw["flows"], raw["pods"], raw["reachability"], list(raw.get("dns") or []))


def first_wave(cluster: Cluster, question: Question, probe: bool = False) -> list[Wanted]:
    """The nodes on the path. probe: whether packets may be sent; then a Service and its endpoints are knocked at from the source."""
    scope = Scope(question, question.nodes)
    subset = full(cluster) if question.port is None else (*full(cluster), "listeners")
    wave = [Wanted(node, subset, "on the path", [*flows(cluster, scope, node), *_to_service(question, node)], pods(scope, node)) for node in question.nodes]
    for wanted in wave:
        if probe and question.asked is not None:
            wanted.reachability = _knocks(question, wanted.node)
            if wanted.node == question.source.node:
                wanted.dns = _names(question)
    return wave


def _to_service(question: Question, node: str) -> list[dict[str, Json]]:
    """The packet to the address of a Service, as its node sees it before it translates."""
    source = question.source
    if question.asked is None or question.asked.headless or source.node != node:
        return []
    if source.kind != "pod":
        return [{"dst": question.destination.address}]
    return [{"dst": question.destination.address, "src": source.address, "iif": source.ifname}]


def _names(question: Question) -> list[dict[str, Json]]:
    """What the source asks of the cluster's DNS, of the Service and of each endpoint that is looked at."""
    if question.asked is None or not question.asked.dns:
        return []
    source = question.source
    servers = [question.destination.address, *(way.destination.address for way in question.ways)]
    inside: dict[str, Json] = {"netns_of": echo_from(source)} if source.kind == "pod" else {}
    return [{"name": question.asked.name, "servers": servers, "family": "inet6" if ":" in source.address else "inet", **inside}]


def _knocks(question: Question, node: str) -> list[dict[str, Json]]:
    """TCP handshakes from one node, or from the source's pod there: with each endpoint whose way begins there, and from the source some with the Service."""
    if question.protocol != "tcp" or question.asked is None:
        return []
    ends = [(way.source, way.destination.address, way.port) for way in question.ways if way.source.node == node]
    if question.source.node == node and not question.asked.headless:
        ends += [(question.source, question.destination.address, question.port)] * KNOCKS
    return [
        {"dst": address, "port": port, "protocol": "tcp", **({"netns_of": echo_from(start)} if start.kind == "pod" else {})} for start, address, port in ends
    ]


def audit_wave(cluster: Cluster, scope: Scope) -> list[Wanted]:
    """All nodes, each with the inside of its pods, and an echo to some others."""
    subset = tuple(name for name in full(cluster) if name not in ("netfilter", "conntrack"))
    flows_of: dict[str, list[dict[str, Json]]] = {node: [{"dst": LINK_LOCAL_GATEWAY}] for node in scope.core}
    echoes: dict[str, list[dict[str, Json]]] = {}
    pods_of: dict[str, list[dict[str, Json]]] = {}
    for source, destination in scope.flows:
        echoes.setdefault(str(source.node), []).append({"dst": destination.address, "protocol": "icmp", "netns_of": echo_from(source)})
        flows_of[str(source.node)].append({"dst": destination.address, "src": source.address, "iif": source.ifname})
        flows_of[str(destination.node)].append({"dst": destination.address})
    for pod in scope.everyone:
        pods_of.setdefault(str(pod.node), []).append(
            {"uid": pod.uid, "ip": pod.address} if bridged(cluster) else {"ifname": pod.ifname, "uid": pod.uid, "ip": pod.address}
        )
    shared = [{"dst": address} for address in dns_and_target(cluster)]
    return [
        Wanted(node, subset, "an audit asks all nodes", _each_once([*flows_of[node], *shared]), pods_of.get(node, []), echoes.get(node, []))
        for node in scope.core
    ]


def full(cluster: Cluster) -> tuple[str, ...]:
    """The sections of a node on the path."""
    return (*FULL, "flannel") if carries(cluster) else FULL


def flows(cluster: Cluster, scope: Scope, node: str) -> list[dict[str, Json]]:
    """Route look-ups for one node: the asked packet both ways with its real source and input interface, its peers, DNS."""
    result: list[dict[str, Json]] = [{"dst": LINK_LOCAL_GATEWAY}]
    for source, destination in scope.flows:
        if source.kind == "pod" and source.node == node:
            result.append({"dst": destination.address, "src": source.address, "iif": source.ifname})
        elif not (destination.kind == "node" and destination.node == node):
            result.append({"dst": destination.address, **({"src": source.address} if to_own_pod(source, destination) else {})})
    peers = list(node_addresses(cluster))
    result += [{"dst": address} for name, address in peers if name != node and (name in scope.asked_nodes or len(peers) <= MOST_PEERS)]
    result += [{"dst": address} for address in dns_and_target(cluster, node)]
    return _each_once(result)


def _each_once(found: list[dict[str, Json]]) -> list[dict[str, Json]]:
    return list({tuple(sorted(flow.items())): flow for flow in found}.values())


def dns_and_target(cluster: Cluster, local: str = "") -> Iterator[str]:
    """The DNS pods of other nodes, and what the autodetection method must reach."""
    try:
        yield from (str(pod.address) for pod in cluster.dns_pods() if pod.node != local)
        method, _equals, argument = cluster.autodetection.partition("=")
        if method == "can-reach":
            yield argument
    except NotCollected:
        return


def node_addresses(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """(node, address at which the other nodes should reach it), of each family."""
    if carries(cluster):
        yield from ((lease.node, lease.address) for lease in leases(cluster).values() if lease.address is not None)
    else:
        for family in families(cluster):
            yield from peer_addresses(cluster, family).items()


def pods(scope: Scope, node: str) -> list[dict[str, Json]]:
    return [{"ifname": pod.ifname, "uid": pod.uid, "ip": pod.address} for pod in scope.pods if pod.node == node]
