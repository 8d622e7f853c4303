# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the cluster document alone says about flannel's leases, devices and routes.

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass

from ._cluster import Cluster, Node
from ._json import NotCollected, as_mapping, parse_network

BRIDGE = "cni0"  # the flannel CNI plugin's bridge, unless its delegate names another
DEFAULT_VNI = 1
DEFAULT_PORT = 8472  # the kernel's own default, which flannel keeps on Linux


@dataclass(frozen=True)
class Lease:
    """What flanneld wrote about its node, and what it should have written."""

    node: str
    cidr: ipaddress.IPv4Network | None
    backend: str | None  # vxlan, host-gw, ...
    public_ip: str | None
    address: str | None  # the address that public_ip should be
    vtep_mac: str | None
    vni: int

    @property
    def device(self) -> str | None:
        return f"flannel.{self.vni}" if self.backend == "vxlan" else None

    @property
    def vtep_address(self) -> str | None:
        """flannel.1's address, and the next hop of the routes to this node."""
        return str(self.cidr[0]) if self.cidr is not None else None

    @property
    def bridge_address(self) -> str | None:
        return str(self.cidr[1]) if self.cidr is not None and self.cidr.num_addresses > 1 else None


def carries(cluster: Cluster) -> bool:
    """Whether flannel carries the packets between the nodes."""
    try:
        return cluster.plugin in ("flannel", "canal")
    except NotCollected:
        return False


def bridged(cluster: Cluster) -> bool:
    """Whether pods are ports of a bridge: flannel's own CNI plugin; canal uses Calico's."""
    try:
        return cluster.plugin == "flannel"
    except NotCollected:
        return False


def _ipv4(texts: tuple[str, ...]) -> ipaddress.IPv4Network | None:
    networks = (parse_network(text) for text in texts)
    return next((network for network in networks if isinstance(network, ipaddress.IPv4Network)), None)


def _backend_data(node: Node) -> tuple[str | None, int]:
    try:
        data = as_mapping(json.loads(node.flannel("backend-data") or "null"))
    except (ValueError, RecursionError):
        data = {}
    mac, vni = data.get("VtepMAC"), data.get("VNI")
    return (mac.lower() if isinstance(mac, str) else None), (vni if isinstance(vni, int) and not isinstance(vni, bool) else DEFAULT_VNI)


def leases(cluster: Cluster) -> dict[str, Lease]:
    """Node name -> its lease, for all nodes on which flanneld has run.

    public-ip should be the node's InternalIP. Where most of the other nodes have another one, too, that is a choice (--iface) and no accident.
    """
    return cluster.once("leases", lambda: _leases(cluster))


def _leases(cluster: Cluster) -> dict[str, Lease]:
    announced = {node.name: node.flannel("public-ip") for node in cluster.nodes.values() if node.flannel("backend-type")}
    elsewhere = {name for name, address in announced.items() if address != cluster.nodes[name].internal_ip}
    result = {}
    for name, public_ip in announced.items():
        node = cluster.nodes[name]
        others = len(announced) - 1
        chosen = name in elsewhere and public_ip is not None and 2 * (len(elsewhere) - 1) > others
        mac, vni = _backend_data(node)
        address = public_ip if chosen else node.internal_ip
        result[name] = Lease(name, _ipv4(node.pod_cidrs), node.flannel("backend-type"), public_ip, address, mac, vni)
    return result


def lease_of(cluster: Cluster, node: str | None) -> Lease | None:
    return leases(cluster).get(node) if node is not None else None


def direct_routing(cluster: Cluster) -> bool | None:
    """Whether nodes in one subnet send to each other without VXLAN; None where flannel's configuration could not be read."""
    try:
        return bool(as_mapping(cluster.flannel_configuration.get("Backend")).get("DirectRouting"))
    except NotCollected:
        return None


def port(cluster: Cluster) -> int | None:
    """The UDP port of the VXLAN device; None where flannel's configuration could not be read."""
    try:
        number = as_mapping(cluster.flannel_configuration.get("Backend")).get("Port")
    except NotCollected:
        return None
    return number if isinstance(number, int) and number > 0 else DEFAULT_PORT


def tunnel_device(cluster: Cluster, local: str | None, peer: str | None) -> str | None:
    """The device that carries packets from one node to the pods of another; None where they go as they are."""
    known = leases(cluster)
    return known[local].device if local in known and peer in known else None
