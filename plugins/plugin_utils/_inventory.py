# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which host of the inventory is which node of the cluster.

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ._cluster import Cluster

Variables = Mapping[str, t.Any]


def match(cluster: Cluster, hosts: Iterable[tuple[str, Variables]]) -> dict[str, str]:
    """Node name -> inventory host: by the variable podnet_node_name, the name, its first label, or the address that the host is reached at."""
    by_address: dict[str, str] = {}
    by_label: dict[str, str | None] = {}
    for node in cluster.nodes.values():
        for held in (*node.internal_ips, *node.calico_addresses):
            by_address.setdefault(held, node.name)
        label = node.name.partition(".")[0]
        by_label[label] = node.name if label not in by_label else None
    result: dict[str, str] = {}
    for host, variables in hosts:
        declared = variables.get("podnet_node_name")
        name: str | None
        if isinstance(declared, str) and declared:
            name = declared if declared in cluster.nodes else None
        elif host in cluster.nodes:
            name = host
        else:
            address = variables.get("ansible_host")
            name = by_label.get(host.partition(".")[0]) or by_address.get(str(address)) or by_address.get(host)
        if name is not None:
            result.setdefault(name, host)
    return result


def not_matched(nodes: Iterable[str], hosts: Mapping[str, str]) -> dict[str, str]:
    """Node -> why it cannot be asked."""
    return {
        node: f"is not in the inventory: add a host named {node}, or set podnet_node_name={node} on the host that it is"
        for node in nodes
        if node not in hosts
    }
