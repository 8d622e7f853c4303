# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Tunnel devices, and the network between the nodes (calico.md section 3; F33, F34, F35).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding
from .._json import as_list
from .._question import Scope
from .._remedies import restart_calico_node
from .._topology import peer_addresses, uses_ipip

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("tunnel.device")
def tunnel_devices(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not uses_ipip(cluster):
        return
    for name in scope.core:
        node = cluster.nodes.get(name)
        if node is not None and node.annotation("IPv4Address"):
            yield Fact("tunnel.device", name, value={"ifname": "tunl0", "address": node.annotation("IPv4IPIPTunnelAddr")})


@expects("underlay.route")
def underlay_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    addresses = peer_addresses(cluster)
    asked = set(scope.asked_nodes)
    for local, peer in scope.pairs(addresses):
        if peer in asked:
            yield Fact("underlay.route", local, peer, {"address": addresses[peer]})


@check("tunnel.device.missing", "tunnel.device.down", "tunnel.address.different", fact="tunnel.device")
def tunnel_up(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, source = documents.node(fact.node), (f"kernel {fact.node}",)
    link = facts.links.get("tunl0")
    if link is None:
        return Finding("tunnel.device.missing", fact, None, f"no interface tunl0 on {fact.node}", source)
    if "UP" not in as_list(link.get("flags")):
        return Finding("tunnel.device.down", fact, "down", f"tunl0: <{','.join(map(str, as_list(link.get('flags'))))}>", source)
    wanted = fact.value["address"]
    held = [str(a.get("local")) for a in facts.addresses if a.get("ifname") == "tunl0"]
    if wanted and wanted not in held:
        evidence = f"tunl0 of {fact.node} has {', '.join(held) or 'no address'}; IPv4IPIPTunnelAddr says {wanted}"
        return Finding("tunnel.address.different", fact, held, evidence, (*source, "api"), severity="warning")
    return None


@check("underlay.route.missing", "underlay.neighbour.failed", fact="underlay.route")
def peer_reachable(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, address = documents.node(fact.node), fact.value["address"]
    answer = facts.lookup(dst=address)
    source = (f"kernel {fact.node}",)
    if answer.get("error"):
        return Finding("underlay.route.missing", fact, answer["error"], f"ip route get {address}: {answer['error']}", source)
    next_hop = answer.get("gateway") or address
    for entry in facts.neighbours:
        if entry.get("dst") == next_hop and entry.get("dev") == answer.get("dev") and "FAILED" in as_list(entry.get("state")):
            return Finding("underlay.neighbour.failed", fact, "FAILED", f"{next_hop} dev {entry.get('dev')} FAILED", source)
    return None


@cause(roots=("tunnel.device.missing", "tunnel.device.down", "tunnel.address.different"))
def tunnel_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        if finding.check == "tunnel.address.different":
            yield Cause("tunnel_address_missing_or_mismatch", "F35", node, f"tunl0 of {node} does not have its tunnel address {finding.fact.value['address']}.",
                        [finding], remedies=restart_calico_node(diagnosis.documents, node, f"tunl0 of {node} has {finding.fact.value['address']}"))  # fmt: skip
            continue
        state = "is missing" if finding.check == "tunnel.device.missing" else "is down"
        remedies = [Remedy("set_link_up", "R1", f"ip link set tunl0 up on {node}", "ip link set tunl0 down", node=node, object="tunl0", change=("down", "up"),
                           parameters={"ifname": "tunl0"}, verify=f"tunl0 is up on {node}", blast_radius=f"tunnel traffic of {node}",
                           preconditions=("tunl0 is down",))] if state == "is down" else []  # fmt: skip
        yield Cause("tunnel_device_missing_or_down", "F34", node, f"The tunnel device tunl0 {state} on {node}.", [finding], objects=["tunl0"],
                    remedies=remedies or restart_calico_node(diagnosis.documents, node, f"tunl0 is up on {node}"))  # fmt: skip


@cause(roots=("underlay.route.missing", "underlay.neighbour.failed"))
def underlay_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, peer = finding.fact.node, finding.fact.object
        summary = f"{node} cannot reach {peer} ({finding.fact.value['address']}) on the network between the nodes."
        yield Cause("host_route_missing_underlay", "F33", node, summary, [finding], objects=[peer])
