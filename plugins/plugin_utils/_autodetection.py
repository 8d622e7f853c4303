# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which address calico-node would announce on a node, from that node's own links and addresses.

from __future__ import annotations

import ipaddress
import re

from ._cluster import Cluster
from ._documents import NodeFacts
from ._json import NotCollected

# node/pkg/lifecycle/startup/autodetection, DEFAULT_INTERFACES_TO_EXCLUDE (calico.md section 6.1)
EXCLUDED = tuple(
    re.compile(pattern)
    for pattern in (
        r"^docker.*", r"^cbr.*", r"^dummy.*", r"^podman.*", r"^virbr.*", r"^lxcbr.*", r"^veth.*", r"^lo", r"^br-.*", r"^cali.*", r"^tunl.*",
        r"^flannel.*", r"^kube-ipvs.*", r"^cni.*", r"^vxlan\.calico.*", r"^vxlan-v6\.calico.*", r"^wireguard\.cali.*", r"^wg-v6\.cali.*",
        r"^nodelocaldns.*",
    )
)  # fmt: skip


def _global_unicast(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def candidates(facts: NodeFacts, without: str | None = None) -> list[tuple[str, str]]:
    """(interface, address) in the order in which Calico looks: newest interface first, its addresses in the kernel's order."""
    order = {name: link.get("ifindex") or 0 for name, link in facts.links.items()}
    held = [
        (str(a.get("ifname")), str(a.get("local")))
        for a in facts.addresses
        if a.get("family") == "inet" and a.get("local") != without and _global_unicast(str(a.get("local")))
    ]
    return sorted(held, key=lambda pair: -order.get(pair[0], 0))


def _excluded(name: str, more: tuple[str, ...] = ()) -> bool:
    return any(pattern.search(name) for pattern in EXCLUDED) or any(re.search(pattern, name) for pattern in more)


def autodetect(cluster: Cluster, node: str, facts: NodeFacts, without: str | None = None, by: str | None = None) -> str | None:
    """The address that a starting calico-node takes on this node, as if `without` were not there, or by another method; None if it finds none.

    Errors: NotCollected where links or addresses could not be read, or the method asks the network (can-reach).
    """
    try:
        return _choose(cluster, node, facts, without, by or cluster.autodetection)
    except (re.error, ValueError) as exc:
        raise NotCollected(f"the autodetection method {by or cluster.autodetection} cannot be understood: {exc}") from exc


def _choose(cluster: Cluster, node: str, facts: NodeFacts, without: str | None, by: str) -> str | None:
    method, _equals, argument = by.partition("=")
    if method == "kubernetes-internal-ip":
        return cluster.node(node).internal_ip
    found = candidates(facts, without)
    if method == "cidr":
        networks = [ipaddress.ip_network(text.strip(), strict=False) for text in argument.split(",")]
        return next((a for _name, a in found if any(ipaddress.ip_address(a) in network for network in networks)), None)
    if method == "interface":
        for pattern in argument.split(","):
            for name, address in found:
                if re.search(pattern.strip(), name):
                    return address
        return None
    if method == "can-reach":
        for entry in facts.entries("lookups"):
            if entry.get("dst") == argument:
                source = (entry.get("route") or {}).get("prefsrc")
                return str(source) if source and source != without else None
        raise NotCollected(f"{node}: the kernel was not asked which address it would use towards {argument} (can-reach)")
    skip = tuple(part.strip() for part in argument.split(",")) if method == "skip-interface" else ()
    return next((address for name, address in found if not _excluded(name, skip)), None)
