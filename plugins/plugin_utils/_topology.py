# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the cluster document alone says about addresses, prefixes and encapsulation.

from __future__ import annotations

import bisect
import hashlib
import ipaddress
import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ._cluster import Cluster, Node, Pod
from ._json import FAMILIES, Family, IPNetwork, Json, NotCollected, as_mapping, family_of, parse_address
from ._selectors import BadSelector
from ._selectors import parse as parse_selector

Encapsulation = t.Literal["none", "ipip", "vxlan"]
TUNNEL_DEVICES: Mapping[tuple[str, Family], str] = {("ipip", "ipv4"): "tunl0", ("vxlan", "ipv4"): "vxlan.calico", ("vxlan", "ipv6"): "vxlan-v6.calico"}
VTEP_ADDRESS: Mapping[Family, str] = {"ipv4": "IPv4VXLANTunnelAddr", "ipv6": "IPv6VXLANTunnelAddr"}
BGP_PORT = 179  # RFC 4271


def default_vtep_mac(node: str, family: Family = "ipv4") -> str:
    """The MAC that Felix gives a VXLAN device, worked out from the node's name (felix/calc/vxlan_resolver.go)."""
    digest = hashlib.sha1((node + ("-v6" if family == "ipv6" else "")).encode(), usedforsecurity=False).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in b"f" + digest)


def tunnel_device(encapsulation: str | None, family: Family = "ipv4") -> str | None:
    return TUNNEL_DEVICES.get((encapsulation or "", family))


def families(cluster: Cluster) -> tuple[Family, ...]:
    """The address families that calico-node announces in this cluster; IPv4 where it announces none at all."""

    def read() -> tuple[Family, ...]:
        found = tuple(family for family in FAMILIES if any(node.calico_address(family) for node in cluster.nodes.values()))
        return found or ("ipv4",)

    return cluster.once("families", read)


def intended_address(cluster: Cluster, node: Node, family: Family = "ipv4") -> str | None:
    """The address that the node should announce, from the API alone; None where that cannot be told.

    Calico's autodetection (calico.md section 6.1) decides which method holds. `first-found` names no address on purpose: there the Kubernetes
    InternalIP is intended, unless most nodes run Calico on another network than Kubernetes, which is a choice and no accident.
    """
    internal, announced = node.internal_ip_in(family), node.calico_address(family)
    if announced is not None and announced == internal:
        return announced
    method, _equals, argument = cluster.autodetection_in(family).partition("=")
    if method == "kubernetes-internal-ip":
        return internal
    if method == "cidr":
        return announced if _in_any(announced, argument) else _first_listed(node, family, lambda _name, address: _in_any(address, argument))
    if method == "interface":
        # interfaces are matched by unanchored Go regular expressions, comma separated
        return _first_listed(node, family, lambda name, _address: _matches(name, argument)) or announced
    if announced is not None and _is_among_peers(cluster, node, family):
        return announced
    if internal is None and announced is not None and family == "ipv6":
        return announced  # Kubernetes knows one family only: nothing says that Calico's choice in the other is wrong
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


def _first_listed(node: Node, family: Family, wanted: t.Callable[[str, str], bool]) -> str | None:
    for name, held in node.listed_interfaces.items():
        for address in held:
            if family_of(address) == family and wanted(name, address):
                return address
    return None


def _is_among_peers(cluster: Cluster, node: Node, family: Family) -> bool:
    """Whether most other nodes, too, announce an address that is not their InternalIP, in the network that this one announces."""
    mine = node.calico_interface(family)
    elsewhere = cluster.once(f"announcing elsewhere {family}", lambda: _elsewhere(cluster, family))
    others = cluster.once(f"announcing {family}", lambda: sum(1 for other in cluster.nodes.values() if other.calico_interface(family) is not None)) - 1
    if mine is None or others < 1:
        return False
    first, last = int(mine.network.network_address), int(mine.network.broadcast_address)
    own = node.calico_address(family) != node.internal_ip_in(family)
    return 2 * (bisect.bisect_right(elsewhere, last) - bisect.bisect_left(elsewhere, first) - own) >= others


def _elsewhere(cluster: Cluster, family: Family) -> list[int]:
    """The addresses, in their order, of the nodes that announce another one than Kubernetes'."""
    announced = ((node, node.calico_interface(family)) for node in cluster.nodes.values())
    return sorted(int(interface.ip) for node, interface in announced if interface is not None and str(interface.ip) != node.internal_ip_in(family))


def peer_addresses(cluster: Cluster, family: Family = "ipv4") -> Mapping[str, str]:
    """Node name -> the address that it should announce, for all nodes that run Calico in this family."""

    def read() -> dict[str, str]:
        result = {}
        for node in cluster.nodes.values():
            if node.calico_address(family) is not None:
                address = intended_address(cluster, node, family)
                if address is not None:
                    result[node.name] = address
        return result

    return cluster.once(f"peer addresses {family}", read)


def same_subnet(cluster: Cluster, local: str, peer: str, family: Family = "ipv4") -> bool | None:
    """Whether the peer's address lies in the subnet of the local node's annotation (its mask decides); None where unknown."""
    addresses = peer_addresses(cluster, family)
    for one, other in ((local, peer), (peer, local)):
        node = cluster.nodes.get(one)
        interface = node.calico_interface(family) if node is not None else None
        if interface is not None and other in addresses and str(interface.ip) == addresses.get(one):
            return parse_address(addresses[other]) in interface.network
    return None


def encapsulation(cluster: Cluster, prefix: IPNetwork, local: str, peer: str) -> Encapsulation | None:
    """How packets from node `local` to a pod prefix of node `peer` travel; None where the API does not tell."""
    pool = cluster.pool_of(prefix)
    if pool is None:
        return None
    for kind, mode in (("vxlan", pool.vxlan), ("ipip", pool.ipip)):
        if mode == "Always":
            return t.cast(Encapsulation, kind)
        if mode == "CrossSubnet":
            direct = same_subnet(cluster, local, peer, family_of(str(prefix)))
            if direct is None:
                return None
            return "none" if direct else t.cast(Encapsulation, kind)
    return "none"


def pool_class(cluster: Cluster, prefix: IPNetwork) -> Encapsulation:
    """The encapsulation that the pool of a prefix has at all: it decides who writes the routes, in CrossSubnet those without the tunnel, too."""
    pool = cluster.pool_of(prefix)
    if pool is None:
        return "none"
    return "vxlan" if pool.vxlan != "Never" else "ipip" if pool.ipip != "Never" else "none"


@dataclass(frozen=True)
class RemotePrefix:
    """A prefix that must be routed to a node: an IPAM block, or the single address of a pod that borrowed it."""

    prefix: str
    node: str
    borrowed: Pod | None = None


def pod_prefixes(cluster: Cluster) -> list[RemotePrefix]:
    """Every block with its owner, and borrowed addresses as /32 or /128 (calico.md section 3.3). Blocks without a confirmed affinity are not announced."""

    def read() -> list[RemotePrefix]:
        result = []
        for block in cluster.blocks:
            if block.node in cluster.nodes and (str(block.node), str(block.cidr)) in cluster.confirmed_affinities:
                result.append(RemotePrefix(str(block.cidr), str(block.node)))
        for pod in cluster.workloads:
            for address in pod.addresses:
                block_of_pod = cluster.block_of(address)
                if block_of_pod is not None and block_of_pod.node != pod.node and not _shared(cluster, address):
                    result.append(RemotePrefix(host_prefix(address), str(pod.node), pod))
        return result

    return cluster.once("pod prefixes", read)


def host_prefix(address: str) -> str:
    return f"{address}/{32 if family_of(address) == 'ipv4' else 128}"


def _shared(cluster: Cluster, address: str) -> bool:
    return len(cluster.pods_at(address)) > 1


def uses_bird(cluster: Cluster) -> bool:
    try:
        return cluster.backend == "bird"
    except NotCollected:
        return True


def uses_encapsulation(cluster: Cluster, kind: Encapsulation, family: Family) -> bool:
    modes = (pool.ipip if kind == "ipip" else pool.vxlan for pool in cluster.pools if not pool.disabled and family_of(str(pool.cidr)) == family)
    return any(mode != "Never" for mode in modes)


def felix_programs(cluster: Cluster, how: Encapsulation | None) -> bool:
    """Whether Felix, and not BIRD, writes the routes to other nodes of pools of this encapsulation (calico.md section 3.2, programClusterRoutes)."""
    if how == "vxlan" or not uses_bird(cluster):
        return True
    try:
        setting = str(cluster.felix_configuration().get("programClusterRoutes") or "")
        default = "EnabledIPIPOnly" if at_least(cluster.calico_version, (3, 33)) else "Disabled"
    except NotCollected:
        return as_mapping(cluster.document.get("rebuilt")).get("felix_writes_routes") is True
    chosen = setting or default
    return chosen == "Enabled" or chosen == {"ipip": "EnabledIPIPOnly", "none": "EnabledNoEncapOnly"}.get(how or "")


def at_least(version: str | None, wanted: tuple[int, int]) -> bool:
    found = re.match(r"v?(\d+)\.(\d+)", version or "")
    return found is not None and (int(found[1]), int(found[2])) >= wanted


# ---------------------------------------------------------------- who peers with whom


@dataclass(frozen=True)
class Peer:
    """A BGP session that a node's configuration must hold. node: the peer's name, "" where it is no node of the cluster."""

    node: str
    address: str
    as_number: str | None
    origin: str  # "mesh" or the name of the BGPPeer


def is_reflector(node: Node) -> bool:
    return node.annotation("RouteReflectorClusterID") is not None


def bgp_peers(cluster: Cluster, local: str, family: Family = "ipv4") -> Mapping[str, Peer]:
    """Address -> session that node `local` must have: the mesh, BGPPeers that name it, and the reverse of those that select it as a peer.

    Source: confd/pkg/backends/calico/bgp_processor.go. Errors: NotCollected where the API did not tell.
    """
    return cluster.once(f"bgp peers {local} {family}", lambda: _peers(cluster, local, family))


def _peers(cluster: Cluster, local: str, family: Family) -> dict[str, Peer]:
    addresses = peer_addresses(cluster, family)
    me = cluster.nodes.get(local)
    if me is None or local not in addresses:
        return {}
    found: dict[str, Peer] = {}

    def add(name: str, origin: str, as_number: Json = None) -> None:
        if name != local and name in addresses and addresses[name] != addresses[local]:  # confd skips peers with the node's own address
            found.setdefault(addresses[name], Peer(name, addresses[name], str(as_number or cluster.as_number(name)), origin))

    if cluster.mesh and not is_reflector(me):
        for name in addresses:
            if not is_reflector(cluster.nodes[name]):
                add(name, "mesh")
    by_address = cluster.once(f"nodes by peer address {family}", lambda: {address: name for name, address in addresses.items()})
    for raw in cluster.section("bgppeers"):
        spec, name = as_mapping(raw.get("spec")), str(as_mapping(raw.get("metadata")).get("name", ""))
        mine = _selected(cluster, spec)
        if spec.get("peerSelector"):
            theirs = matching_nodes(cluster, str(spec["peerSelector"]))
            if local in mine:
                for peer in theirs:
                    add(peer, name)
            if local in theirs and spec.get("reversePeering") != "Manual":
                for peer in mine:
                    add(peer, name)
        elif local in mine and spec.get("peerIP"):
            address = _without_port(str(spec["peerIP"]))
            if address is not None and family_of(address) == family:
                if address in by_address:
                    add(by_address[address], name, spec.get("asNumber"))
                else:
                    found.setdefault(address, Peer("", address, str(spec.get("asNumber") or ""), name))
    return found


def _selected(cluster: Cluster, spec: Mapping[str, Json]) -> frozenset[str]:
    """The nodes that a BGPPeer configures."""
    if spec.get("node"):
        return frozenset((str(spec["node"]),))
    return matching_nodes(cluster, str(spec.get("nodeSelector") or "all()"))


def matching_nodes(cluster: Cluster, selector: str) -> frozenset[str]:
    def read() -> frozenset[str]:
        try:
            matches = parse_selector(selector)
        except BadSelector as exc:
            raise NotCollected(str(exc)) from exc
        return frozenset(node.name for node in cluster.nodes.values() if matches(node.labels))

    return cluster.once(f"selector {selector}", read)


def _without_port(text: str) -> str | None:
    """`10.0.0.1`, `10.0.0.1:179` or `[2001:db8::1]:179` as an address."""
    if parse_address(text) is not None:
        return str(parse_address(text))
    host = text.rpartition(":")[0].strip("[]")
    parsed = parse_address(host)
    return str(parsed) if parsed is not None else None


def reflectors(cluster: Cluster, local: str, family: Family = "ipv4") -> Iterable[str]:
    return [peer.node for peer in bgp_peers(cluster, local, family).values() if peer.node and is_reflector(cluster.nodes[peer.node])]


def carries_routes(cluster: Cluster, local: str, peer: str, family: Family = "ipv4") -> bool | None:
    """Whether the configured sessions can carry routes between two nodes: directly, or over route reflectors. None: an outside peer might."""
    seen, queue, outside = {local}, [local], False
    while queue:
        names = peer_names(cluster, queue.pop(), family)
        if peer in names:
            return True
        outside = outside or "" in names
        further = [name for name in names - seen if name and is_reflector(cluster.nodes[name])]
        seen.update(further)
        queue += further
    return None if outside else False


def peer_names(cluster: Cluster, local: str, family: Family = "ipv4") -> frozenset[str]:
    """Names of the nodes that `local` peers with; "" among them stands for peers outside of the cluster."""
    return cluster.once(f"peer names {local} {family}", lambda: frozenset(peer.node for peer in bgp_peers(cluster, local, family).values()))
