# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: one flow through the packet filters of all nodes on its way, the request and its answer, as the nodes' own rules have it.

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ._fib import Fib
from ._json import Json, NotCollected, as_mapping
from ._netfilter_hooks import Connection, Filters, Host, Stop
from ._netfilter_rules import (
    ASSURED,
    CONFIRMED,
    DST_NAT_DONE,
    ICMP,
    ICMPV6,
    PROTOCOLS,
    REJECT,
    SEEN_REPLY,
    SRC_NAT_DONE,
    TCP,
    Packet,
    Run,
    Step,
    Unknown,
    every_way,
)

if t.TYPE_CHECKING:
    from ._documents import NodeFacts
    from ._question import Question

Verdict = t.Literal["works", "timeout", "refused", "eperm", "unknown"]
MOST_NODES = 8  # that a packet is followed through, to and fro
ECHO = {"inet": (ICMP, 8, 0), "inet6": (ICMPV6, 128, 129)}
CALLED = {"inet": "nf-call-iptables", "inet6": "nf-call-ip6tables"}
TUNNELS = ("ipip", "ip6tnl", "sit", "vxlan")
KNOWN = SEEN_REPLY | ASSURED | CONFIRMED | SRC_NAT_DONE | DST_NAT_DONE  # of a connection that both ends have seen


@dataclass(frozen=True)
class Flow:
    """What is asked. node: where the source is, None outside of the cluster. host: the source is the node itself. port: None for an echo."""

    protocol: t.Literal["tcp", "udp", "sctp", "icmp"]
    src: str
    dst: str
    port: int | None = None
    node: str | None = None
    host: bool = False


def walk_question(facts: t.Iterable[NodeFacts], question: Question) -> Walked:
    """The asked flow through the filters of the nodes that were asked. Errors: NotCollected."""
    return Walks(facts).walk(flow_of(question))


def flow_of(question: Question) -> Flow:
    """Errors: NotCollected."""
    if question.protocol != "icmp" and question.port is None:
        raise NotCollected(f"which {question.protocol} port is asked for is not said, so no rule can be held against it")
    source = question.source
    return Flow(t.cast("t.Any", question.protocol), source.address, question.destination.address, question.port, source.node, source.kind == "node")


@dataclass(frozen=True)
class Way:
    """One way that a flow may take. phase: which packet ended, or the last one: request, answer, next request, next answer."""

    verdict: Verdict
    phase: str
    reason: str
    steps: tuple[Step, ...]
    ends_at: str | None = None  # the node where it was stopped
    filtered: bool = False  # a packet filter stopped it
    passed: tuple[tuple[str, str], ...] = ()  # (phase, node) of each node whose filters let the packet through
    doubts: tuple[str, ...] = ()
    backend: tuple[str, int | None] | None = None  # where the request arrived
    packet: Packet | None = None  # as it was seen last


@dataclass(frozen=True)
class Walked:
    """verdict: what every way has in common; unknown if they differ, or if it cannot be told."""

    verdict: Verdict
    reason: str
    ways: tuple[Way, ...]

    @property
    def way(self) -> Way | None:
        """The way that tells most: the first that has the verdict."""
        return next((way for way in self.ways if way.verdict == self.verdict), self.ways[0] if self.ways else None)


@dataclass(frozen=True)
class End:
    """Where a packet arrived: a pod behind a device of a node, the node itself (device: None), or nobody that is known (node: None)."""

    node: str | None
    device: str | None
    packet: Packet


@dataclass
class NodeRules:
    """What of one node a walk needs, made once from its document."""

    name: str
    fib: Fib
    addresses: Mapping[str, str]
    tunnels: frozenset[str]
    bridges: frozenset[str]  # whose ports all lead to pods
    filters: t.Callable[[str], Filters]  # of a family. Errors: NotCollected
    sees_bridged: t.Callable[[str, str], bool]  # whether the filters of a family see what a bridge delivers by itself. Errors: NotCollected

    @classmethod
    def of(cls, facts: NodeFacts) -> NodeRules:
        """Errors: NotCollected."""
        addresses = {str(a.get("local")): str(a.get("ifname")) for a in facts.addresses}
        kinds = {name: as_mapping(link.get("linkinfo")).get("info_kind") for name, link in facts.links.items()}
        tunnels = frozenset(name for name, kind in kinds.items() if kind in TUNNELS or name == "tunl0")
        return cls(facts.name, facts.fib, addresses, tunnels, _pod_bridges(facts.links), facts.filters,
                   lambda family, bridge: _br_netfilter(facts, family, bridge))  # fmt: skip


def _br_netfilter(facts: NodeFacts, family: str, bridge: str) -> bool:
    """The setting of all bridges, or the bridge's own. Without the module br_netfilter there is none."""
    words = CALLED[family]
    own = as_mapping(as_mapping(facts.links.get(bridge, {}).get("linkinfo")).get("info_data")).get(words.replace("-", "_"))
    return as_mapping(facts.section("sysctls")).get(f"net/bridge/bridge-{words}") == "1" or own == 1


def _pod_bridges(links: Mapping[str, Mapping[str, Json]]) -> frozenset[str]:
    def kind(link: Mapping[str, Json]) -> str:
        return str(as_mapping(link.get("linkinfo")).get("info_kind"))

    ports: dict[str, set[str]] = {}
    for link in links.values():
        if link.get("master"):
            ports.setdefault(str(link["master"]), set()).add(kind(link))
    return frozenset(name for name, link in links.items() if kind(link) == "bridge" and ports.get(name, set()) <= {"veth"})


class Walks:
    """All nodes whose documents are there, and the flows through them."""

    def __init__(self, facts: t.Iterable[NodeFacts]) -> None:
        self.nodes: dict[str, NodeRules] = {}
        self.unread: dict[str, str] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        for one in facts:
            try:
                self.nodes[one.name] = NodeRules.of(one)
            except NotCollected as exc:
                self.unread[one.name] = exc.reason
        for node in self.nodes.values():
            for address, device in node.addresses.items():
                if address not in ("127.0.0.1", "::1"):
                    self._owners.setdefault(address, (node.name, device))

    def walk(self, flow: Flow, established: bool = False) -> Walked:
        """What becomes of a flow; established: of one that every node on its way knows already."""
        ways: list[Way] = []
        try:
            for _run, way in every_way(lambda run: _Walk(self, flow, run, established).all()):
                ways.append(way)
        except Unknown as exc:
            return Walked("unknown", str(exc), tuple(ways))
        verdicts = {way.verdict for way in ways}
        if len(verdicts) == 1:
            return Walked(ways[0].verdict, ways[0].reason, tuple(ways))
        doubt = next((doubt for way in ways for doubt in way.doubts), None)
        unknown = next((way.reason for way in ways if way.verdict == "unknown"), None)
        mixed = f"it cannot be told whether the packet matches: {doubt}" if doubt else "some ways work, others do not"
        return Walked("unknown", unknown or mixed, tuple(ways))

    def translated(self, flow: Flow, at: str) -> set[tuple[str, int | None]]:
        """Where the rules of a node send the request: an address and a port for each way that they let it go. Errors: Unknown, NotCollected."""
        found = (end for _run, end in every_way(lambda run: _Walk(self, flow, run, established=False).translated(at)))
        return {end for end in found if end is not None}

    def leaving(self, flow: Flow) -> set[str]:
        """The addresses from which the request leaves the source's own node, one for each way on which it does."""
        found = (source for _run, source in every_way(lambda run: _Walk(self, flow, run, established=False).leaving()))
        return {source for source in found if source is not None}

    def owner(self, address: str) -> tuple[str, str] | None:
        """The node and the device that have an address."""
        return self._owners.get(address)

    def home(self, address: str) -> tuple[str, str] | None:
        """The node that has a pod with this address, and the host's device to it."""
        for node in self.nodes.values():
            route = node.fib.route_to(address)
            if route.get("type") == "unicast" and not route.get("gateway") and address not in node.addresses:
                whole = str(as_mapping(route.get("match")).get("dst")).endswith(("/32", "/128"))
                if whole or route.get("dev") in node.bridges:
                    return node.name, str(route.get("dev"))
        return None


class _Walk:
    """One way of one flow."""

    def __init__(self, walks: Walks, flow: Flow, run: Run, established: bool) -> None:
        self.walks = walks
        self.flow = flow
        self.run = run
        self.hosts: dict[str, Host] = {}
        self.established = established
        self.phase = "request"
        self.passed: list[tuple[str, str]] = []
        self.packet: Packet | None = None
        self.left: str | None = None  # the request's source where it left the source's node
        self.family = "inet6" if ":" in flow.dst else "inet"

    def all(self) -> Way:
        arrived: End | None = None
        try:
            arrived = self._send_request(first=True)
            for phase in ("answer", "next request", "next answer") if self.flow.protocol == "tcp" else ("answer",):
                self.phase = phase
                if phase == "next request":
                    self._send_request(first=False)
                else:
                    self._answer(arrived, first=phase == "answer")
        except Stop as stop:
            return self._way(self._felt(stop, self.phase), f"{self.run.node}: {self.run.steps[-1].line}", arrived, filtered=True)
        except _Lost as lost:
            return self._way("timeout", str(lost), arrived)
        except Unknown as exc:
            return self._way("unknown", str(exc), arrived)
        except NotCollected as exc:
            return self._way("unknown", exc.reason, arrived)
        return self._way("works", "", arrived)

    def translated(self, at: str) -> tuple[str, int | None] | None:
        """The destination after the first hook of a node; None where it ends there."""
        flow = self.flow
        host, packet = self._host(at), self._packet(True)
        own = flow.host and flow.node == at
        if not own:
            packet.iif = str(self._node(at).fib.route_to(flow.src).get("dev"))
        try:
            host.hook("output" if own else "prerouting", packet, self.run)
        except Stop:
            return None
        return packet.dst, packet.dport

    def leaving(self) -> str | None:
        with contextlib.suppress(Stop, _Lost, Unknown, NotCollected):  # beyond the node it may go anywhere
            self._send_request(first=True)
        return self.left

    def _way(self, verdict: Verdict, reason: str, arrived: End | None, filtered: bool = False) -> Way:
        backend = (arrived.packet.dst, arrived.packet.dport) if arrived is not None else None
        run = self.run
        return Way(verdict, self.phase, reason, tuple(run.steps), run.node or None, filtered, tuple(self.passed), tuple(run.doubts), backend, self.packet)

    def _felt(self, stop: Stop, phase: str) -> Verdict:
        """What the asking program sees of a packet that was stopped."""
        if "answer" in phase:
            return "timeout"
        if stop.verdict == REJECT:
            return "refused"
        own = self.flow.host and self.run.node == self.flow.node and self._at_output
        return "eperm" if own and self.flow.protocol != "tcp" else "timeout"

    @property
    def _at_output(self) -> bool:
        return bool(self.run.steps) and self.run.steps[-1].base.hook in ("output", "postrouting")

    # -------------------------------------------------------------- the ends

    def _packet(self, first: bool) -> Packet:
        flow = self.flow
        if flow.protocol == "icmp":
            number, request, _answer = ECHO[self.family]
            return Packet(number, self._source(), flow.dst, icmp=(request, 0))
        flags = frozenset({"SYN"} if first else {"ACK"}) if flow.protocol == "tcp" else frozenset()
        return Packet(PROTOCOLS[flow.protocol], self._source(), flow.dst, None, flow.port, flags=flags)

    def _source(self) -> str:
        """A node that sends through a tunnel takes the tunnel's address."""
        if not self.flow.host or self.flow.node is None:
            return self.flow.src
        node = self._node(self.flow.node)
        device = node.fib.route_to(self.flow.dst).get("dev")
        own = [text for text, held in node.addresses.items() if held == device and (":" in text) == (self.family == "inet6")]
        return own[0] if device in node.tunnels and own else self.flow.src

    def _send_request(self, first: bool) -> End:
        flow = self.flow
        packet = self._packet(first)
        if flow.host and flow.node is not None:
            return self._from_node(flow.node, packet)
        if flow.node is not None:
            route = self._node(flow.node).fib.route_to(flow.src)
            return self._into(flow.node, str(route.get("dev")), packet)
        return self._from_outside(packet)

    def _answer(self, arrived: End, first: bool) -> None:
        asked = arrived.packet
        flags = frozenset({"SYN", "ACK"} if first else {"ACK"}) if asked.protocol == TCP else frozenset()
        icmp = None if asked.icmp is None else (ECHO[self.family][2], 0)
        packet = Packet(asked.protocol, asked.dst, asked.src, asked.dport, asked.sport, icmp, flags)
        if arrived.node is None:
            end = self._from_outside(packet)
        elif arrived.device is None:
            end = self._from_node(arrived.node, packet)
        else:
            end = self._into(arrived.node, arrived.device, packet)
        got, source = end.packet, self._source()
        if (got.src, got.dst) != (self.flow.dst, source) or (self.flow.port is not None and got.sport != self.flow.port):
            raise _Lost(f"the answer comes from {got.src} to {got.dst}, not from {self.flow.dst} to {source}")

    def _from_outside(self, packet: Packet) -> End:
        """From a machine that is no node: to the node that has the address, or that has the pod."""
        found = self.walks.owner(packet.dst)
        if found is None:
            home = self.walks.home(packet.dst)
            if home is None:
                raise Unknown(f"no node that was asked has {packet.dst}")
            node = self._node(home[0])
            found = (home[0], str(node.fib.route_to(packet.src).get("dev")))
        return self._into(found[0], found[1], packet)

    # -------------------------------------------------------------- through the nodes

    def _node(self, name: str) -> NodeRules:
        if name not in self.walks.nodes:
            raise Unknown(f"{name}: {self.walks.unread.get(name, 'not asked')}")
        return self.walks.nodes[name]

    def _host(self, name: str) -> Host:
        if name not in self.hosts:
            self.hosts[name] = Host(name, self._node(name).filters(self.family))
            if self.established:
                first, answer = self._packet(True), replace(self._packet(True))
                original = (first.protocol, first.src, first.sport, first.dst, first.dport)
                reply = (answer.protocol, answer.dst, answer.dport, answer.src, answer.sport)
                self.hosts[name].connections.append(Connection(original, reply, KNOWN))
        return self.hosts[name]

    def _into(self, name: str, device: str, packet: Packet, depth: int = 0) -> End:
        """A packet that a node receives."""
        if depth > MOST_NODES:
            raise _Lost("the packet goes in a circle")
        host, node = self._host(name), self._node(name)
        arrived = self.packet = replace(packet, iif=device, oif="", mark=0, status=None, connection=None, untracked=False)
        if self._stays_on_bridge(node, device, arrived) and not self._sees_bridged(node, device):
            self.passed.append((self.phase, name))
            return End(name, device, arrived)
        host.hook("ingress", arrived, self.run)
        host.hook("prerouting", arrived, self.run)
        route = node.fib.route_to(arrived.dst, arrived.src, device, arrived.mark or 0)
        if route.get("type") == "local" or arrived.dst in node.addresses:
            host.hook("input", arrived, self.run)
            self.passed.append((self.phase, name))
            return End(name, None, arrived)
        self._refuse(name, route)
        arrived.oif = str(route.get("dev"))
        host.hook("forward", arrived, self.run)
        return self._leave(host, route, arrived, depth)

    def _stays_on_bridge(self, node: NodeRules, device: str, packet: Packet) -> bool:
        """From one port of a bridge to another: the sender has the receiver's own MAC, so the node routes nothing."""
        return device in node.bridges and self.walks.home(packet.dst) == (node.name, device)

    def _sees_bridged(self, node: NodeRules, device: str) -> bool:
        try:
            return node.sees_bridged(self.family, device)
        except NotCollected as exc:
            raise Unknown(f"{device} on {node.name} delivers by itself, and whether the filters see that is not known: {exc.reason}") from exc

    def _from_node(self, name: str, packet: Packet) -> End:
        """A packet that a node sends itself."""
        host, node = self._host(name), self._node(name)
        sent = self.packet = replace(packet, iif="", oif="", mark=0, status=None, connection=None, untracked=False)
        route = node.fib.route_to(sent.dst, sent.src)
        self._refuse(name, route)
        sent.oif = str(route.get("dev"))
        asked = (sent.dst, sent.mark)
        host.hook("output", sent, self.run)  # its chains see the device of the first look-up, also after a translation (struct nf_hook_state)
        if (sent.dst, sent.mark) != asked:
            route = node.fib.route_to(sent.dst, sent.src, None, sent.mark or 0)
            self._refuse(name, route)
        sent.oif = str(route.get("dev"))
        if route.get("type") == "local":
            return self._to_itself(host, sent)
        return self._leave(host, route, sent, 0)

    def _to_itself(self, host: Host, packet: Packet) -> End:
        """Over lo, where what is tracked already is not looked up again."""
        packet.oif = "lo"
        host.hook("postrouting", packet, self.run)
        packet.iif, packet.oif = "lo", ""
        host.hook("prerouting", packet, self.run)
        host.hook("input", packet, self.run)
        self.passed.append((self.phase, host.name))
        return End(host.name, None, packet)

    def _refuse(self, name: str, route: Mapping[str, Json]) -> None:
        if "error" in route:
            raise _Lost(f"{name} has no route to {route.get('dst')}: {route['error']}")

    def _leave(self, host: Host, route: Mapping[str, Json], packet: Packet, depth: int) -> End:
        host.hook("postrouting", packet, self.run)
        self.passed.append((self.phase, host.name))
        if host.name == self.flow.node and self.left is None:
            self.left = packet.src
        device, gateway = str(route.get("dev")), route.get("gateway")
        found = self.walks.owner(str(gateway) if gateway else packet.dst)
        if found is not None and found[0] != host.name:
            name = found[0]
            receiver = self._node(name)
            entry = device if device in self._node(host.name).tunnels and device in receiver.tunnels else found[1]
            return self._into(name, entry, packet, depth + 1)
        if not gateway:
            return End(host.name, device, packet) if self.walks.home(packet.dst) == (host.name, device) else End(None, None, packet)
        raise Unknown(f"{host.name} sends it to {gateway}, which is no node that was asked")


class _Lost(Exception):
    """The packet goes nowhere, and no filter is to blame."""
