# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which host of the inventory is which node of the cluster.

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping

from ._cluster import Cluster, Node
from ._json import Json, as_mapping

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


def _plain(identifier: Json) -> str:
    return re.sub(r"[^0-9a-f]", "", str(identifier or "").lower())


def identified(document: Mapping[str, Json] | None, nodes: Mapping[str, Node]) -> list[str] | None:
    """The API's nodes that have this machine's identity; None where neither side tells enough to compare."""
    identity = as_mapping((document or {}).get("identity"))
    machine, system = _plain(identity.get("machine_id")), _plain(identity.get("system_uuid"))
    if machine and any(node.machine_id for node in nodes.values()):
        return [node.name for node in nodes.values() if machine == _plain(node.machine_id)]
    if system and any(node.system_uuid for node in nodes.values()):
        return [node.name for node in nodes.values() if system == _plain(node.system_uuid)]
    return None


def machine_of(cluster: Cluster, node: str, document: Mapping[str, Json] | None) -> tuple[str, list[str]]:
    """("same" | "other" | "unknown", the API's nodes that have this machine's identity): whether what answered for a node is that node."""
    matching = identified(document, cluster.nodes)
    if matching is None or node not in cluster.nodes:
        return "unknown", []
    return ("same" if node in matching else "other"), matching
