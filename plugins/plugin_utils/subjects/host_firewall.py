# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the nodes' own packet filters do to the traffic between the nodes (calico.md F02, F03, F04, F41).

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import replace

from .._carrying import carried, outer_source
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._firewall import Direction, end_of, outer, segment
from .._graph import Fact, FactId, Finding, Severity
from .._json import NotCollected, family_of, tagged
from .._netfilter_rules import Packet, Step
from .._packet_blame import of_host_endpoint
from .._question import Scope
from .._remedies import dead_felix, restart_calico_node
from .._topology import BGP_PORT, bgp_peers, families, peer_addresses, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("netfilter.bgp")
def bgp_passes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Both sides of a session's handshake pass the filters of a node, in and out."""
    if not uses_bird(cluster):
        return
    for family in families(cluster):
        addresses = peer_addresses(cluster, family)
        for local, peer in scope.pairs(addresses):
            if local in addresses and addresses[peer] in bgp_peers(cluster, local, family):
                value = {"own": addresses[local], "address": addresses[peer], "port": BGP_PORT, "peer": peer}
                yield Fact("netfilter.bgp", local, tagged(peer, family), value)


@check("netfilter.bgp.blocked", fact="netfilter.bgp")
def bgp_not_dropped(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, own, other = documents.node(fact.node), fact.value["own"], fact.value["address"]
    device = _device(facts, own)
    ways: tuple[tuple[Direction, str, str], ...] = (("input", other, own), ("output", own, other))
    hits = _ends(facts, own, (
        (way, segment(way, src, dst, sport, dport, device, opens))
        for way, src, dst in ways for opens, sport, dport in ((True, None, BGP_PORT), (False, BGP_PORT, None))
    ))  # fmt: skip
    if not hits:
        return None
    return _blocked("netfilter.bgp.blocked", fact, hits, "latent")


def _device(facts: NodeFacts, address: str) -> str | None:
    try:
        return facts.link_holding(address)
    except NotCollected:
        return None


def _ends(facts: NodeFacts, address: str, packets: Iterable[tuple[Direction, Packet]]) -> list[Step]:
    """The rules that certainly end one of the packets, each once, those that have ended most first."""
    filters = facts.filters("inet6" if ":" in address else "inet")
    hits = dict.fromkeys(hit for way, packet in packets if (hit := end_of(packet, way, filters)) is not None)
    return sorted(hits, key=lambda hit: -(hit.packets or 0))


def _blocked(check_id: str, fact: Fact, hits: list[Step], severity: Severity) -> Finding:
    first, *more = hits
    evidence = f"{fact.node}: {_line(first)}" + (f", and {len(more)} more" if more else "")
    where = f"{first.base.backend}, table {first.base.table}, chain {first.chain}"
    return Finding(check_id, fact, [hit.line for hit in hits], evidence, (f"netfilter {fact.node}",), severity=severity,
                   hint={"counted": any(hit.packets for hit in hits), "rules": [_line(hit) for hit in hits], "where": where, "chain": first.chain,
                         "host_endpoint": of_host_endpoint(first)})  # fmt: skip


@expects("netfilter.tunnel")
def tunnel_passes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """The packets that carry pods' packets between two nodes pass the filters of both, out of one and into the other."""
    for source, destination in scope.flows:
        for one, other in ((source, destination), (destination, source)):
            how = carried(cluster, one, other)
            if how is None or how.kind == "none":
                continue
            family = family_of(how.source)
            needs = tuple(FactId("node.address", node, tagged("", family)) for node in (how.sender, how.receiver))
            value = {"kind": how.kind, "port": how.port, "from": how.sender, "to": how.receiver, "src": how.source, "dst": how.destination}
            for node in (how.sender, how.receiver):
                yield Fact("netfilter.tunnel", node, f"{how.sender}>{how.receiver}", value, needs=needs)


@check("netfilter.tunnel.blocked", fact="netfilter.tunnel")
def tunnel_not_dropped(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted = documents.node(fact.node), fact.value
    way: Direction = "output" if fact.node == wanted["from"] else "input"
    source = outer_source(documents, wanted)
    own = source if way == "output" else wanted["dst"]
    hits = _ends(facts, own, [(way, outer(way, source, wanted["dst"], wanted["port"], _device(facts, own)))])
    if not hits:
        return None
    finding = _blocked("netfilter.tunnel.blocked", fact, hits, "critical")
    return replace(finding, hint={**finding.hint, "source": source})


FELIX_DROPS = ("non-Calico hosts", "non-allowed hosts")  # the comments of Felix's own rules (felix/rules/static.go), cut at 128 bytes at most


@cause(roots=("netfilter.tunnel.blocked",))
def tunnel_filtered(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.fact.node, finding.actual[0]), []).append(finding)
    for (node, rule), mine in alike.items():
        wanted, shown = mine[0].fact.value, mine[0].hint["rules"][0]
        what = "IPIP (IP protocol 4)" if wanted["kind"] == "ipip" else f"VXLAN (UDP {wanted['port']})"
        if any(text in rule for text in FELIX_DROPS):
            dead = dead_felix(diagnosis, node)
            why = [f"Felix takes {what} only from addresses that it knows: those that the nodes announce. It is in {mine[0].hint['where']}."]
            yield Cause(
                "tunnel_source_not_allowed", "F41", node, f"{node} does not take {what} from {mine[0].hint['source']} of {wanted['from']}: {shown}", mine,
                objects=[mine[0].hint["source"]], why=why + [f"Felix on {node} is dead; it would learn the address."] * bool(dead), also=dead,
                remedies=restart_calico_node(diagnosis.documents, node, f"{node} takes {what} from {wanted['from']}"),
            )  # fmt: skip
            continue
        if mine[0].hint["host_endpoint"]:
            yield _host_endpoint(node, f"{what} between {wanted['from']} and {wanted['to']}", mine, [f"It is in {mine[0].hint['where']}: {shown}."])
            continue
        name, number = ("tunnel_blocked_ipip", "F03") if wanted["kind"] == "ipip" else ("tunnel_blocked_vxlan", "F04")
        ends = f"{wanted['from']} and {wanted['to']}"
        yield Cause(
            name, number, node, f"{node} itself drops {what}, which carries the pods' packets between {ends}: {shown}", mine, objects=[rule],
            why=[f"It is in {mine[0].hint['where']}."],
            remedies=[Remedy("advise_tunnel", "R0", f"on {node}, take out, or accept {what} of the other nodes before: {rule}", "", node=node, object=rule)],
        )  # fmt: skip


def _host_endpoint(node: str, what: str, findings: list[Finding], why: list[str]) -> Cause:
    chain = findings[0].hint["chain"]
    advice = f"allow {what} in a GlobalNetworkPolicy that selects the HostEndpoint of {node}, or put its port back among Felix's failsafe ports"
    return Cause("hostendpoint_blocks_infra", "F58", node, f"The HostEndpoint of {node} does not let {what} pass.", findings, objects=[chain],
                 why=[*why, "What no policy of a HostEndpoint allows is dropped, except the failsafe ports (FelixConfiguration, failsafeInboundHostPorts)."],
                 remedies=[Remedy("advise_hostendpoint", "R0", advice, "", node=node, object=chain)])  # fmt: skip


def _line(hit: Step) -> str:
    return hit.line if hit.packets is None else f"{hit.line} ({hit.packets} packets)"


@cause(roots=("netfilter.bgp.blocked",))
def bgp_filtered(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The same rules are one cause, for all the peers that they cut off."""
    alike: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.fact.node, *finding.hint["rules"]), []).append(finding)
    for (node, *rules), mine in alike.items():
        others = sorted({finding.fact.value["peer"] for finding in mine})
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        why = [f"It is in {mine[0].hint['where']}." + (f" So do: {'; '.join(rules[1:])}." if rules[1:] else "")]
        if mine[0].hint["host_endpoint"]:
            yield _host_endpoint(node, f"TCP port {BGP_PORT} (BGP) between it and {shown}", mine, why)
            continue
        late = [] if any(finding.hint["counted"] for finding in mine) else ["No packet was counted yet: a session that stands ends when it restarts."]
        yield Cause(
            "bgp_tcp179_blocked", "F02", node, f"{node} itself drops TCP port 179 between it and {shown}: {rules[0]}", mine,
            objects=[*mine[0].actual, *others], why=[*why, *late],
            remedies=[Remedy("advise_tcp179", "R0", f"on {node}, take out, or accept TCP 179 of the other nodes before: {'; '.join(mine[0].actual)}", "",
                             node=node, object=mine[0].actual[0])],
        )  # fmt: skip
