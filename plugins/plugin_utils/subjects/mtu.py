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
from .._json import NotCollected, as_mapping, family_of, tagged
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


@expects("probe.full_size")
def full_size_crosses(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    pair = scope.question.lead
    for direction, near, far in (("forward", pair.source, pair.destination), ("reverse", pair.destination, pair.source)):
        ways = [f"{near.address}>{far.address}", f"{far.address}>{near.address}"]  # an echo comes back in the size that it had
        needs = [FactId("mtu.way", str(node), way) for node, way in zip((far.node, near.node), ways) if node]
        needs += [FactId("probe.watch", end.node or "", way) for end, way in ((pair.source, "forward"), (pair.destination, "reverse"))]
        yield Fact("probe.full_size", near.node or "", direction, value="seen at the far end", needs=tuple(needs))


@check("probe.full_size.lost", fact="probe.full_size")
def full_size_arrives(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Where small echoes cross and those of full size do not, the size decides."""
    evidence = documents.evidence
    large = evidence.of_full_size(fact.object)
    small = [p for p in evidence.probes if p.get("direction") == fact.object and p.get("protocol") == "icmp" and not p.get("size")]
    if large is None or not small:
        raise NotApplicable("no packets of full size were sent in this run")
    if not any(p.get("arrived") and p.get("replied") for p in small):
        raise NotApplicable("small packets did not come back either")
    if large.get("arrived") is None:
        raise NotCollected(f"{fact.node}: packets of full size could not be watched: {large.get('reason') or 'no reason given'}")
    if large.get("replied"):
        return None
    lost = as_mapping(large.get("lost"))
    where = f" behind {lost['after']}" if lost.get("after") else ""
    what = "answers" if large.get("arrived") else "echoes"
    evidence_line = f"{what} of {large['size']} bytes were lost{where}, those of small echoes came ({fact.object})"
    return Finding("probe.full_size.lost", fact, "lost", evidence_line, ("probe",), hint={"size": large["size"], "hop": str(lost.get("hop") or "")})


@cause(roots=("probe.full_size.lost",))
def measured(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The MTUs of both nodes do not say why."""
    first = findings[0]
    hop, size = str(first.hint["hop"]), first.hint["size"]
    place = f"at {hop}" if hop else "on the way"
    yield Cause(
        "mtu_blackhole", "F14", first.fact.node, f"Packets of {size} bytes are lost {place}, small ones pass, and nobody tells the sender.", findings,
        objects=[hop] if hop else [], why=["Pings and DNS work, TLS and large answers hang."],
        remedies=[Remedy("advise_mtu", "R4", "give that place the MTU of the others, or Calico and all pods a smaller one (veth_mtu, or"
                         " Installation.calicoNetwork.mtu)", "", node=first.fact.node, object=hop)],
    )  # fmt: skip


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
