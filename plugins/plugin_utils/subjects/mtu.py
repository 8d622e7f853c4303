# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Packets of full size fit through the NIC of the node that they go to (calico.md F14). Where a sender's own NIC is the narrow one, its kernel tells the pod.

from __future__ import annotations

import typing as t

from .._carrying import both_ways
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import NotCollected, family_of, tagged
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

# Calico documentation, Configure MTU: what a tunnel puts around a packet; the addresses of the outer header decide
OVERHEAD = {("none", "ipv4"): 0, ("none", "ipv6"): 0, ("ipip", "ipv4"): 20, ("vxlan", "ipv4"): 50, ("vxlan", "ipv6"): 70}


@expects("mtu.way")
def full_size_fits(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    for source, destination, hops, how in both_ways(cluster, scope.question):
        tunnel = next((hop.device for hop in hops if hop.kind == "tunnel"), None)
        value = {
            "from": how.sender, "source": how.source, "destination": how.destination, "pod": source.label, "ifname": source.ifname, "tunnel": tunnel,
            "overhead": OVERHEAD.get((how.kind, family_of(how.source)), 0),
        }  # fmt: skip
        family = family_of(how.destination)
        needs = tuple(FactId("node.address", node, tagged("", family)) for node in (how.sender, how.receiver))
        yield Fact("mtu.way", how.receiver, f"{source.address}>{destination.address}", value, needs=needs)


def _mtu(facts: NodeFacts, name: str | None) -> int:
    link = facts.links.get(str(name))
    if link is None:
        raise NotApplicable(f"{facts.name} has no interface {name}")
    if not isinstance(link.get("mtu"), int):
        raise NotCollected(f"{facts.name}: the MTU of {name} was not read")
    return int(link["mtu"])


def _nic(facts: NodeFacts, address: str) -> str:
    name = facts.link_holding(address)
    if name is None:
        raise NotApplicable(f"{address} is on no interface of {facts.name}")
    return name


@check("mtu.narrow", fact="mtu.way")
def fits(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A frame that is larger than the MTU of the NIC which it comes in by is thrown away there, without a word to the sender."""
    wanted, sender, receiver = fact.value, documents.node(fact.value["from"]), documents.node(fact.node)
    out, into = _nic(sender, wanted["source"]), _nic(receiver, wanted["destination"])
    inner = _mtu(sender, wanted["ifname"])  # both ends of a veth pair are made with one MTU
    if wanted["tunnel"] is not None:
        inner = min(inner, _mtu(sender, wanted["tunnel"]))
    largest, room = min(inner + wanted["overhead"], _mtu(sender, out)), _mtu(receiver, into)
    if largest <= room:
        return None
    evidence = f"{into} of {fact.node}: mtu {room}; {fact.value['from']} sends up to {largest} there ({out}: mtu {_mtu(sender, out)})"
    return Finding("mtu.narrow", fact, room, evidence, (f"kernel {fact.node}", f"kernel {wanted['from']}"), severity="warning",
                   hint={"device": into, "largest": largest})  # fmt: skip


@cause(roots=("mtu.narrow",))
def blackhole(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, device, largest = finding.fact.node, finding.hint["device"], finding.hint["largest"]
        yield Cause(
            "mtu_blackhole", "F14", node, f"{device} of {node} takes {finding.actual} bytes, {finding.fact.value['from']} sends it up to {largest}:"
            " small packets pass, large ones are lost.", [finding], objects=[f"{device} {node}"],
            why=["Pings and DNS work, TLS and large answers hang: nobody tells the sender."],
            remedies=[Remedy("advise_mtu", "R4", f"give {device} of {node} the MTU {largest}, or Calico and all pods a smaller one (veth_mtu, or"
                             " Installation.calicoNetwork.mtu)", "", node=node, object=device)],
        )  # fmt: skip
