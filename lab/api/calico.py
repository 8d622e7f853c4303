"""What Calico itself keeps in the API: its pools, blocks, affinities and settings."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from typing import Any

from lab.api.client import CALICO, Json
from lab.api.objects import metadata, now
from lab.plan import POOL, POOL6, Description, Node


def calico(kind: str, name: str, spec: Json, labels: dict[str, str] | None = None) -> Json:
    """An object of crd.projectcalico.org/v1 as libcalico-go stores it."""
    stored: dict[str, Any] = {"creationTimestamp": None, **({"labels": labels} if labels else {})}
    meta = metadata(name, labels=labels)
    meta["annotations"] = {"projectcalico.org/metadata": json.dumps(stored, separators=(",", ":"))}
    return {"apiVersion": CALICO, "kind": kind, "metadata": meta, "spec": spec}


def block_spec(lab: Description, item: Node, block: str) -> Json:
    """What IPAM's block of a node says: which address belongs to whom."""
    network = ipaddress.ip_network(block)
    attributes: list[Json] = []
    allocations: list[int | None] = [None] * network.num_addresses
    numbers: dict[str, int] = {}

    def allocate(address: str, handle: str, secondary: dict[str, str]) -> None:
        ordinal = int(ipaddress.ip_address(address)) - int(network.network_address)
        allocations[ordinal] = len(attributes)
        numbers[str(ordinal)] = 1795253282246452690 + len(attributes)
        attributes.append({"handle_id": handle, "secondary": secondary})

    if item.tunnel and block == item.block:
        secondary = {"node": item.name, "type": f"{lab.calico.tunnel}TunnelAddress"}
        allocate(item.tunnel, f"{lab.calico.tunnel}-tunnel-addr-{item.name}", secondary)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S.000000000 +0000 UTC", time.gmtime())
    for each in lab.pods:
        if each.node == item.name:
            secondary = {"namespace": each.namespace, "node": item.name, "pod": each.name, "timestamp": stamp}
            allocate(each.address if network.version == 4 else each.address6, f"k8s-pod-network.{each.sandbox}", secondary)
    return {
        "affinity": f"host:{item.name}",
        "affinityClaimTime": now(),
        "allocations": allocations,
        "attributes": attributes,
        "cidr": block,
        "deleted": False,
        "sequenceNumber": 1795253282246452690 + len(attributes),
        "sequenceNumberForAllocation": numbers,
        "strictAffinity": False,
        "unallocated": [ordinal for ordinal, owner in enumerate(allocations) if owner is None],
    }


def cidr_name(cidr: str) -> str:
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


def calico_objects(lab: Description) -> list[Json]:
    """Everything that Calico itself keeps in the API, the nodes' blocks included; canal has none."""
    mesh = {"asNumber": 64512, "nodeToNodeMeshEnabled": False} if lab.calico.reflectors else {}
    nftables = {"nftablesMode": "Enabled"} if lab.dataplane == "nftables" else {}
    found = [
        *(calico("IPPool", f"default-ipv{family}-ippool", pool(lab, family)) for family in lab.calico.families),
        calico("BGPConfiguration", "default", {"logSeverityScreen": "Info", **mesh}),
        calico("FelixConfiguration", "default", {"floatingIPs": "Disabled", "logSeverityScreen": "Info", **nftables}),
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
        for block in item.blocks:
            found.append(calico("IPAMBlock", cidr_name(block), block_spec(lab, item, block)))
            affinity = {"cidr": block, "deleted": "false", "node": item.name, "state": "confirmed", "type": "host"}
            labels = {"projectcalico.org/affinity-type": "host", "projectcalico.org/ip-version": "6" if ":" in block else "4"}
            found.append(calico("BlockAffinity", f"{item.name}-{cidr_name(block)}", affinity, labels))
        if item.tunnel:
            found.append(handle(f"{lab.calico.tunnel}-tunnel-addr-{item.name}", [item.block]))
    for each in lab.pods:
        found.append(handle(f"k8s-pod-network.{each.sandbox}", lab.node(each.node).blocks))
    return found


def pool(lab: Description, family: int) -> Json:
    """The pool of a family's pod addresses."""
    return {
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
        "blockSize": 26 if family == 4 else 122,
        "cidr": "192.168.0.0/16" if lab.calico.flannel else POOL if family == 4 else POOL6,
        "ipipMode": lab.calico.ipip if family == 4 else "Never",
        "natOutgoing": True,
        "nodeSelector": "all()",
        "vxlanMode": lab.calico.vxlan if family == 4 else "Never",
    }


def handle(name: str, blocks: list[str]) -> Json:
    return calico("IPAMHandle", name, {"block": dict.fromkeys(blocks, 1), "deleted": False, "handleID": name})
