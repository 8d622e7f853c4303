# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the cluster document alone says about addresses, prefixes and encapsulation.

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from ._cluster import Cluster, Node, Pod
from ._json import IPNetwork, NotCollected

Encapsulation = t.Literal["none", "ipip", "vxlan"]
TUNNEL_DEVICE: dict[str, str] = {"ipip": "tunl0", "vxlan": "vxlan.calico"}


def intended_address(cluster: Cluster, node: Node) -> str | None:
    """The IPv4 address that the node should announce, from the API alone; None where that cannot be told.

    Calico's autodetection (calico.md section 6.1) decides which method holds. `first-found` names no address on purpose: there the Kubernetes
    InternalIP is intended, unless most nodes run Calico on another network than Kubernetes, which is a choice and no accident.
    """
    internal, announced = node.internal_ip, node.calico_address
    if announced is not None and announced == internal:
        return announced
    method, _equals, argument = cluster.autodetection.partition("=")
    if method == "kubernetes-internal-ip":
        return internal
    if method == "cidr":
        return announced if _in_any(announced, argument) else _first_listed(node, lambda _name, address: _in_any(address, argument))
    if method == "interface":
        # interfaces are matched by unanchored Go regular expressions, comma separated
        return _first_listed(node, lambda name, _address: _matches(name, argument)) or announced
    if announced is not None and _is_among_peers(cluster, node, announced):
        return announced
    return internal


def _in_any(address: str | None, networks: str) -> bool:
    try:
        return address is not None and any(
            ipaddress.ip_address(address) in ipaddress.ip_network(text.strip(), strict=False) for text in networks.split(",")
        )
    except ValueError:
        return False


def _matches(name: str, patterns: str) -> bool:
    try:
        return any(re.search(pattern.strip(), name) for pattern in patterns.split(","))
    except re.error:
        return False


def _first_listed(node: Node, wanted: t.Callable[[str, str], bool]) -> str | None:
    for name, held in node.listed_interfaces.items():
        for address in held:
            if "." in address and wanted(name, address):
                return address
    return None


def _is_among_peers(cluster: Cluster, node: Node, announced: str) -> bool:
    """Whether most other nodes, too, announce an address that is not their InternalIP, in the network that this one announces."""
    mine = node.calico_interface
    others = [other for other in cluster.nodes.values() if other.name != node.name and other.calico_interface is not None]
    if mine is None or not others:
        return False
    same = [o for o in others if o.calico_address != o.internal_ip and o.calico_interface and o.calico_interface.ip in mine.network]
    return 2 * len(same) >= len(others)


def peer_addresses(cluster: Cluster) -> dict[str, str]:
    """Node name -> the address that it should announce, for all nodes that run Calico."""
    result = {}
    for node in cluster.nodes.values():
        address = intended_address(cluster, node)
        if address is not None and node.annotation("IPv4Address") is not None:
            result[node.name] = address
    return result


def same_subnet(cluster: Cluster, local: Node, peer: str) -> bool | None:
    """Whether the peer's address lies in the subnet of the local node's annotation (its mask decides); None where unknown."""
    interface = local.calico_interface
    if interface is None or local.calico_address != intended_address(cluster, local):
        other = cluster.nodes.get(peer)
        interface = other.calico_interface if other is not None and other.calico_address == intended_address(cluster, other) else None
        address = intended_address(cluster, local)
    else:
        other = cluster.nodes.get(peer)
        address = intended_address(cluster, other) if other is not None else None
    if interface is None or address is None:
        return None
    return ipaddress.ip_address(address) in interface.network


def encapsulation(cluster: Cluster, prefix: IPNetwork, local: str, peer: str) -> Encapsulation | None:
    """How packets from node `local` to a pod prefix of node `peer` travel; None where the API does not tell."""
    pool = cluster.pool_of(prefix)
    if pool is None:
        return None
    for kind, mode in (("vxlan", pool.vxlan), ("ipip", pool.ipip)):
        if mode == "Always":
            return t.cast(Encapsulation, kind)
        if mode == "CrossSubnet":
            direct = same_subnet(cluster, cluster.nodes[local], peer) if local in cluster.nodes else None
            if direct is None:
                return None
            return "none" if direct else t.cast(Encapsulation, kind)
    return "none"


@dataclass(frozen=True)
class RemotePrefix:
    """A prefix that must be routed to a node: an IPAM block, or the /32 of a pod with a borrowed address."""

    prefix: str
    node: str
    borrowed: Pod | None = None


def pod_prefixes(cluster: Cluster) -> list[RemotePrefix]:
    """Every block with its owner, and borrowed addresses as /32 (calico.md section 3.3). Blocks without a confirmed affinity are not announced."""
    result = []
    owners: dict[str, str | None] = {}
    for block in cluster.blocks:
        if block.cidr.version != 4:
            continue
        owners[str(block.cidr)] = block.node
        if block.node in cluster.nodes and (str(block.node), str(block.cidr)) in cluster.confirmed_affinities:
            result.append(RemotePrefix(str(block.cidr), str(block.node)))
    for pod in cluster.workloads:
        block_of_pod = cluster.block_of(str(pod.address))
        if block_of_pod is not None and block_of_pod.node != pod.node and "." in str(pod.address):
            result.append(RemotePrefix(f"{pod.address}/32", str(pod.node), pod))
    return result


def uses_bird(cluster: Cluster) -> bool:
    try:
        return cluster.backend == "bird"
    except NotCollected:
        return True


def uses_ipip(cluster: Cluster) -> bool:
    return any(pool.ipip != "Never" and not pool.disabled for pool in cluster.pools)
