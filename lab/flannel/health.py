"""What a healthy node has of flannel's, and what is missing on one that is not."""

from __future__ import annotations

from typing import Any

from lab import kernel
from lab.calico.manage import find
from lab.flannel import flanneld
from lab.flannel.cni import BRIDGE, gateway
from lab.plan import Description, Node

Rows = list[dict[str, Any]]


def problems(lab: Description, node: Node, routes: Rows, leases: dict[str, flanneld.Lease]) -> list[str]:
    """A sentence each. leases: what the nodes announce in the API."""
    found = []
    if not find(node, flanneld.TITLE[0]):
        found.append(f"flanneld is dead on {node.name}")
    lease = leases.get(node.name)
    if lease is None or lease.public_ip != node.address:
        found.append(f"{node.name} announces {lease.public_ip if lease else 'nothing'}, not {node.address}")
    links: dict[str, dict[str, Any]] = {link["ifname"]: link for link in kernel.ip_json(["-d", "addr"], node.netns)}
    if lab.calico.flannel == "vxlan":
        found += _device(node, links, lease)
        found += _entries(lab, node, leases)
    for other in lab.nodes:
        way = [(route.get("gateway"), route.get("dev"), route.get("protocol", "boot")) for route in routes if route["dst"] == other.block]
        if other.name != node.name and lab.way(node, other) not in way:
            found.append(f"{node.name} has no route to {other.block} of {other.name}")
    if not lab.calico.backend:
        found += _bridge(lab, node, links)
    return found


def _device(node: Node, links: dict[str, dict[str, Any]], lease: flanneld.Lease | None) -> list[str]:
    link = links.get(flanneld.DEVICE)
    if link is None or "UP" not in link["flags"]:
        return [f"{flanneld.DEVICE} of {node.name} is {'down' if link else 'not there'}"]
    if lease is not None and link["address"] != lease.mac:
        return [f"{flanneld.DEVICE} of {node.name} has {link['address']}, and {node.name} announces {lease.mac}"]
    return []


def _entries(lab: Description, node: Node, leases: dict[str, flanneld.Lease]) -> list[str]:
    neighbours = {item["dst"]: item.get("lladdr") for item in kernel.ip_json(["neigh", "show", "nud", "permanent"], node.netns)}
    fdb = {(item["mac"], item["dst"]) for item in kernel.ip_json(["fdb", "show"], node.netns, program="bridge") if item.get("dst")}
    found = []
    for other in lab.nodes:
        lease = leases.get(other.name)
        if other.name != node.name and lease is not None:
            if neighbours.get(lease.vtep) != lease.mac:
                found.append(f"{node.name} has no neighbour {lease.vtep} of {other.name}")
            if (lease.mac, other.address) not in fdb:
                found.append(f"{node.name} has no FDB entry {lease.mac} of {other.name}")
    return found


def _bridge(lab: Description, node: Node, links: dict[str, dict[str, Any]]) -> list[str]:
    mine = [pod for pod in lab.pods if pod.node == node.name]
    if not mine:
        return []
    bridge = links.get(BRIDGE)
    have = [item["local"] for item in bridge["addr_info"] if item["family"] == "inet"] if bridge else []
    if bridge is None or "UP" not in bridge["flags"] or have != [gateway(node)]:
        return [f"{BRIDGE} of {node.name} has {', '.join(have) or 'no address'}, not {gateway(node)}, or is down"]
    found = []
    for pod in mine:
        port = links.get(pod.interface)
        state = ((port or {}).get("linkinfo", {}).get("info_slave_data") or {}).get("state")
        if port is None or port.get("master") != BRIDGE or state != "forwarding":
            found.append(f"{pod.interface} of pod {pod.namespace}/{pod.name} is no forwarding port of {BRIDGE} on {node.name}")
    return found
