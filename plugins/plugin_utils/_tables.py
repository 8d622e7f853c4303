# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the API says of blocks, peers, tunnel ends and pods, as the rows that the nodes of an audit answer by.
# Whether a row is right is judged afterwards, from the answer; here it only has to be a likely one.

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping

from ..module_utils._entries import Row
from ._cluster import Cluster
from ._files import file_of
from ._flannel import carries, leases
from ._json import NotCollected, family_of
from ._question import Endpoint
from ._topology import VTEP_ADDRESS, default_vtep_mac, families, host_prefix, peer_addresses, pod_prefixes

SHARED = "shared.json"
Rows = list[Row]


def shared(cluster: Cluster) -> dict[str, Rows]:
    """Of the whole cluster."""
    tables: dict[str, Rows] = {"blocks": [], "peers": [], "vteps": [], "tunnel_ends": []}
    if carries(cluster):
        for lease in leases(cluster).values():
            _add(tables["blocks"], str(lease.cidr), lease.vtep_address)
            _add(tables["blocks"], str(lease.cidr), lease.address)
            _add(tables["vteps"], lease.vtep_address, lease.vtep_mac)
            _add(tables["tunnel_ends"], lease.vtep_mac, lease.address)
        return tables
    for family in families(cluster):
        for name, address in peer_addresses(cluster, family).items():
            node = cluster.nodes[name]
            vtep = node.annotation(VTEP_ADDRESS[family])
            mac = node.annotation("VXLANTunnelMACAddr" if family == "ipv4" else "VXLANTunnelMACAddrV6") or default_vtep_mac(name, family)
            _add(tables["peers"], address)
            _add(tables["vteps"], vtep, mac.lower() if vtep else None)
            _add(tables["tunnel_ends"], mac.lower() if vtep else None, address)
    try:
        for remote in pod_prefixes(cluster):
            known = cluster.nodes.get(remote.node)
            family = family_of(remote.prefix)
            _add(tables["blocks"], remote.prefix, peer_addresses(cluster, family).get(remote.node))
            _add(tables["blocks"], remote.prefix, known.annotation(VTEP_ADDRESS[family]) if known is not None else None)
    except NotCollected:
        pass  # then blocks travel as they are
    return tables


def _add(rows: Rows, *texts: str | None) -> None:
    if all(texts):
        rows.append(tuple(str(text) for text in texts))


def of_node(pods: Iterable[Endpoint]) -> dict[str, Rows]:
    """Of one node's own pods."""
    mine = [(pod.uid, pod.ifname, pod.address) for pod in pods]
    rows: Rows = [*mine]
    return {
        "pods": rows,
        "pod_routes": [(host_prefix(address), ifname) for _uid, ifname, address in mine],
        "pod_neighbours": [(address, ifname) for _uid, ifname, address in mine],
        "pod_links": [(ifname,) for _uid, ifname, _address in mine],
    }


def read(folder: str, host: str) -> dict[str, Rows]:
    """What was written for a host. Errors: OSError, ValueError, KeyError."""
    return {**_part(folder, SHARED), **own(folder, host)}


def own(folder: str, host: str) -> dict[str, Rows]:
    """The rows of the host alone. Errors: as of read."""
    return _part(folder, file_of(host))


def _part(folder: str, name: str) -> dict[str, Rows]:
    with open(os.path.join(folder, name), encoding="utf-8") as stream:
        document: Mapping[str, Mapping[str, Rows]] = json.load(stream)
    return dict(document["tables"])
