# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the hops of a packet, and which facts each of them rests on.

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ._cluster import Cluster
from ._documents import Evidence
from ._flannel import bridged, carries, lease_of
from ._flannel import tunnel_device as flannel_device
from ._graph import FactId, Judged
from ._json import Family, Json, NotCollected, family_of, parse_network, tagged
from ._question import Endpoint, Question, Scope
from ._topology import encapsulation, host_prefix, tunnel_device

ORDER = ("finding", "not_checked", "not_reached", "ok", "not_applicable")


@dataclass
class Hop:
    """One place that the packet passes. kind: pod, veth, bridge, node, tunnel, wire or beyond."""

    id: str
    kind: str
    node: str | None
    device: str | None
    facts: tuple[FactId, ...] = ()
    outcome: str = "not_checked"
    checks: tuple[str, ...] = ()
    seen: bool | None = None
    note: str = ""

    def to_json(self) -> dict[str, Json]:
        shape: dict[str, Json] = {
            "id": self.id, "kind": self.kind, "node": self.node, "device": self.device, "outcome": self.outcome, "checks": list(self.checks), "seen": self.seen,
        }  # fmt: skip
        return {**shape, "note": self.note} if self.note else shape


@dataclass
class Path:
    forward: list[Hop] = field(default_factory=list)
    reverse: list[Hop] = field(default_factory=list)

    def to_json(self) -> dict[str, Json]:
        return {"forward": [hop.to_json() for hop in self.forward], "reverse": [hop.to_json() for hop in self.reverse]}


def walk(cluster: Cluster, question: Question) -> Path:
    path = Path(_one_way(cluster, question.source, question.destination), _one_way(cluster, question.destination, question.source))
    for hop in path.forward:  # answers need no policy
        if hop.kind == "node":
            hop.facts += (FactId("policy.intent", str(hop.node), f"{question.source.address}>{question.destination.address}"),)
    return path


def _tunnel(cluster: Cluster, source: Endpoint, destination: Endpoint) -> str | None:
    """Device that carries packets from the source's node to the destination, None where they go as they are."""
    if destination.kind != "pod" or not source.node or not destination.node:
        return None
    if carries(cluster):
        return flannel_device(cluster, source.node, destination.node)
    network = parse_network(destination.address)
    try:
        how = encapsulation(cluster, network, source.node, destination.node) if network is not None else None
    except NotCollected:
        return None
    return tunnel_device(how, family_of(destination.address))


def fib_fact(local: str, source: Endpoint, destination: Endpoint) -> FactId:
    return FactId("fib", local, f"{source.address}>{destination.address}")


def to_own_pod(source: Endpoint, destination: Endpoint) -> bool:
    """Whether a node itself sends to a pod of its own, from its own address: no tunnel gives it another."""
    return source.kind == "node" and destination.kind == "pod" and source.node == destination.node


def hop_facts(cluster: Cluster, question: Question) -> tuple[FactId, ...]:
    """What the hops of both directions rest on."""
    path = walk(cluster, question)
    return tuple(fact for hop in path.forward + path.reverse for fact in hop.facts)


def service_fact(kind: t.Literal["endpoints", "port", "rules"], whole: Question) -> FactId:
    """What holds for a Service as it is asked for; its rules are those of the node that translates."""
    key = whole.asked.key if whole.asked is not None else ""
    return FactId(f"service.{kind}", whole.translator if kind == "rules" else "", f"{key} {whole.service}")


def service_facts(scope: Scope) -> tuple[FactId, ...]:
    """What a packet to an endpoint of a Service rests on before everything else; nothing where no Service is asked for."""
    if scope.whole is None:
        return ()
    return (service_fact("endpoints", scope.whole), service_fact("port", scope.whole))


def listener_fact(question: Question) -> FactId:
    """Whether somebody listens where a question's packet goes."""
    return FactId("pod.listener", str(question.destination.node), f"{question.destination.label} {question.service}")


def answer_fact(question: Question) -> FactId:
    """Whether what a question asks for answers a connection."""
    return FactId("service.answer", str(question.source.node), f"{question.destination.address} {question.service}")


def echo_from(pod: Endpoint) -> str:
    """How a node finds the namespace that an echo of an audit starts in."""
    return pod.uid or pod.address


def delivery_fact(cluster: Cluster, local: str, destination: Endpoint) -> FactId | None:
    """The route on node `local` that should carry a packet for the destination."""
    if destination.kind != "pod":
        return None
    if destination.node == local:
        return FactId("route.local", local, tagged(destination.label, family_of(destination.address)))
    if carries(cluster):
        lease = lease_of(cluster, destination.node)
        return FactId("flannel.route", local, str(lease.cidr)) if lease is not None and lease.cidr is not None else None
    try:
        block = cluster.block_of(destination.address)
    except NotCollected:
        return None
    if block is None:
        return None
    prefix = str(block.cidr) if block.node == destination.node else host_prefix(destination.address)
    return FactId("route.block", local, prefix)


def _pod_hops(pod: Endpoint, sending: bool) -> list[Hop]:
    node, family = str(pod.node), family_of(pod.address)
    tag = tagged(pod.label, family)
    inner = [FactId("pod.link", node, tag), FactId("pod.address", "", pod.label), FactId("pod.route", node, tag)]
    veth = [FactId("veth", node, pod.label), FactId("link.steady", node, pod.label), FactId("endpoint.programmed", node, pod.label)]
    if family == "ipv4":
        inner.append(FactId("pod.gateway", node, tag))
        sends = [FactId("route.gateway", node), FactId("sysctl.proxy_arp", node, pod.label), FactId("sysctl.forwarding", node, pod.label)]
    else:
        sends = [FactId("sysctl.ipv6", node, pod.label), FactId("veth.link_local", node, pod.label)]
    if sending:
        veth += sends
    else:
        veth += [FactId("neighbour.pod", node, tag)]
        inner = inner[:2]
    hops = [
        Hop(f"pod:{pod.label}", "pod", node, "eth0", tuple(inner)),
        Hop(f"veth:{node}:{pod.ifname}", "veth", node, pod.ifname, tuple(veth)),
    ]
    return hops if sending else hops[::-1]


def _bridged_hops(pod: Endpoint, sending: bool) -> list[Hop]:
    """The pod's veth has no name that could be told from the API, and is a port of the bridge pod.ifname."""
    node = str(pod.node)
    inner = [FactId("pod.link", node, pod.label), FactId("pod.address", "", pod.label)]
    inner += [FactId("pod.route", node, pod.label), FactId("pod.gateway", node, pod.label)] if sending else []
    hops = [
        Hop(f"pod:{pod.label}", "pod", node, "eth0", tuple(inner)),
        Hop(f"veth:{node}:{pod.label}", "veth", node, None, (FactId("veth", node, pod.label), FactId("bridge.port", node, pod.label))),
    ]
    return hops if sending else hops[::-1]


def _bridge_hop(pod: Endpoint, *facts: FactId) -> Hop:
    node = str(pod.node)
    return Hop(f"bridge:{node}:{pod.ifname}", "bridge", node, pod.ifname, (FactId("bridge", node), *facts))


def _tunnel_facts(cluster: Cluster, first: str, last: str | None, node: str, device: str) -> tuple[FactId, ...]:
    """What the tunnel's end on `node` rests on, for packets from node first to node last."""
    filters = FactId("netfilter.tunnel", node, f"{first}>{last}")
    if not carries(cluster):
        family: Family = "ipv6" if device.startswith("vxlan-v6") else "ipv4"
        ends = [FactId(kind, first, tagged(str(last), family)) for kind in ("vxlan.neighbour", "vxlan.fdb")]
        return (FactId("tunnel.device", node, tagged("", family)), filters, *(ends if node == first and device.startswith("vxlan") else ()))
    entries = (FactId("flannel.neighbour", first, str(last)), FactId("flannel.fdb", first, str(last))) if node == first else ()
    return (FactId("flannel.device", node), FactId("flannel.vtep", node), filters, *entries)


def _one_way(cluster: Cluster, source: Endpoint, destination: Endpoint) -> list[Hop]:
    on_bridge = bridged(cluster)
    pod_hops = _bridged_hops if on_bridge else _pod_hops
    hops = pod_hops(source, True) if source.kind == "pod" else []
    tunnel = _tunnel(cluster, source, destination)
    first, last, family = source.node, destination.node, family_of(destination.address)
    if on_bridge and first is not None and first == last and source.kind == destination.kind == "pod":
        # the bridge delivers by itself and the node routes nothing, but its netfilter rules may see the packet (br_netfilter)
        policy = FactId("policy", first, f"{source.address}>{destination.address}")
        return [*hops, _bridge_hop(source, policy), *pod_hops(destination, False)]
    if on_bridge and source.kind == "pod":
        hops.append(_bridge_hop(source))
    if first is not None:
        facts = _node_facts(cluster, first, source, destination)
        hops.append(Hop(f"node:{first}", "node", first, None, tuple(facts)))
    if first != last:
        if tunnel and first:
            hops.append(Hop(f"tunnel:{first}", "tunnel", first, tunnel, _tunnel_facts(cluster, first, last, first, tunnel)))
        if first and last:
            peer = tagged(last, family)
            crossing = FactId("flow.crossing", last, f"{source.address}>{destination.address}")
            hops.append(Hop(f"wire:{first}:{last}", "wire", None, None, (FactId("underlay.route", first, peer), FactId("underlay.mac", first, peer), crossing)))
        if tunnel and last:
            hops.append(Hop(f"tunnel:{last}", "tunnel", last, tunnel, _tunnel_facts(cluster, str(first), last, last, tunnel)))
        if last is not None:
            hops.append(Hop(f"node:{last}", "node", last, None, tuple(_node_facts(cluster, last, source, destination))))
        if first is None or last is None:
            at = len(hops) if last is None else 0
            hops.insert(at, Hop("beyond", "beyond", None, None, note="outside of the cluster: not looked at"))
    if destination.kind == "pod":
        if on_bridge:
            hops.append(_bridge_hop(destination, FactId("neighbour.pod", str(last), destination.label)))
        hops += pod_hops(destination, False)
    return hops


def _node_facts(cluster: Cluster, local: str, source: Endpoint, destination: Endpoint) -> list[FactId]:
    facts = []
    if source.kind == "pod" or (destination.kind == "pod" and destination.node == local):
        facts.append(FactId("sysctl.ip_forward", local, tagged("", family_of(destination.address))))
    delivery = delivery_fact(cluster, local, destination)
    if delivery is not None:
        facts.append(delivery)
    if bridged(cluster):
        facts.append(FactId("flannel.forward", local))
    if local == destination.node and local != source.node:
        facts.append(FactId("underlay.source", local, f"{source.address}>{destination.address}"))
    facts += [FactId("dataplane", local), fib_fact(local, source, destination), FactId("policy", local, f"{source.address}>{destination.address}")]
    return facts


def settle(hops: list[Hop], judged: Mapping[FactId, Judged], evidence: Evidence, direction: str) -> None:
    """Give each hop its outcome: its worst check. What was not read after the hop where the packet dies counts as not reached."""
    passed = evidence.passed(direction)
    arrived = evidence.arrived(direction)
    dead = False
    for hop in hops:
        verdicts = [judged[fact] for fact in hop.facts if fact in judged]
        hop.checks = tuple(dict.fromkeys(v.check for v in verdicts))
        outcomes = {v.outcome for v in verdicts} or {"not_checked"}
        hop.outcome = next(outcome for outcome in ORDER if outcome in outcomes)
        hop.seen = True if arrived else passed.get(hop.id)
        if dead and hop.outcome == "not_checked":
            hop.outcome = "not_reached"
        if any(v.finding is not None and v.finding.severity == "critical" for v in verdicts):
            dead = True
    if arrived is False and hops:
        hops[-1].seen = False
