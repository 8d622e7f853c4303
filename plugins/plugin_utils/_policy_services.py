# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which Service an address and a port belong to, and the endpoints behind it, from the API.

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ._cluster import Cluster
from ._json import Json, NotCollected, as_list, as_mapping, family_of, objects
from ._policy_members import endpoint_slices, protocol_name
from ._policy_rules import Packet

_Index = tuple[dict[str, list[Mapping[str, Json]]], dict[tuple[str, Json], tuple[Mapping[str, Json], Mapping[str, Json]]]]


class Backend(t.NamedTuple):
    address: str
    port: int
    node: str | None


@dataclass(frozen=True)
class ServicePort:
    """A Service as it is reached by one address and port. external: by a port of the nodes; local: only endpoints of the entered node are used."""

    name: str
    external: bool
    local: bool
    node: str | None  # the entered node, of a node's port
    endpoints: tuple[Backend, ...]

    def backends(self, source_node: str | None) -> tuple[Backend, ...]:
        """The endpoints that kube-proxy chooses from."""
        entered = self.node if self.external else source_node
        if not self.local or (self.external and source_node == entered):  # from inside of the entered node: as by the ClusterIP
            return self.endpoints
        return tuple(backend for backend in self.endpoints if backend.node == entered)


def resolve_service(cluster: Cluster, packet: Packet) -> ServicePort | None:
    """The Service that the packet is addressed to; None if it is none. Errors: NotCollected."""
    by_address, by_port = _index(cluster)
    services = by_address.get(packet.dst, [])
    for raw in services:
        for port in objects(as_mapping(raw.get("spec")).get("ports")):
            if (protocol_name(port.get("protocol") or "TCP"), port.get("port")) == (packet.protocol, packet.dport):
                internal = as_mapping(raw.get("spec")).get("internalTrafficPolicy") == "Local"
                return _made(cluster, raw, port, packet, None, internal)
    if services:
        raise NotCollected(f"{packet.dst} is the address of Service {_name(services[0])}, which has no such port")
    raw_port = by_port.get((packet.protocol, packet.dport))
    if raw_port is None:
        return None
    node = next((node.name for node in cluster.nodes.values() if packet.dst in (*node.internal_ips, *node.calico_addresses)), None)
    if node is None:
        return None
    raw, port = raw_port
    return _made(cluster, raw, port, packet, node, as_mapping(raw.get("spec")).get("externalTrafficPolicy") == "Local")


def _name(raw: Mapping[str, Json]) -> str:
    metadata = as_mapping(raw.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def of_node_port(cluster: Cluster, protocol: str, port: int) -> tuple[Mapping[str, Json], Mapping[str, Json]] | None:
    """The Service with this port of the nodes, and the entry of that port. protocol: `tcp` or `udp`. Errors: NotCollected."""
    return _index(cluster)[1].get((protocol_name(protocol.upper()), port))


def _index(cluster: Cluster) -> _Index:
    return cluster.once("services by address and port", lambda: _indexed(cluster))


def _indexed(cluster: Cluster) -> _Index:
    by_address: dict[str, list[Mapping[str, Json]]] = {}
    by_port: dict[tuple[str, Json], tuple[Mapping[str, Json], Mapping[str, Json]]] = {}
    for raw in cluster.section("services"):
        spec = as_mapping(raw.get("spec"))
        for address in dict.fromkeys([spec.get("clusterIP"), *as_list(spec.get("clusterIPs"))]):
            if isinstance(address, str) and address != "None":
                by_address.setdefault(address, []).append(raw)
        for port in objects(spec.get("ports")):
            if isinstance(port.get("nodePort"), int):
                by_port.setdefault((protocol_name(port.get("protocol") or "TCP"), port["nodePort"]), (raw, port))
    return by_address, by_port


def _made(cluster: Cluster, raw: Mapping[str, Json], port: Mapping[str, Json], packet: Packet, node: str | None, local: bool) -> ServicePort:
    found = tuple(_endpoints(cluster, raw, port, family_of(packet.dst)))
    return ServicePort(_name(raw), node is not None, local, node, found)


def _endpoints(cluster: Cluster, raw: Mapping[str, Json], port: Mapping[str, Json], family: str) -> Iterator[Backend]:
    for piece in endpoint_slices(cluster, _name(raw)):
        if str(piece.get("addressType")).lower() != family:
            continue
        numbers = [entry.get("port") for entry in objects(piece.get("ports")) if (entry.get("name") or "") == (port.get("name") or "")]
        for endpoint in objects(piece.get("endpoints")):
            if as_mapping(endpoint.get("conditions")).get("ready") is False:
                continue
            for address in as_list(endpoint.get("addresses"))[:1]:
                for number in numbers:
                    if isinstance(number, int):
                        yield Backend(str(address), number, endpoint.get("nodeName"))
