# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the policies in the API mean for one flow, at every place on its way that enforces policy.

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ._cluster import Cluster
from ._dataplane import felix_setting
from ._flannel import carries, lease_of
from ._flannel import tunnel_device as flannel_device
from ._json import NotCollected, family_of, parse_network
from ._policy_hosts import failsafe, host_endpoint, nic
from ._policy_members import Member
from ._policy_order import Chain, Decision, Policies, Way, policies_of
from ._policy_rules import Packet
from ._policy_services import Backend, ServicePort, resolve_service
from ._question import Endpoint, Question
from ._topology import encapsulation, tunnel_device

Outcome = t.Literal["works", "timeout", "eperm", "refused", "unknown"]
WORST: Sequence[Outcome] = ("refused", "eperm", "timeout", "unknown", "works")
ICMP_ECHO = {"ICMP": 8, "ICMPV6": 128}


@dataclass(frozen=True)
class End:
    """One end of a flow. key: `namespace/name` of a pod; node: where it is, None outside of the cluster."""

    kind: t.Literal["pod", "node", "address"]
    address: str
    node: str | None = None
    key: str = ""

    @property
    def label(self) -> str:
        return self.key or (f"node {self.node}" if self.kind == "node" else self.address)


@dataclass(frozen=True)
class Point:
    """One place that enforces policy. outcome unknown: `why` says what is missing."""

    node: str
    way: Way
    chain: Chain
    member: Member | None
    packet: Packet
    outcome: t.Literal["allow", "deny", "none", "unknown"]
    why: str
    decision: Decision | None = None
    local: bool = False  # the packet is dropped inside of its sender's own call

    @property
    def at(self) -> str:
        if self.member is None:
            return f"node {self.node}"
        return self.member.key if self.member.kind == "pod" else f"HostEndpoint {self.member.name}"


@dataclass(frozen=True)
class Verdict:
    """What a flow meets. points: in the order of the way; to: where it leads after translation; why: of the first that denies or is unknown."""

    outcome: Outcome
    points: tuple[Point, ...]
    to: End
    port: int | None
    why: str = ""

    @property
    def denied(self) -> list[Point]:
        return [point for point in self.points if point.outcome == "deny"]


def end_at(cluster: Cluster, address: str) -> End:
    """Whoever has an address: a pod, a node, or nobody of the cluster."""
    pods = cluster.pods_at(address)
    if pods:
        return End("pod", address, pods[0].node, pods[0].key)

    def by_address() -> dict[str, str]:
        return {held: node.name for node in cluster.nodes.values() for held in (*node.internal_ips, *node.calico_addresses)}

    node = cluster.once("nodes by address", by_address).get(address)
    return End("node", address, node) if node is not None else End("address", address)


def intended(cluster: Cluster, source: End, destination: End, protocol: str, port: int | None = None) -> list[Verdict]:
    """One verdict for each place that the flow may lead to: several where it is asked for a Service with several endpoints.

    protocol: tcp, udp, sctp or icmp; ICMP is an echo request. Only the way there is judged: answers of a tracked connection need no policy.
    """
    name = protocol.upper()
    if name == "ICMP" and family_of(destination.address) == "ipv6":
        name = "ICMPV6"
    packet = Packet(name, source.address, destination.address, port, icmp_type=ICMP_ECHO.get(name), icmp_code=0 if name in ICMP_ECHO else None)
    try:
        found = resolve_service(cluster, packet) if destination.kind != "pod" else None
    except NotCollected as exc:
        return [Verdict("unknown", (), destination, port, exc.reason)]
    if found is None:
        return [_Walk(cluster, source, destination, packet).verdict()]
    backends = found.backends(source.node)
    if not backends:  # without any endpoint kube-proxy answers with an error; where only the entered node has none it drops
        return [Verdict("timeout" if found.endpoints else "refused", (), destination, port, f"Service {found.name} has no endpoint for it")]
    return [_Walk(cluster, source, destination, packet, found, backend).verdict() for backend in backends]


def asked_flow(cluster: Cluster, question: Question) -> list[Verdict]:
    """The verdicts of a question's own flow, worked out once."""
    source, destination = (_end_of(end) for end in (question.source, question.destination))
    key = f"intended {source} {destination} {question.service}"
    return cluster.once(key, lambda: intended(cluster, source, destination, question.protocol, question.port))


def policy_forbids(cluster: Cluster, source: Endpoint, destination: Endpoint, protocol: str, port: int | None = None) -> bool:
    """Whether the policies certainly do not let one end open this to the other."""
    try:
        return worst(intended(cluster, _end_of(source), _end_of(destination), protocol, port)).outcome in ("timeout", "eperm")
    except NotCollected:
        return False


def _end_of(end: Endpoint) -> End:
    return End("address" if end.kind == "service" else end.kind, end.address, end.node, end.label if end.kind == "pod" else "")


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several endpoints the one that fails: a part of the connections does."""
    return min(verdicts, key=lambda verdict: WORST.index(verdict.outcome))


class _Walk:
    """One packet from its source to its destination."""

    def __init__(self, cluster: Cluster, source: End, asked: End, packet: Packet, service: ServicePort | None = None, backend: Backend | None = None) -> None:
        self.cluster = cluster
        self.policies: Policies = policies_of(cluster)
        self.source = source
        self.asked = asked
        self.packet = packet
        self.service = service
        self.to = asked if backend is None else end_at(cluster, backend.address)
        self.translated = packet if backend is None else replace(packet, dst=backend.address, dport=backend.port)
        self.points: list[Point] = []
        self.accepted = False  # by an untracked or a preDNAT policy: then no other of the HostEndpoint is asked

    def verdict(self) -> Verdict:
        """Every place is asked, also behind one that denies: what is repaired first would only uncover the next."""
        missing = ""
        try:
            self._go()
        except NotCollected as exc:
            missing = exc.reason
        denied = next((point for point in self.points if point.outcome == "deny"), None)
        unknown = next((point.why for point in self.points if point.outcome == "unknown"), missing)
        if denied is not None:
            refused = denied.local and self.packet.protocol != "TCP"  # sendto() itself fails; a SYN is sent again and again
            return Verdict("eperm" if refused else "timeout", tuple(self.points), self.to, self.translated.dport, denied.why)
        return Verdict("unknown" if unknown else "works", tuple(self.points), self.to, self.translated.dport, unknown)

    # ------------------------------------------------------------------ the way

    def _go(self) -> None:
        entry = self.service.node if self.service is not None else None
        if self.service is not None and entry is None and self.source.node is None:
            raise NotCollected(f"{self.asked.address} is an address of Service {self.service.name}, and where packets from outside enter is not known")
        if entry is None or entry == self.source.node:
            if self.source.node is not None and self.source.node == self.to.node:
                self._inside(self.translated, self.to)
                return
            packet = self._leave(self.translated, self.to)
            self._arrive(packet if entry is None or not self._masquerades(entry) else self._masqueraded(packet, entry), self.source.node)
            return
        packet = self._leave(self.packet, self.asked)
        self._enter(entry, packet, None)
        packet = replace(packet, dst=self.translated.dst, dport=self.translated.dport)
        if self.to.node == entry:
            self._deliver(packet, None)
            return
        if not self.accepted:
            self._host(entry, "ingress", packet, "forward", None)
        self._host(entry, "egress", packet, "forward", self._tunnel(entry, self.to))
        self._arrive(self._masqueraded(packet, entry) if self._masquerades(entry) else packet, entry)

    def _masquerades(self, entry: str) -> bool:
        """kube-proxy hides the source of what comes in by a node's port, unless only local endpoints are used."""
        if self.service is None or not self.service.local:
            return True
        return self.source.kind == "node" and self.source.node == entry

    def _arrive(self, packet: Packet, before: str | None) -> None:
        """On the node of the destination, from the node before it."""
        if self.to.node is not None:
            device = self._tunnel(before, self.to)
            self._enter(self.to.node, packet, device)
            self._deliver(packet, device)

    def _inside(self, packet: Packet, to: End) -> None:
        """Both ends on one node: no HostEndpoint is met, and what a node sends to its own pods is never policed."""
        if self.source.kind == "pod":
            self._pod(self.source, "egress", packet)
            if to.kind == "pod":
                self._pod(to, "ingress", packet)
            else:
                self._to_own_node(packet)
        elif to.kind != "pod" and any(member.interface == "*" for member in self.policies.members.host_endpoints if member.node == to.node):
            raise NotCollected(f"whether a HostEndpoint * of {to.node} meets what the node sends to itself is not known here")

    def _to_own_node(self, packet: Packet) -> None:
        node = str(self.source.node)
        action = str(felix_setting(self.cluster, node, "defaultEndpointToHostAction") or "Drop").lower()
        if action == "drop":
            why = f"defaultEndpointToHostAction is Drop: pods do not reach the addresses of their own node {node}"
            self.points.append(Point(node, "ingress", "normal", None, packet, "deny", why))

    def _leave(self, packet: Packet, to: End) -> Packet:
        """What leaves the source's node; the packet as the next node sees it."""
        node, device = str(self.source.node), self._tunnel(self.source.node, to)
        if self.source.kind == "pod":
            self._pod(self.source, "egress", packet)
            self._host(node, "egress", packet, "forward", device)
            return self._nat_outgoing(packet, to)
        if self.source.kind == "node":
            packet = self._masqueraded(packet, node) if device is not None else packet
            if self._host(node, "egress", packet, "untracked", device):
                self._answer(node, "egress", packet, device)
            else:
                self._host(node, "egress", packet, "normal", device)
        return packet

    def _enter(self, node: str, packet: Packet, device: str | None) -> None:
        """What meets a packet on a node before its destination is looked at."""
        self.accepted = self._host(node, "ingress", packet, "untracked", device)
        if self.accepted and self.to.kind == "node" and self.to.node == node:
            self._answer(node, "ingress", packet, device)
        self.accepted = self.accepted or self._host(node, "ingress", packet, "prednat", device)

    def _deliver(self, packet: Packet, device: str | None) -> None:
        node = str(self.to.node)
        if not self.accepted:
            self._host(node, "ingress", packet, "forward" if self.to.kind == "pod" else "normal", device)
        if self.to.kind == "pod":
            self._pod(self.to, "ingress", packet)

    # ------------------------------------------------------------------ addresses

    def _tunnel(self, local: str | None, to: End) -> str | None:
        if to.kind != "pod" or local is None or to.node is None or local == to.node:
            return None
        if carries(self.cluster):
            return flannel_device(self.cluster, local, to.node)
        network = parse_network(to.address)
        return tunnel_device(encapsulation(self.cluster, network, local, to.node), family_of(to.address)) if network is not None else None

    def _address_on(self, node: str, to: End) -> tuple[str | None, str]:
        """The address that a node itself uses towards an end, or None and why it cannot be told."""
        family = family_of(to.address)
        known = self.cluster.node(node)
        device = self._tunnel(node, to)
        own = known.calico_address(family) or known.internal_ip_in(family)
        if device is None:
            return own, f"{node} announces no address"
        if carries(self.cluster):
            lease = lease_of(self.cluster, node)
            return (lease.vtep_address if lease is not None else None), f"flannel's address on {node} is not known"
        suffix = {"tunl0": "IPv4IPIPTunnelAddr", "vxlan.calico": "IPv4VXLANTunnelAddr", "vxlan-v6.calico": "IPv6VXLANTunnelAddr"}[device]
        return known.annotation(suffix), f"the address of {device} on {node} is not known"

    def _masqueraded(self, packet: Packet, node: str) -> Packet:
        address, why = self._address_on(node, self.to)
        return replace(packet, src=address, src_why=why)

    def _nat_outgoing(self, packet: Packet, to: End) -> Packet:
        """A pod's packets to what is in no pool leave with the address of its node (natOutgoing)."""
        if to.kind == "pod":
            return packet
        if carries(self.cluster):
            return replace(packet, src=None, src_why="whether flanneld masquerades what leaves the pod network is not known here")
        pool = self.cluster.pool_of(self.source.address)
        if pool is None or not pool.nat_outgoing or self.cluster.pool_of(to.address) is not None:
            return packet
        node = str(self.source.node)
        if to.kind == "node" and felix_setting(self.cluster, node, "natOutgoingExclusions") == "IPPoolsAndHostIPs":
            return packet
        address, why = self._address_on(node, to)
        return replace(packet, src=str(felix_setting(self.cluster, node, "natOutgoingAddress") or address or "") or None, src_why=why)

    # ------------------------------------------------------------------ the places

    def _pod(self, end: End, way: Way, packet: Packet) -> None:
        member: Member | None = None
        try:
            member = self.policies.members.pod(end.key)
            decision = self.policies.decide(member, way, packet)
        except NotCollected as exc:
            self.points.append(Point(str(end.node), way, "normal", member, packet, "unknown", exc.reason))
            return
        self.points.append(Point(str(end.node), way, "normal", member, packet, decision.action, decision.why, decision))

    def _host(self, node: str, way: Way, packet: Packet, chain: Chain, device: str | None) -> bool:
        """What a node's HostEndpoint says in one chain; whether a policy of it accepts the packet. device: a tunnel's, None for the NIC."""
        local = self.source.kind == "node" and self.source.node == node and way == "egress"
        member: Member | None = None
        try:
            member = host_endpoint(self.policies.members, node, device or nic(self.cluster, node, self.packet.version))
            if member is None:
                return False
            if chain != "forward" and failsafe(self.cluster, node, way, packet):
                self.points.append(Point(node, way, chain, member, packet, "allow", "a failsafe port is always open"))
                return False
            decision = self.policies.decide(member, way, packet, chain)
        except NotCollected as exc:
            self.points.append(Point(node, way, chain, member, packet, "unknown", exc.reason, local=local))
            return False
        self.points.append(Point(node, way, chain, member, packet, decision.action, decision.why, decision, local=local))
        return decision.action == "allow"

    def _answer(self, node: str, way: Way, packet: Packet, device: str | None) -> None:
        """The answer of an untracked packet is no part of a connection: it needs a rule of its own."""
        back: Way = "egress" if way == "ingress" else "ingress"
        answer = Packet(packet.protocol, packet.dst, packet.src or "", packet.sport, packet.dport, icmp_type={8: 0, 128: 129}.get(packet.icmp_type or -1),
                        icmp_code=packet.icmp_code, client="destination")  # fmt: skip
        if self._host(node, back, answer, "untracked", device):
            return
        if packet.protocol == "UDP":
            self._host(node, back, answer, "normal", device)
        else:
            why = "the answer of an untracked packet belongs to no connection, and no untracked policy allows it"
            self.points.append(Point(node, back, "untracked", self.points[-1].member, answer, "deny", why, self.points[-1].decision))
