# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a question about a Service, resolved to the ways to its endpoints.

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import _question
from ._cluster import Cluster, Pod
from ._json import Json, NotCollected, as_list, as_mapping, family_of, in_family, objects, parse_address
from ._policy_members import endpoint_slices, protocol_name
from ._policy_rules import Packet
from ._policy_services import Backend, ServicePort, of_node_port, resolve_service
from ._question import Asked, BadQuestion, Endpoint, Question, pod_endpoint, resolve_endpoint, resolve_source

MOST_WAYS = 5  # endpoints whose way is looked at
DNS_PORT = 53
_NAME = r"(?=.*[A-Za-z])[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?"
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAMED = (
    re.compile(rf"^(?:svc|service)/(?P<namespace>{_LABEL})/(?P<name>{_LABEL})(?::(?P<port>[a-z0-9-]+))?$"),
    re.compile(rf"^(?P<name>{_LABEL})\.(?P<namespace>{_LABEL})\.svc(?:\.[a-z0-9.-]+)?(?::(?P<port>[a-z0-9-]+))?$"),
)


def service_named(destination: str) -> tuple[str, str] | None:
    """(`namespace/name`, name of the port or "") of `svc/namespace/name` and `name.namespace.svc[.cluster.local]`; None if it is neither."""
    found = next((match for pattern in _NAMED if (match := pattern.match(destination.strip()))), None)
    return (f"{found['namespace']}/{found['name']}", found["port"] or "") if found is not None else None


def services(cluster: Cluster) -> Mapping[str, Mapping[str, Json]]:
    """By `namespace/name`. Errors: NotCollected."""
    return cluster.once("services by name", lambda: {_key(raw): raw for raw in cluster.section("services")})


def _key(raw: Mapping[str, Json]) -> str:
    metadata = as_mapping(raw.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def addresses_of(raw: Mapping[str, Json]) -> tuple[str, ...]:
    """The ClusterIPs of a Service; none of a headless one."""
    spec = as_mapping(raw.get("spec"))
    return tuple(dict.fromkeys(str(address) for address in (spec.get("clusterIP"), *as_list(spec.get("clusterIPs"))) if parse_address(address)))


def resolve(cluster: Cluster, source: str, destination: str, protocol: str | None, port: Json) -> Question:
    """As _question.resolve, and what names a Service. Errors: BadQuestion, one sentence."""
    named, name = service_named(destination), dns_name(destination)
    address = str(parse_address(destination.strip()) or "")
    try:
        if named is None and address:
            key = next((key for key, raw in services(cluster).items() if address in addresses_of(raw)), None)
            named = (key, "") if key is not None else None
        if named is None and name:
            return _about_name(cluster, source, destination.strip(), name, protocol, port)
        if named is None:
            held = _node_port(cluster, destination, protocol, _question.check_port(port))
            return _about_node_port(cluster, source, held) if held is not None else _question.resolve(cluster, source, destination, protocol, port)
        return _about(cluster, source, destination.strip(), named, protocol, port)
    except NotCollected as exc:
        if name:
            raise BadQuestion(f"DNS cannot be asked for {name}, because the Kubernetes API did not tell: {exc.reason}") from exc
        if named is None:  # an address that may or may not be a Service's: the ways of a plain one
            return _question.resolve(cluster, source, destination, protocol, port)
        raise BadQuestion(f"the Service {named[0]} cannot be resolved, because the Kubernetes API did not tell: {exc.reason}") from exc


def dns_name(destination: str) -> str:
    """The name in `dns/name`, or a plain name with a dot, which is no address and no Service; else ""."""
    kind, _slash, name = destination.strip().partition("/")
    if kind == "dns" and re.fullmatch(_NAME, name):
        return name
    return kind if not name and "." in kind.strip(".") and re.fullmatch(_NAME, kind) and parse_address(kind) is None and service_named(kind) is None else ""


def _about_name(cluster: Cluster, source: str, asked: str, name: str, protocol: str | None, port: Json) -> Question:
    """A question about the cluster's DNS."""
    if port not in (None, "", 53, "53"):
        raise BadQuestion(f"destination: {name} is a name that DNS is asked for, and DNS has port 53; ask for the address of {name} to go to port {port}")
    found = [key for key, raw in services(cluster).items() if _is_dns(raw)]
    if not found:
        raise BadQuestion("destination: the Kubernetes API knows no Service with the label k8s-app=kube-dns, so it is not told whom pods ask for names")
    question = _about(cluster, source, asked, (found[0], ""), protocol or "udp", 53)
    return replace(question, asked=replace(t.cast("Asked", question.asked), dns=True, name=name))


def _is_dns(raw: Mapping[str, Json]) -> bool:
    return as_mapping(as_mapping(raw.get("metadata")).get("labels")).get("k8s-app") == "kube-dns"


def _about(cluster: Cluster, source: str, asked: str, named: tuple[str, str], protocol: str | None, port: Json) -> Question:
    key, port_name = named
    raw = services(cluster).get(key)
    if raw is None:
        raise BadQuestion(f"destination: the Kubernetes API knows no Service {key}{_question.near(key, services(cluster))}")
    spec = as_mapping(raw.get("spec"))
    if spec.get("type") == "ExternalName":
        raise BadQuestion(f"destination: Service {key} is an ExternalName: DNS answers with {spec.get('externalName')}; ask for an address of it")
    origin = resolve_source(cluster, source)
    entry = _port(key, raw, protocol, _question.check_port(port), port_name)
    chosen, number = str(entry.get("protocol") or "TCP").lower(), int(entry["port"])
    given = str(parse_address(asked) or "")
    held = (given,) if given else addresses_of(raw)
    own = cluster.pods[f"{origin.namespace}/{origin.name}"].addresses if origin.kind == "pod" else cluster.node(origin.name).known_addresses
    common = next((text for text in held if in_family(own, family_of(text))), held[0] if held else "")
    if common:
        origin = replace(origin, address=in_family(own, family_of(common)) or origin.address)
    namespace, _slash, name = key.partition("/")
    service = Endpoint(asked, "service", common or origin.address, None, namespace, name)
    backends = usable_backends(cluster, key, entry, common, chosen, origin)
    sampled = _sample(backends, origin.node)
    ways = _ways(cluster, origin, chosen, sampled)
    notes = _notes(cluster, key, raw, len(backends) - len(sampled))
    about = Asked(key, not common, tuple(notes), len(backends) - len(sampled), dns=_is_dns(raw) and number == DNS_PORT)
    return Question(origin, service, chosen, number, about, ways)


def _ways(cluster: Cluster, start: Endpoint, protocol: str, backends: Sequence[Backend]) -> tuple[Question, ...]:
    """One for each endpoint; one to the start itself only where there is no other."""
    ways = tuple(Question(start, _end(cluster, backend), protocol, backend.port) for backend in backends)
    return tuple(way for way in ways if way.destination.address != start.address) or ways


class _NodePort(t.NamedTuple):
    node: Endpoint
    protocol: str
    port: int
    raw: Mapping[str, Json]


def _node_port(cluster: Cluster, destination: str, protocol: str | None, port: int | None) -> _NodePort | None:
    """What a node and a port of it are, if that is a Service's NodePort. Errors: NotCollected; BadQuestion."""
    if port is None or protocol == "icmp":
        return None
    chosen, held = next(((one, found) for one in ([protocol] if protocol else ["tcp", "udp"]) if (found := of_node_port(cluster, one, port))), ("", None))
    if held is None:
        return None
    node = resolve_endpoint(cluster, destination, "destination")
    return _NodePort(node, chosen, port, held[0]) if node.kind == "node" else None


def _about_node_port(cluster: Cluster, source: str, held: _NodePort) -> Question:
    key = _key(held.raw)
    origin, node = _question.one_family(cluster, resolve_source(cluster, source), held.node)
    found = service_port(cluster, node.address, held.protocol, held.port, origin)
    backends = found.backends(origin.node) if found is not None else ()
    sampled = _sample(backends, node.node)
    inside = origin.node == node.node
    ways = _ways(cluster, origin if inside else node, held.protocol, sampled)
    about = Asked(key, False, tuple(_notes(cluster, key, held.raw, len(backends) - len(sampled))), len(backends) - len(sampled))
    service = replace(node, kind="service", namespace=key.partition("/")[0], name=key.partition("/")[2])
    return Question(origin, service, held.protocol, held.port, about, ways, None if inside else Question(origin, node, "icmp"))


def port_entry(raw: Mapping[str, Json], whole: Question) -> Mapping[str, Json]:
    """The port of a Service that a question resolved to."""
    number = "nodePort" if whole.destination.node else "port"
    ports = objects(as_mapping(raw.get("spec")).get("ports"))
    return next((entry for entry in ports if (str(entry.get("protocol") or "TCP").lower(), entry.get(number)) == (whole.protocol, whole.port)), {})


def usable_backends(cluster: Cluster, key: str, entry: Mapping[str, Json], address: str, protocol: str, origin: Endpoint) -> tuple[Backend, ...]:
    """The ready endpoints that kube-proxy on the source's node chooses from; of a headless Service all ready ones. Errors: NotCollected."""
    if address:
        found = service_port(cluster, address, protocol, int(entry["port"]), origin)
        return found.backends(origin.node) if found is not None else ()
    name = entry.get("name") or ""
    ready = []
    for piece in endpoint_slices(cluster, key):
        numbers = [one.get("port") for one in objects(piece.get("ports")) if (one.get("name") or "") == name]
        for endpoint in objects(piece.get("endpoints")):
            if as_mapping(endpoint.get("conditions")).get("ready") is not False:
                texts = [str(text) for text in as_list(endpoint.get("addresses"))[:1] if family_of(str(text)) == family_of(origin.address)]
                ready += [Backend(text, number, endpoint.get("nodeName")) for text in texts for number in numbers if isinstance(number, int)]
    return tuple(ready)


def service_port(cluster: Cluster, address: str, protocol: str, port: int, origin: Endpoint) -> ServicePort | None:
    return resolve_service(cluster, Packet(protocol_name(protocol.upper()), origin.address, address, port))


def _port(key: str, raw: Mapping[str, Json], protocol: str | None, number: int | None, name: str) -> Mapping[str, Json]:
    ports = [entry for entry in objects(as_mapping(raw.get("spec")).get("ports")) if isinstance(entry.get("port"), int)]
    served = ", ".join(f"{str(e.get('protocol') or 'TCP').lower()}/{e['port']}" + (f" ({e['name']})" if e.get("name") else "") for e in ports)
    if name.isdecimal():
        number, name = int(name), ""
    fits = [entry for entry in ports if number in (None, entry["port"]) and name in ("", entry.get("name"))]
    fits = [entry for entry in fits if protocol in (None, str(entry.get("protocol") or "TCP").lower())]
    if not fits or (len(fits) > 1 and number is None and not name and len({entry["port"] for entry in fits}) > 1):
        told = f"destination: which port of Service {key} is asked for is not said" if fits else f"destination: Service {key} has no such port"
        raise BadQuestion(f"{told}; it has {served or 'none'}, such as svc/{key}:{ports[0]['port'] if ports else 80}")
    return fits[0]


def _sample(backends: Sequence[Backend], local: str | None) -> list[Backend]:
    """Some of many, of different nodes before several of one, the source's own among them. Another node's come first: more is on the way to them."""
    if len(backends) <= MOST_WAYS:
        return sorted(backends, key=lambda backend: (backend.node == local, backend.address, backend.port))
    turn: dict[str | None, int] = {}
    placed = []
    for backend in sorted(backends, key=lambda backend: (backend.node != local, backend.address, backend.port)):
        turn[backend.node] = turn.get(backend.node, -1) + 1
        placed.append((turn[backend.node], backend))
    chosen = [backend for _turn, backend in sorted(placed, key=lambda item: item[0])[:MOST_WAYS]]
    return sorted(chosen, key=lambda backend: backend.node == local)


def _end(cluster: Cluster, backend: Backend) -> Endpoint:
    holders = cluster.pods_at(backend.address)
    if len(holders) > 1:
        holders = [pod for pod in holders if pod.node == backend.node] or holders
    if holders:
        return replace(pod_endpoint(cluster, holders[0], backend.address), address=backend.address)
    node = next((node for node in cluster.nodes.values() if backend.address in node.known_addresses), None)
    return Endpoint(backend.address, "node" if node else "address", backend.address, node.name if node else None, name=node.name if node else "")


def pods_selected(cluster: Cluster, key: str) -> list[Pod]:
    """The pods that a Service's selector means; none where it has no selector. Errors: NotCollected."""
    raw = services(cluster).get(key) or {}
    selector = as_mapping(as_mapping(raw.get("spec")).get("selector"))
    namespace = key.partition("/")[0]
    if not selector:
        return []
    return [pod for pod in cluster.pods.values() if pod.namespace == namespace and all(pod.labels.get(str(k)) == v for k, v in selector.items())]


def _notes(cluster: Cluster, key: str, raw: Mapping[str, Json], left_out: int) -> t.Iterator[str]:
    spec = as_mapping(raw.get("spec"))
    if left_out:
        yield f"{left_out} more ready endpoints were not looked at one by one"
    if not addresses_of(raw):
        yield "the Service is headless: DNS answers with the endpoints' own addresses, and nothing is translated"
    if spec.get("sessionAffinity") == "ClientIP":
        yield "session affinity: one client address gets the same endpoint again, so one bad endpoint is all or nothing for it"
    for name, whom in (("internalTrafficPolicy", "pods of a node"), ("externalTrafficPolicy", "clients outside")):
        if spec.get(name) == "Local":
            shown = ", ".join(sorted({str(backend.node) for backend in ready_backends(cluster, key) if backend.node})) or "no node"
            yield f"{name} is Local: {whom} reach only endpoints of the entered node; {shown} has some"


def ready_backends(cluster: Cluster, key: str) -> tuple[Backend, ...]:
    """All ready endpoints of a Service, whatever its traffic policies. Errors: NotCollected."""
    return tuple(
        Backend(str(address), 0, endpoint.get("nodeName"))
        for piece in endpoint_slices(cluster, key)
        for endpoint in objects(piece.get("endpoints"))
        if as_mapping(endpoint.get("conditions")).get("ready") is not False
        for address in as_list(endpoint.get("addresses"))[:1]
    )
