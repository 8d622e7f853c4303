"""What Calico itself keeps in the API: its pools, blocks, affinities and settings."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from typing import Any

from lab.api.client import CALICO, Json
from lab.api.objects import metadata, now
from lab.plan import POOL, Description, Node


def calico(kind: str, name: str, spec: Json, labels: dict[str, str] | None = None) -> Json:
    """An object of crd.projectcalico.org/v1 as libcalico-go stores it."""
    stored: dict[str, Any] = {"creationTimestamp": None, **({"labels": labels} if labels else {})}
    meta = metadata(name, labels=labels)
    meta["annotations"] = {"projectcalico.org/metadata": json.dumps(stored, separators=(",", ":"))}
    return {"apiVersion": CALICO, "kind": kind, "metadata": meta, "spec": spec}


def block_spec(lab: Description, item: Node) -> Json:
    """What IPAM's block of a node says: which address belongs to whom."""
    network = ipaddress.ip_network(item.block)
    attributes: list[Json] = []
    allocations: list[int | None] = [None] * network.num_addresses
    numbers: dict[str, int] = {}

    def allocate(address: str, handle: str, secondary: dict[str, str]) -> None:
        ordinal = int(ipaddress.ip_address(address)) - int(network.network_address)
        allocations[ordinal] = len(attributes)
        numbers[str(ordinal)] = 1795253282246452690 + len(attributes)
        attributes.append({"handle_id": handle, "secondary": secondary})

    if item.tunnel:
        secondary = {"node": item.name, "type": f"{lab.calico.tunnel}TunnelAddress"}
        allocate(item.tunnel, f"{lab.calico.tunnel}-tunnel-addr-{item.name}", secondary)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S.000000000 +0000 UTC", time.gmtime())
    for each in lab.pods:
        if each.node == item.name:
            secondary = {"namespace": each.namespace, "node": item.name, "pod": each.name, "timestamp": stamp}
            allocate(each.address, f"k8s-pod-network.{each.sandbox}", secondary)
    return {
        "affinity": f"host:{item.name}",
        "affinityClaimTime": now(),
        "allocations": allocations,
        "attributes": attributes,
        "cidr": item.block,
        "deleted": False,
        "sequenceNumber": 1795253282246452690 + len(attributes),
        "sequenceNumberForAllocation": numbers,
        "strictAffinity": False,
        "unallocated": [ordinal for ordinal, owner in enumerate(allocations) if owner is None],
    }


def cidr_name(cidr: str) -> str:
    return cidr.replace(".", "-").replace("/", "-")


def calico_objects(lab: Description) -> list[Json]:
    """Everything that Calico itself keeps in the API, the nodes' blocks included; canal has none."""
    mesh = {"asNumber": 64512, "nodeToNodeMeshEnabled": False} if lab.calico.reflectors else {}
    found = [
        calico(
            "IPPool",
            "default-ipv4-ippool",
            {
                "allowedUses": ["Workload", "Tunnel"],
                "assignmentMode": "Automatic",
                "blockSize": 26,
                "cidr": "192.168.0.0/16" if lab.calico.flannel else POOL,
                "ipipMode": lab.calico.ipip,
                "natOutgoing": True,
                "nodeSelector": "all()",
                "vxlanMode": lab.calico.vxlan,
            },
        ),
        calico("BGPConfiguration", "default", {"logSeverityScreen": "Info", **mesh}),
        calico("FelixConfiguration", "default", {"floatingIPs": "Disabled", "logSeverityScreen": "Info"}),
        calico(
            "ClusterInformation",
            "default",
            {
                "calicoVersion": lab.calico.version,
                "clusterGUID": hashlib.md5(lab.name.encode(), usedforsecurity=False).hexdigest(),
                "clusterType": "k8s,canal,kdd" if lab.calico.flannel else "k8s,bgp,kdd",
                "datastoreReady": True,
            },
        ),
        calico("Tier", "default", {"defaultAction": "Deny", "order": 1000000}),
    ]
    if lab.calico.reflectors:
        found.append(calico("BGPPeer", "peer-with-route-reflectors", {"nodeSelector": "all()", "peerSelector": "route-reflector == 'true'"}))
    if lab.calico.flannel:
        return found
    found.append(calico("IPAMConfig", "default", {"autoAllocateBlocks": True, "strictAffinity": False}))
    for item in lab.nodes:
        found.append(calico("IPAMBlock", cidr_name(item.block), block_spec(lab, item)))
        affinity = {"cidr": item.block, "deleted": "false", "node": item.name, "state": "confirmed", "type": "host"}
        labels = {"projectcalico.org/affinity-type": "host", "projectcalico.org/ip-version": "4"}
        found.append(calico("BlockAffinity", f"{item.name}-{cidr_name(item.block)}", affinity, labels))
        if item.tunnel:
            found.append(handle(f"{lab.calico.tunnel}-tunnel-addr-{item.name}", item.block))
    for each in lab.pods:
        found.append(handle(f"k8s-pod-network.{each.sandbox}", lab.node(each.node).block))
    return found


def handle(name: str, block: str) -> Json:
    return calico("IPAMHandle", name, {"block": {block: 1}, "deleted": False, "handleID": name})
