# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the nodes alone tell of the cluster, for the sections that the Kubernetes API did not give.
# A section is only made where the nodes agree about it; what is not known stays that section's error.

from __future__ import annotations

import json
import typing as t
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ._cluster import CALICO, FLANNEL
from ._documents import NodeFacts
from ._flannel import BRIDGE
from ._json import IPNetwork, Json, NotCollected, as_list, as_mapping, objects, parse_address, parse_network
from ._routes import hops
from ._topology import default_vtep_mac

SECTIONS = ("nodes", "pods", "daemonsets", "ippools", "ipamblocks", "blockaffinities", "bgpconfigurations", "bgppeers")
WRITERS = ("bird", "80")  # rtnetlink protocols of Calico's own routes
TUNNELS = {"tunl0": "ipip", "vxlan.calico": "vxlan"}
ENOUGH = 0.7  # of the routes that are there, to take their tunnel for the pool's


def needed(document: Mapping[str, Json]) -> str | None:
    """Why the nodes must do without the API; None where it told of nodes, pods, and what runs the network."""
    for name in ("nodes", "pods", "daemonsets"):
        section = document.get(name)
        if not isinstance(section, list):
            return str(as_mapping(section).get("error") or f"{name} were not read")
    return None


def node_name(host: str, declared: Json, document: Mapping[str, Json] | None) -> str:
    """What Kubernetes calls the node behind a host of the inventory, as far as its own files tell."""
    if isinstance(declared, str) and declared:
        return declared
    own = as_mapping((document or {}).get("calico")).get("nodename")
    return own if isinstance(own, str) and own else host


def rebuilt(document: Mapping[str, Json], nodes: Mapping[str, NodeFacts], reached_at: Mapping[str, str]) -> dict[str, Json]:
    """The cluster document with what the API did not tell made from the nodes' own. reached_at: node -> the address that the inventory reaches it at."""
    seen = {name: Node(facts, reached_at.get(name)) for name, facts in nodes.items() if facts.collected}
    _share_out(seen)
    made: dict[str, Json] = {}
    makers: dict[str, t.Callable[[], Json]] = {
        "nodes": lambda: [node.as_object(seen) for node in seen.values()],
        "pods": lambda: [pod for node in seen.values() for pod in node.pods()],
        "daemonsets": lambda: _daemonsets(seen),
        "ippools": lambda: _pools(seen),
        "ipamblocks": lambda: [_block(prefix, name, _used(seen)) for prefix, name in _owners(seen).items()],
        "blockaffinities": lambda: [
            {"metadata": {"name": prefix}, "spec": {"cidr": str(prefix), "node": name, "state": "confirmed"}} for prefix, name in _owners(seen).items()
        ],
        "bgpconfigurations": lambda: _mesh(seen),
        "bgppeers": lambda: _mesh(seen),
    }
    for name in SECTIONS:
        if not isinstance(document.get(name), list):
            value = makers[name]() if seen else None
            if value is not None:
                made[name] = value
    narrowed = list(dict.fromkeys([*as_list(document.get("narrowed")), *made]))
    return {**document, **made, "narrowed": narrowed, "rebuilt": {"sections": list(made), "felix_writes_routes": _felix_writes(seen)}}


class Node:
    """One node as its own documents show it."""

    def __init__(self, facts: NodeFacts, reached_at: str | None) -> None:
        self.facts = facts
        self.name = facts.name
        self.reached_at = reached_at
        self.announced = self._announced()

    def _part(self, read: t.Callable[[], t.Any], default: t.Any) -> t.Any:
        try:
            return read()
        except NotCollected:
            return default

    @property
    def addresses(self) -> list[Mapping[str, Json]]:
        return t.cast("list[Mapping[str, Json]]", self._part(lambda: self.facts.addresses, []))

    @property
    def links(self) -> Mapping[str, Mapping[str, Json]]:
        return t.cast("Mapping[str, Mapping[str, Json]]", self._part(lambda: self.facts.links, {}))

    @property
    def routes(self) -> list[Mapping[str, Json]]:
        return t.cast("list[Mapping[str, Json]]", self._part(lambda: list(self.facts.main_routes), []))

    @property
    def sessions(self) -> list[Mapping[str, Json]]:
        return t.cast("list[Mapping[str, Json]]", self._part(lambda: self.facts.bgp_protocols("ipv4"), []))

    @property
    def runs_bird(self) -> bool:
        process = as_mapping(self._part(lambda: self.facts.process("bird"), {}))
        return bool(self._part(lambda: self.facts.bird("ipv4"), None)) or process.get("running") is True

    @property
    def runs_calico(self) -> bool:
        calico = as_mapping(as_mapping(self.facts.document).get("calico"))
        return bool(calico.get("nodename")) or as_mapping(calico.get("felix")).get("running") is True

    def _announced(self) -> str | None:
        """What BIRD calls itself, or where the VXLAN device sends from."""
        status = as_mapping(self._part(lambda: self.facts.bird_part("status"), {}))
        if parse_address(status.get("router_id")) is not None:
            return str(status["router_id"])
        local = as_mapping(as_mapping(as_mapping(self.links.get("vxlan.calico")).get("linkinfo")).get("info_data")).get("local")
        return str(local) if parse_address(local) is not None else None

    def prefixlen(self, address: str) -> int:
        held = next((a.get("prefixlen") for a in self.addresses if a.get("local") == address), None)
        return held if isinstance(held, int) else 32

    @property
    def own_address(self) -> str | None:
        """The address of its default route's interface, or the one that the inventory reaches it at: most likely Kubernetes' InternalIP."""
        held = [a for a in self.addresses if a.get("family") == "inet" and a.get("scope") in (None, "global")]
        if self.reached_at in {a.get("local") for a in held}:
            return self.reached_at
        best = min((r for r in self.routes if r.get("dst") == "0.0.0.0/0"), key=lambda r: r.get("metric") or 0, default=None)
        device = hops(best)[0][1] if best is not None else None
        return next((str(a.get("local")) for a in held if a.get("ifname") == device), None)

    def tunnel_address(self, device: str) -> str | None:
        return next((str(a.get("local")) for a in self.addresses if a.get("ifname") == device and a.get("family") == "inet"), None)

    def annotations(self) -> dict[str, str]:
        found: dict[str, str | None] = {}
        if self.announced is not None:
            found[CALICO + "IPv4Address"] = f"{self.announced}/{self.prefixlen(self.announced)}"
        found[CALICO + "IPv4IPIPTunnelAddr"] = self.tunnel_address("tunl0")
        found[CALICO + "IPv4VXLANTunnelAddr"] = self.tunnel_address("vxlan.calico")
        mac = as_mapping(self.links.get("vxlan.calico")).get("address")
        found[CALICO + "VXLANTunnelMACAddr"] = mac if isinstance(mac, str) and mac != default_vtep_mac(self.name) else None
        return {name: text for name, text in found.items() if text is not None}

    @property
    def flannel_subnet(self) -> IPNetwork | None:
        """As flanneld wrote it down, or else that of the bridge."""
        env = as_mapping(self._part(lambda: self.facts.flannel("subnet_env"), {}))
        bridge = next((f"{a.get('local')}/{a.get('prefixlen')}" for a in self.addresses if a.get("ifname") == BRIDGE and a.get("family") == "inet"), None)
        return parse_network(env.get("FLANNEL_SUBNET")) or parse_network(bridge)

    def lease(self, seen: Mapping[str, Node]) -> dict[str, str]:
        """flanneld's annotations: what most other nodes made of them, if they agree, else what the node has."""
        subnet, device = self.flannel_subnet, as_mapping(self.links.get("flannel.1"))
        if subnet is None or all(node.subnet_env is None for node in seen.values()):
            return {}
        others = [node for node in seen.values() if node is not self]
        vxlan = any("flannel.1" in node.links for node in seen.values())
        data = as_mapping(as_mapping(device.get("linkinfo")).get("info_data"))
        mac = _agreed(entry.get("lladdr") for node in others for entry in node.neighbours if entry.get("dst") == str(subnet[0])) or device.get("address")
        if vxlan:
            told = _agreed(entry.get("dst") for node in others for entry in node.fdb if mac is not None and entry.get("mac") == mac)
        else:
            told = _agreed(hops(route)[0][0] for node in others for route in node.routes if route.get("dst") == str(subnet))
        address = told or (str(data["local"]) if parse_address(data.get("local")) is not None else self.own_address)
        found = {"backend-type": "vxlan" if vxlan else "host-gw", "backend-data": json.dumps({"VNI": 1, "VtepMAC": mac}) if vxlan else "null"}
        return {FLANNEL + name: text for name, text in {**found, **({"public-ip": address} if address else {})}.items()}

    @property
    def subnet_env(self) -> Json:
        return self._part(lambda: self.facts.flannel("subnet_env"), None)

    @property
    def neighbours(self) -> list[Mapping[str, Json]]:
        return t.cast("list[Mapping[str, Json]]", self._part(lambda: self.facts.neighbours, []))

    @property
    def fdb(self) -> list[Mapping[str, Json]]:
        return t.cast("list[Mapping[str, Json]]", self._part(lambda: self.facts.fdb, []))

    def as_object(self, seen: Mapping[str, Node]) -> dict[str, Json]:
        address, subnet = self.own_address, self.flannel_subnet
        return {
            "metadata": {"name": self.name, "annotations": {**self.annotations(), **self.lease(seen)}},
            "spec": {"podCIDRs": [str(subnet)]} if subnet is not None else {},
            "status": {"addresses": [{"type": "InternalIP", "address": address}] if address is not None else []},
        }

    def pods(self) -> Iterator[dict[str, Json]]:
        """Those with a result of the CNI plugin whose sandbox still lives; where the sandboxes were not read, all with a result."""
        results = as_list(as_mapping(as_mapping(self.facts.document).get("cni")).get("results"))
        sandboxes = self._part(lambda: self.facts.entries("sandboxes"), None)
        alive = {name for box in sandboxes or [] for name in (box.get("container_id"), box.get("pod_uid"), *as_list(box.get("container_ids"))) if name}
        for result in objects(results):
            networks = [parse_network(str(text).partition("/")[0]) for text in as_list(result.get("ips"))]
            addresses = [str(network.network_address) for network in networks if network is not None and network.version == 4]
            if not result.get("pod_name") or not addresses:
                continue
            if sandboxes is not None and result.get("containerId") not in alive and result.get("pod_uid") not in alive:
                continue
            yield {
                "metadata": {"namespace": str(result.get("pod_namespace")), "name": str(result["pod_name"]), "uid": str(result.get("pod_uid") or "")},
                "spec": {"nodeName": self.name},
                "status": {"phase": "Running", "podIPs": [{"ip": address} for address in addresses]},
            }

    def own_blocks(self) -> Iterator[IPNetwork]:
        """What Calico throws away here unless a pod has it: the node's own blocks."""
        for route in self.routes:
            network = parse_network(route.get("dst"))
            if route.get("type") == "blackhole" and route.get("protocol") in WRITERS:
                if network is not None and network.version == 4 and network.prefixlen < 32:
                    yield network


def _share_out(seen: Mapping[str, Node]) -> None:
    """A node whose BIRD told nothing announces what all others peer with and nobody else is, if that is one address and one node."""
    silent = [node for node in seen.values() if node.announced is None]
    known = {node.announced for node in seen.values()}
    foreign = [{str(as_mapping(p.get("bgp")).get("neighbor_address")) for p in node.sessions} - known for node in seen.values() if node.sessions]
    common = set.intersection(*foreign) if foreign else set()
    if len(silent) == 1 and len(common) == 1:
        silent[0].announced = next(iter(common))
    if not any(node.runs_bird for node in seen.values()) and any("vxlan.calico" in node.links for node in seen.values()):
        for node in silent:  # without BIRD only the VXLAN device tells it, and there is none
            node.announced = node.own_address if node.runs_calico else None


def _owners(seen: Mapping[str, Node]) -> dict[IPNetwork, str]:
    """Block -> its node. Of several nodes that claim it, the one that has pods in it; none where that does not decide."""
    claims: dict[IPNetwork, list[str]] = {}
    for name, node in seen.items():
        for network in node.own_blocks():
            claims.setdefault(network, []).append(name)
    result = {}
    for network, names in claims.items():
        homes = [name for name in names if any(parse_address(ip["ip"]) in network for pod in seen[name].pods() for ip in pod["status"]["podIPs"])]
        if len(names) == 1 or len(homes) == 1:
            result[network] = (homes or names)[0]
    return result


def _used(seen: Mapping[str, Node]) -> set[str | None]:
    pods = {ip["ip"] for node in seen.values() for pod in node.pods() for ip in pod["status"]["podIPs"]}
    return pods | {node.tunnel_address(device) for node in seen.values() for device in TUNNELS}


def _agreed(values: Iterable[Json]) -> str | None:
    """What several nodes say, if it is the same."""
    found = [value for value in values if isinstance(value, str)]
    return found[0] if len(found) > 1 and len(set(found)) == 1 else None


def _block(prefix: IPNetwork, owner: str, used: set[str | None]) -> dict[str, Json]:
    """Its allocations are those that are seen in use."""
    size = min(prefix.num_addresses, 1 << 12)
    return {
        "metadata": {"name": str(prefix)},
        "spec": {"cidr": str(prefix), "affinity": f"host:{owner}", "allocations": [0 if str(prefix[at]) in used else None for at in range(size)]},
    }


def _ways(seen: Mapping[str, Node]) -> Iterator[tuple[IPNetwork, str, bool | None]]:
    """(block, encapsulation, whether both nodes share a subnet) of each route of Calico's to another node's block."""
    owners = _owners(seen)
    for name, node in seen.items():
        for prefix, owner in owners.items():
            if owner == name:
                continue
            there = seen[owner].announced
            mine = parse_network(f"{node.announced}/{node.prefixlen(node.announced)}") if node.announced else None
            near = parse_address(there) in mine if mine is not None and there is not None else None
            for route in node.routes:
                if route.get("dst") != str(prefix):
                    continue
                tunnel = TUNNELS.get(str(hops(route)[0][1]))
                if route.get("type") == "unicast" and (tunnel or route.get("protocol") in WRITERS):
                    yield prefix, tunnel or "none", near


def _pools(seen: Mapping[str, Node]) -> list[Json] | None:
    """One for each block, with the encapsulation that most routes of the cluster show; without routes, that of the devices."""
    owners = _owners(seen)
    found = list(_ways(seen))
    kinds = Counter(how for _prefix, how, _near in found)
    devices = [how for device, how in TUNNELS.items() if any(node.tunnel_address(device) for node in seen.values())]
    mode: tuple[str, str] | None = None
    if not found:
        mode = (devices[0], "Always") if len(devices) == 1 else ("none", "Never") if not devices else None
    else:
        for how in ("none", "ipip", "vxlan"):
            if kinds[how] >= ENOUGH * len(found):
                mode = (how, "Never" if how == "none" else "Always")
        crossing = [how for how in ("ipip", "vxlan") if kinds[how]]
        if kinds["none"] and len(crossing) == 1:
            fits = sum(near is not None and (how == "none") == near for _prefix, how, near in found)
            mode = (crossing[0], "CrossSubnet") if fits == len(found) else mode if fits < max(kinds.values()) else None
    if mode is None or not owners:
        return None
    how, word = mode
    modes = {"ipipMode": word if how == "ipip" else "Never", "vxlanMode": word if how == "vxlan" else "Never"}
    return [{"metadata": {"name": str(prefix)}, "spec": {"cidr": str(prefix), **modes}} for prefix in owners]


def _mesh(seen: Mapping[str, Node]) -> list[Json] | None:
    """Nothing configured is Calico's node-to-node mesh; confd calls its sessions Mesh_ADDRESS. With other sessions, what is configured is not known."""
    names = [str(protocol.get("name")) for node in seen.values() for protocol in node.sessions]
    return [] if names and all(name.startswith("Mesh_") for name in names) else None


def _felix_writes(seen: Mapping[str, Node]) -> bool:
    owners = _owners(seen)
    written = Counter(route.get("protocol") for node in seen.values() for route in node.routes if parse_network(route.get("dst")) in owners)
    return written["80"] > written["bird"]


def _daemonsets(seen: Mapping[str, Node]) -> list[Json]:
    flannel = any(node.flannel_subnet is not None for node in seen.values())
    found = []
    if any(node.runs_calico for node in seen.values()):
        bird = any(node.runs_bird for node in seen.values())
        backend = "bird" if bird else "vxlan" if any(node.tunnel_address("vxlan.calico") for node in seen.values()) else "none" if flannel else "bird"
        found.append(_daemonset("calico-node", {"CALICO_NETWORKING_BACKEND": backend}))
    return found + ([_daemonset("kube-flannel", {})] if flannel else [])


def _daemonset(name: str, environment: Mapping[str, str]) -> dict[str, Json]:
    env: Iterable[Json] = [{"name": key, "value": value} for key, value in environment.items()]
    container = {"name": name, "env": list(env)}
    return {"metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": {"k8s-app": name}}, "spec": {"containers": [container]}}}}
