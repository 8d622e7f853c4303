# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what is asked, resolved to endpoints, and which nodes it is about.

from __future__ import annotations

import difflib
import hashlib
import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ._cluster import Cluster, Node, Pod
from ._flannel import BRIDGE, bridged
from ._json import FAMILIES, Json, NotCollected, family_of, in_family, parse_address

PROTOCOLS = ("tcp", "udp", "icmp")


class BadQuestion(Exception):
    """The question cannot be asked like that; the text is one sentence that names the object and the next step."""


@dataclass(frozen=True)
class Endpoint:
    asked: str
    kind: t.Literal["pod", "node", "address", "service"]
    address: str
    node: str | None = None
    namespace: str = ""
    name: str = ""
    uid: str = ""
    ifname: str = ""

    @property
    def label(self) -> str:
        if self.kind == "service":
            return f"svc {self.namespace}/{self.name}" + (f" on node/{self.node}" if self.node else "")
        if self.kind == "pod":
            return f"{self.namespace}/{self.name}"
        return f"node/{self.name}" if self.kind == "node" else self.address

    def to_json(self) -> dict[str, Json]:
        fields = {"asked": self.asked, "kind": self.kind, "address": self.address, "node": self.node}
        for key in ("namespace", "name", "uid", "ifname"):
            if getattr(self, key):
                fields[key] = getattr(self, key)
        return fields

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Endpoint:
        return cls(**{key: raw[key] for key in cls.__dataclass_fields__ if key in raw})


@dataclass(frozen=True)
class Asked:
    """The Service that a question is about. notes: what of it decides who answers, one sentence each. left_out: ready endpoints whose way is not looked at."""

    key: str  # namespace/name
    headless: bool = False
    notes: tuple[str, ...] = ()
    left_out: int = 0
    dns: bool = False  # it is DNS that is asked for
    name: str = ""  # what DNS is asked for, beside the cluster's own

    def to_json(self) -> dict[str, Json]:
        shape: dict[str, Json] = {"key": self.key, "headless": self.headless, "notes": list(self.notes), "left_out": self.left_out}
        return {**shape, "dns": True, "name": self.name} if self.dns else shape

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Asked:
        notes = tuple(str(note) for note in raw["notes"])
        return cls(str(raw["key"]), bool(raw["headless"]), notes, int(raw["left_out"]), bool(raw.get("dns")), str(raw.get("name") or ""))


@dataclass(frozen=True)
class Question:
    """ways: of a question about a Service, one endpoint each. entry: of one about a node's port, the way to that node, where the other ways begin."""

    source: Endpoint
    destination: Endpoint
    protocol: str = "tcp"
    port: int | None = None
    asked: Asked | None = None
    ways: tuple[Question, ...] = ()
    entry: Question | None = None
    flow: str = ""  # a connection that is there already

    @property
    def pairs(self) -> tuple[Question, ...]:
        """What is walked hop by hop: the ways to the endpoints of a Service, else the question itself."""
        return (*([self.entry] if self.entry is not None else ()), *self.ways) or (self,)

    @property
    def lead(self) -> Question:
        """The pair between which marked packets are sent."""
        return self.pairs[0]

    @property
    def translator(self) -> str:
        """Of a question about a Service: the node whose rules translate its address."""
        return str(self.destination.node or self.source.node)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on the path, in its order, each once."""
        return tuple(dict.fromkeys(node for pair in self.pairs for node in (pair.source.node, pair.destination.node) if node))

    @property
    def same_node(self) -> bool:
        return self.source.node is not None and self.source.node == self.destination.node

    @property
    def service(self) -> str:
        return self.protocol if self.port is None else f"{self.protocol}/{self.port}"

    def to_json(self) -> dict[str, Json]:
        return {
            "source": self.source.to_json(),
            "destination": self.destination.to_json(),
            "protocol": self.protocol,
            "port": self.port,
            **({"service": self.asked.to_json()} if self.asked is not None else {}),
            **({"ways": [{"destination": way.destination.to_json(), "port": way.port} for way in self.ways]} if self.ways else {}),
            **({"entry": self.entry.destination.to_json()} if self.entry is not None else {}),
            **({"flow": self.flow} if self.flow else {}),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> Question:
        source, asked = Endpoint.from_json(raw["source"]), Asked.from_json(raw["service"]) if raw.get("service") else None
        entry = cls(source, Endpoint.from_json(raw["entry"]), "icmp") if raw.get("entry") else None
        start = entry.destination if entry is not None else source
        ways = tuple(cls(start, Endpoint.from_json(way["destination"]), raw["protocol"], way["port"]) for way in raw.get("ways") or ())
        return cls(source, Endpoint.from_json(raw["destination"]), raw["protocol"], raw["port"], asked, ways, entry, str(raw.get("flow") or ""))


NOBODY = Endpoint("", "address", "0.0.0.0")
PART = 400  # nodes of a large audit that are judged at a time
SAMPLES = 3  # other nodes that each node of an audit sends an echo to
AUDIT = Question(NOBODY, NOBODY, "icmp")  # the whole cluster, and no pair in it


@dataclass(frozen=True)
class Doubts:
    """Of a large audit: the pairs of nodes between which something is not plainly right, and the nodes with foreign routes inside of a prefix."""

    pairs: tuple[tuple[str, str], ...]
    aliens: Mapping[str, tuple[str, ...]]
    right: Mapping[str, Mapping[str, int]]  # node -> sessions, routes that were plainly right
    left_out: int  # pairs in doubt beyond those that are looked at one by one


@dataclass(frozen=True)
class Scope:
    """core: nodes whose every fact is judged. witnesses: nodes asked only for what they say of the core ones. everyone: the pods of an audit."""

    question: Question
    core: tuple[str, ...]
    witnesses: tuple[str, ...] = ()
    everyone: tuple[Endpoint, ...] = ()
    doubts: Doubts | None = None
    whole: Question | None = None  # of a question about a Service; `question` then is the way to one endpoint
    part_of: Scope | None = None  # of a part of a large audit: all of it

    @property
    def audit(self) -> bool:
        return self.question == AUDIT

    @cached_property
    def pods(self) -> tuple[Endpoint, ...]:
        """Those that are asked for: the question's, in an audit all."""
        ends = (end for pair in self.question.pairs for end in (pair.source, pair.destination))
        return self.everyone or tuple(e for e in dict.fromkeys(ends) if e.kind == "pod")

    @cached_property
    def labels(self) -> frozenset[str]:
        return self.part_of.labels if self.part_of is not None else frozenset(pod.label for pod in self.pods)

    def parts(self) -> Iterator[Scope]:
        """A large audit by some nodes at a time, each fact of them in one of the parts; else the scope itself."""
        if self.doubts is None:
            yield self
            return
        everyone: dict[str | None, list[Endpoint]] = {}
        for pod in self.everyone:
            everyone.setdefault(pod.node, []).append(pod)
        pairs: dict[str, list[tuple[str, str]]] = {}
        for pair in self.doubts.pairs:
            pairs.setdefault(pair[0], []).append(pair)
        for start in range(0, len(self.core), PART):
            core = self.core[start : start + PART]
            mine = tuple(pod for name in core for pod in everyone.get(name, ()))
            doubts = replace(self.doubts, pairs=tuple(pair for name in core for pair in pairs.get(name, ())))
            yield replace(self, core=core, everyone=mine, doubts=doubts, part_of=self)

    def holds(self, node: str) -> bool:
        """Whether facts of the node belong to this part; those of no node, and of nodes that no part is about, belong to each."""
        return self.part_of is None or node in self.mine or node not in self.asked

    @cached_property
    def mine(self) -> frozenset[str]:
        """The nodes of core."""
        return frozenset(self.core)

    @cached_property
    def asked(self) -> frozenset[str]:
        return self.part_of.asked if self.part_of is not None else frozenset(self.asked_nodes)

    @cached_property
    def ends(self) -> Mapping[str, Endpoint]:
        """The ends of the flows, by their labels."""
        return {end.label: end for flow in reversed(self.flows) for end in reversed(flow)}

    @cached_property
    def flows(self) -> tuple[tuple[Endpoint, Endpoint], ...]:
        """(source, destination) of the packets that are looked at: the question's both ways, in an audit from one pod of each node to some other nodes'."""
        if self.part_of is not None:
            number = self.part_of.flows_by_node
            return tuple(self.part_of.flows[place] for place in sorted({place for name in self.core for place in number.get(name, ())}))
        if not self.audit:
            return tuple(flow for pair in self.question.pairs for flow in ((pair.source, pair.destination), (pair.destination, pair.source)))
        first: dict[str | None, Endpoint] = {}
        for pod in self.everyone:
            first.setdefault(pod.node, pod)
        ring = list(first.values())
        return tuple((pod, ring[(at + step) % len(ring)]) for at, pod in enumerate(ring) for step in range(1, min(SAMPLES + 1, len(ring))))

    @cached_property
    def flows_by_node(self) -> Mapping[str | None, list[int]]:
        """The places of the flows that begin or end on a node."""
        result: dict[str | None, list[int]] = {}
        for place, flow in enumerate(self.flows):
            for end in flow:
                result.setdefault(end.node, []).append(place)
        return result

    @property
    def asked_nodes(self) -> tuple[str, ...]:
        return self.core + self.witnesses

    def pairs(self, nodes: t.Iterable[str]) -> Iterator[tuple[str, str]]:
        """(local, peer): each core node with all others, each witness with the core ones. In a large audit those in doubt."""
        if self.doubts is not None:
            known = set(nodes)
            yield from ((local, peer) for local, peer in self.doubts.pairs if peer in known)
            return
        nodes = tuple(nodes)
        for local in self.core:
            yield from ((local, peer) for peer in nodes if peer != local)
        for local in self.witnesses:
            yield from ((local, peer) for peer in self.core if peer != local)


def aliens(scope: Scope, prefix: str) -> t.Iterable[str]:
    """The asked nodes that may have a foreign route inside of the prefix."""
    return scope.asked_nodes if scope.doubts is None else scope.doubts.aliens.get(prefix, ())


def host_interface(namespace: str, name: str, prefix: str = "cali") -> str:
    """Name of the host side of a pod's veth pair.

    Source: Calico, libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go: prefix + first 11 hex digits of sha1("namespace.name").
    """
    return prefix + hashlib.sha1(f"{namespace}.{name}".encode(), usedforsecurity=False).hexdigest()[:11]


def pod_endpoint(cluster: Cluster, pod: Pod, asked: str) -> Endpoint:
    """`ifname` is the interface through which the node routes the pod's packets: the pod's own, or the bridge that it is a port of."""
    ifname = BRIDGE if bridged(cluster) else host_interface(pod.namespace, pod.name, cluster.interface_prefix)
    return Endpoint(asked, "pod", str(pod.address), pod.node, pod.namespace, pod.name, pod.uid, ifname)


def node_endpoint(node: Node, asked: str) -> Endpoint:
    address = node.internal_ip or next(iter(node.calico_addresses), None)
    if address is None:
        raise BadQuestion(f"node {node.name} has no InternalIP in the Kubernetes API; look at `kubectl get node {node.name} -o wide`")
    return Endpoint(asked, "node", address, node.name, name=node.name)


def _usable(cluster: Cluster, pod: Pod, role: str, asked: str) -> Endpoint:
    if pod.host_network:
        raise BadQuestion(
            f"{role}: pod {pod.key} uses the network of its node (hostNetwork); ask for node/{pod.node} instead"
        )
    if pod.phase in ("Succeeded", "Failed"):
        raise BadQuestion(f"{role}: pod {pod.key} has ended (phase {pod.phase}) and has no address any more; ask for a running one")
    if pod.node is None:
        raise BadQuestion(f"{role}: pod {pod.key} is not scheduled on any node yet (phase {pod.phase or 'unknown'}); see `kubectl describe pod`")
    if pod.address is None:
        raise BadQuestion(
            f"{role}: pod {pod.key} on node {pod.node} has no address yet (phase {pod.phase or 'unknown'}); "
            f"its events tell why: kubectl -n {pod.namespace} describe pod {pod.name}"
        )
    return pod_endpoint(cluster, pod, asked)


def near(wanted: str, names: t.Iterable[str]) -> str:
    close = difflib.get_close_matches(wanted, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def resolve_endpoint(cluster: Cluster, asked: str, role: str) -> Endpoint:
    """asked: `namespace/name`, `node/name` or an address. Errors: BadQuestion; NotCollected where the API could not be read."""
    asked = asked.strip()
    if not asked:
        raise BadQuestion(f"{role} is missing: give a pod (namespace/name), a node (node/name) or an address")
    address = parse_address(asked)
    if address is not None:
        return _resolve_address(cluster, str(address), role)
    kind, _slash, rest = asked.partition("/")
    if kind in ("svc", "service") and rest:
        raise BadQuestion(f"{role}: {asked} is a Service, which sends nothing itself; ask from one of the pods behind it")
    if kind == "node" and rest:
        node = cluster.nodes.get(rest)
        if node is None:
            raise BadQuestion(f"{role}: the Kubernetes API knows no node {rest}{near(rest, cluster.nodes)}")
        return node_endpoint(node, asked)
    if not rest or "/" in rest:
        raise BadQuestion(
            f"{role}: {asked!r} is neither a pod (namespace/name), nor a node (node/name), nor an address"
        )
    pod = cluster.pods.get(asked)
    if pod is None:
        raise BadQuestion(f"{role}: the Kubernetes API knows no pod {asked}{near(asked, cluster.pods)}")
    return _usable(cluster, pod, role, asked)


def _resolve_address(cluster: Cluster, address: str, role: str) -> Endpoint:
    holders = [pod for pod in cluster.workloads if address in pod.addresses]
    if len(holders) == 1:
        return replace(_usable(cluster, holders[0], role, address), address=address)
    if holders:
        names = ", ".join(pod.key for pod in holders)
        raise BadQuestion(f"{role}: {address} belongs to {len(holders)} running pods ({names}); ask for one of them by name")
    for node in cluster.nodes.values():
        if address in node.internal_ips or address in node.calico_addresses:
            return Endpoint(address, "node", address, node.name, name=node.name)
    return Endpoint(address, "address", address)


def resolve_source(cluster: Cluster, asked: str) -> Endpoint:
    """Errors: as resolve_endpoint."""
    origin = resolve_endpoint(cluster, asked, "source")
    if origin.kind == "address":
        raise BadQuestion(f"source: {origin.address} is the address of no pod and no node of this cluster; a path starts at a pod or a node")
    return origin


def resolve(cluster: Cluster, source: str, destination: str, protocol: str | None, port: Json) -> Question:
    """Errors: BadQuestion, one sentence."""
    try:
        origin = resolve_source(cluster, source)
        target = resolve_endpoint(cluster, destination, "destination")
    except NotCollected as exc:
        raise BadQuestion(f"the question cannot be resolved to pods and nodes, because the Kubernetes API did not tell them: {exc.reason}") from exc
    origin, target = one_family(cluster, origin, target)
    if origin.address == target.address:
        raise BadQuestion(f"source and destination are the same: {origin.label}")
    number = check_port(port)
    chosen = protocol or ("tcp" if number is not None else "icmp")
    if chosen not in PROTOCOLS:
        raise BadQuestion(f"protocol {chosen!r} is not one of {', '.join(PROTOCOLS)}")
    if chosen == "icmp" and number is not None:
        raise BadQuestion(f"icmp has no ports: leave out port {number}, or say protocol tcp or udp")
    return Question(origin, target, chosen, number)


def one_family(cluster: Cluster, origin: Endpoint, target: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Both ends in the family of the end that was given as an address, else in the first one that both have (IPv4 before IPv6)."""
    ends = (origin, target)
    given = [family_of(end.address) for end in ends if parse_address(end.asked) is not None]
    held = [_addresses(cluster, end) for end in ends]
    for family in given or FAMILIES:
        chosen = [in_family(addresses, family) for addresses in held]
        if all(chosen):
            return replace(origin, address=str(chosen[0])), replace(target, address=str(chosen[1]))
    names = " and ".join(f"{end.label} ({', '.join(addresses)})" for end, addresses in zip(ends, held, strict=True))
    raise BadQuestion(f"{names} have no address family in common")


def _addresses(cluster: Cluster, end: Endpoint) -> tuple[str, ...]:
    if parse_address(end.asked) is not None:
        return (end.address,)
    if end.kind == "pod":
        return cluster.pods[f"{end.namespace}/{end.name}"].addresses
    node = cluster.nodes.get(end.name)
    return tuple(dict.fromkeys((end.address, *(node.internal_ips if node else ()), *(node.calico_addresses if node else ()))))


_WITH_PORT = re.compile(r"^(?P<end>\[[0-9a-fA-F:.]+\]|[^:\s]+):(?P<port>\d+)(?:/(?P<protocol>[a-z]+))?$")


def split_service(destination: str) -> tuple[str, str | None, str | None]:
    """`shop/api-0:8080`, `10.2.7.1:53/udp` or `[2001:db8::1]:443` as (destination, port, protocol); without a port (destination, None, None)."""
    found = _WITH_PORT.match(destination.strip())
    if found is None:
        return destination.strip(), None, None
    return found["end"].strip("[]"), found["port"], found["protocol"]


def check_port(port: Json) -> int | None:
    if port is None or port == "":
        return None
    try:
        number = int(str(port))
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise BadQuestion(f"port {port!r} is not a number from 1 to 65535")
    return number
