# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: whom Calico's IPAM has given its addresses to.

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ._json import NotCollected, as_list, as_mapping, parse_network

if t.TYPE_CHECKING:
    from ._cluster import Cluster


@dataclass(frozen=True)
class Allocation:
    """An address that a block has given out. pod: namespace/name, "" where it is not a pod's; tunnel: whether it is the address of the node's tunnel."""

    address: str
    block: str
    node: str
    pod: str
    tunnel: bool = False


def allocations(cluster: Cluster) -> list[Allocation]:
    """Those of pods and of tunnels. Errors: NotCollected."""

    def read() -> list[Allocation]:
        found = []
        for raw in cluster.section("ipamblocks"):
            spec = as_mapping(raw.get("spec"))
            cidr, attributes = parse_network(spec.get("cidr")), as_list(spec.get("attributes"))
            if cidr is None or str(spec.get("deleted", "")).lower() == "true":
                continue
            for place, number in enumerate(as_list(spec.get("allocations"))):
                known = isinstance(number, int) and 0 <= number < len(attributes) and place < cidr.num_addresses
                names = as_mapping(as_mapping(attributes[number]).get("secondary")) if known else {}
                pod = f"{names['namespace']}/{names['pod']}" if names.get("namespace") and names.get("pod") else ""
                tunnel = str(names.get("type", "")).endswith("TunnelAddress")
                if pod or tunnel:
                    found.append(Allocation(str(cidr[place]), str(cidr), str(names.get("node") or ""), pod, tunnel))
        return found

    return cluster.once("allocations", read)


def holder(cluster: Cluster, address: str) -> Allocation | None:
    """Whom IPAM has given an address to; None where it does not tell."""
    try:
        return next((one for one in allocations(cluster) if one.address == address), None)
    except NotCollected:
        return None
