# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: in which packets of the nodes a packet between two pods travels from one node to the other.

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from dataclasses import dataclass

from . import _flannel
from ._cluster import Cluster
from ._dataplane import felix_setting
from ._json import NotCollected, as_mapping, family_of
from ._path import Hop, walk
from ._question import Endpoint, Question
from ._topology import encapsulation, peer_addresses

if t.TYPE_CHECKING:
    from ._documents import Documents

CALICO_PORT = 4789  # FelixConfiguration vxlanPort


@dataclass(frozen=True)
class Carrying:
    """source and destination: the addresses of the nodes that are announced; port: of VXLAN (UDP), None for the others."""

    kind: t.Literal["none", "ipip", "vxlan"]
    sender: str
    receiver: str
    source: str
    destination: str
    port: int | None = None


def carried(cluster: Cluster, source: Endpoint, destination: Endpoint) -> Carrying | None:
    """None where the packet does not go from a node to a pod of another one, or the API does not tell how. Errors: NotCollected."""
    if destination.kind != "pod" or not source.node or not destination.node or source.node == destination.node:
        return None
    flannel = _flannel.carries(cluster)
    leases = {name: lease.public_ip for name, lease in _flannel.leases(cluster).items() if lease.public_ip} if flannel else {}
    addresses = leases or peer_addresses(cluster, family_of(destination.address))
    if source.node not in addresses or destination.node not in addresses:
        return None
    ends = (source.node, destination.node, addresses[source.node], addresses[destination.node])
    if flannel:
        if _flannel.direct_routing(cluster) is None:
            return None
        return Carrying("vxlan", *ends, _flannel.port(cluster)) if _flannel.tunnel_device(cluster, *ends[:2]) else Carrying("none", *ends)
    block = cluster.block_of(destination.address)
    kind = encapsulation(cluster, block.cidr, *ends[:2]) if block is not None else None
    if kind is None:
        return None
    if kind != "vxlan":
        return Carrying(kind, *ends)
    port = felix_setting(cluster, destination.node, "vxlanPort")
    return Carrying(kind, *ends, int(port) if str(port).isdecimal() else CALICO_PORT)


def both_ways(cluster: Cluster, question: Question) -> Iterator[tuple[Endpoint, Endpoint, list[Hop], Carrying]]:
    """(source, destination, hops, how) of the request and of its answer, where a pod sends it to a pod of another node. Errors: NotCollected."""
    path = walk(cluster, question)
    for source, destination, hops in ((question.source, question.destination, path.forward), (question.destination, question.source, path.reverse)):
        how = carried(cluster, source, destination) if source.kind == "pod" else None
        if how is not None:
            yield source, destination, hops, how


def outer_source(documents: Documents, how: t.Mapping[str, t.Any]) -> str:
    """The address that the sender really puts on the packets that carry others: the device's own, or what the kernel chooses."""
    try:
        facts = documents.node(how["from"])
        if how["kind"] == "vxlan":
            for link in facts.links.values():
                data = as_mapping(as_mapping(link.get("linkinfo")).get("info_data"))
                local = data.get("local") or data.get("local6")
                if isinstance(local, str) and data.get("port") == how["port"] and family_of(local) == family_of(how["dst"]):
                    return local
        chosen = facts.lookup(dst=how["dst"]).get("prefsrc")
    except NotCollected:
        chosen = None
    return str(chosen or how["src"])
