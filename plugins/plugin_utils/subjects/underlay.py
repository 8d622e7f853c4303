# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The network between the nodes, as far as each node's own kernel tells (F15, F33).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._flannel import bridged
from .._graph import Fact, FactId, Finding, NotApplicable, by_common_end
from .._json import NotCollected, as_list, as_mapping, family_of, tagged
from .._question import Scope
from .._remedies import set_sysctl
from .._routes import hops, route_line
from .._topology import encapsulation, families, peer_addresses

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

UPLINK = "uplink"
STRICT = "1"  # rp_filter (Documentation/networking/ip-sysctl): 0 off, 1 strict, 2 loose; the larger of all and the interface counts


@expects("underlay.route", "underlay.mac")
def underlay_routes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for family in families(cluster):
        addresses = peer_addresses(cluster, family)
        for local, peer in scope.pairs(addresses):
            if peer in scope.asked:
                tag, value = tagged(peer, family), {"address": addresses[peer], "peer": peer}
                yield Fact("underlay.route", local, tag, value)
                yield Fact("underlay.mac", local, tag, value, needs=(FactId("node.address", peer, tagged("", family)),))


@check("underlay.route.missing", "underlay.neighbour.failed", fact="underlay.route")
def peer_reachable(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, address = documents.node(fact.node), fact.value["address"]
    answer = facts.lookup(dst=address)
    source = (f"kernel {fact.node}",)
    if answer.get("error"):
        return Finding("underlay.route.missing", fact, answer["error"], f"ip route get {address}: {answer['error']}", source)
    next_hop = answer.get("gateway") or address
    for entry in facts.neighbours_at(next_hop):
        if entry.get("dev") == answer.get("dev") and not entry.get("lladdr"):
            state = [word for word in as_list(entry.get("state")) if word in ("FAILED", "INCOMPLETE")]
            if state:
                return Finding("underlay.neighbour.failed", fact, state[0], f"{next_hop} dev {entry.get('dev')} {state[0]}", source)
    return None


@expects("underlay.source")
def accepted_sources(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Where packets travel without a tunnel: the destination's node must accept them on the interface that they come in on."""
    for source, destination in scope.flows:
        if source.kind == destination.kind == "pod" and source.node and destination.node and source.node != destination.node:
            network = cluster.block_of(destination.address)
            try:
                how = encapsulation(cluster, network.cidr, source.node, destination.node) if network is not None else None
            except NotCollected:
                how = None
            if how == "none":
                value = {"source": source.address, "destination": destination.address, "from": source.node}
                yield Fact("underlay.source", destination.node, f"{source.address}>{destination.address}", value)


@check("rp_filter.strict", fact="underlay.source")
def reverse_path(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Strict reverse path filtering drops what comes in on another interface than the one the answer would leave by (RFC 3704)."""
    sender, facts, wanted = documents.node(fact.value["from"]), documents.node(fact.node), fact.value
    answer = sender.lookup(dst=wanted["destination"])
    gateway = answer.get("gateway")
    arrives = facts.link_holding(str(gateway)) if gateway else None
    if arrives is None:
        raise NotApplicable("the packets come over a router or end elsewhere: by which interface they arrive cannot be told")
    filters = {name: facts.sysctl(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", arrives)} if family_of(wanted["source"]) == "ipv4" else {}
    if STRICT not in filters.values() or "2" in filters.values():
        return None
    back = facts.lookup(dst=wanted["source"]).get("dev")
    if back == arrives:
        return None
    settings = ", ".join(f"{name}={value}" for name, value in filters.items())
    evidence = f"{fact.node}: rp_filter {settings}; packets from {wanted['source']} come in on {arrives}, the way back is {back}"
    return Finding("rp_filter.strict", fact, arrives, evidence, (f"kernel {fact.node}", f"kernel {fact.value['from']}"), hint={"dev": arrives, "back": back})


@check("underlay.mac.different", fact="underlay.mac")
def peer_answers_itself(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The neighbour entry of a node in the same network has that node's own MAC, unless something answers for many addresses (a router, a cloud)."""
    facts, peer, address = documents.node(fact.node), documents.node(fact.value["peer"]), fact.value["address"]
    entry = next((n for n in facts.neighbours_at(address) if n.get("lladdr")), None)
    if entry is None:
        raise NotApplicable(f"{fact.node} has no neighbour entry for {address}")
    held = peer.address_on_node(address)
    link = peer.links.get(str(held.get("ifname"))) if held is not None else None
    if link is None or not link.get("address"):
        raise NotApplicable(f"no interface of {fact.value['peer']} with a MAC holds {address}")
    if link["address"] == entry["lladdr"]:
        return None
    others = [n for n in facts.neighbours if n.get("dev") == entry.get("dev") and n.get("lladdr") == entry["lladdr"] and n.get("dst") != address]
    if others or link["address"] in {li.get("address") for li in facts.links.values()}:
        raise NotApplicable(f"{entry['lladdr']} answers for several addresses on {entry.get('dev')} of {fact.node}")
    evidence = f"{address} dev {entry.get('dev')} lladdr {entry['lladdr']} on {fact.node}; {link.get('ifname')} of {fact.value['peer']} has {link['address']}"
    return Finding("underlay.mac.different", fact, entry["lladdr"], evidence, (f"kernel {fact.node}", f"kernel {fact.value['peer']}"))


@cause(roots=("underlay.mac.different",))
def another_machine_answers(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    by_peer: dict[str, list[Finding]] = {}
    for finding in findings:
        by_peer.setdefault(finding.fact.value["peer"], []).append(finding)
    for peer, mine in by_peer.items():
        address, mac = mine[0].fact.value["address"], mine[0].actual
        seen = ", ".join(sorted({f.fact.node for f in mine}))
        yield Cause("underlay_address_conflict", None, peer, f"Another machine answers for {peer}: {seen} sends packets for {address} to {mac}.", mine,
                    objects=[str(address), str(mac)], why=["Two machines have the address, or the entry is old."],
                    remedies=[Remedy("advise_address_conflict", "R0", f"find the machine with the MAC {mac}, and take {address} from it (arping -D {address})",
                                     "", node=peer)])  # fmt: skip


@expects("underlay.default")
def one_default_route(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend not in ("", "none"):
        for name in scope.core:
            if cluster.node(name).calico_address() is not None:
                yield Fact("underlay.default", name, value="no second default route in front of that of the node's own network")


@check("underlay.default.second", fact="underlay.default")
def default_not_taken_over(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts = documents.node(fact.node)
    own = facts.link_holding(documents.cluster.node(fact.node).calico_address())
    found = sorted(facts.routes_to("0.0.0.0/0"), key=lambda route: route.get("metric") or 0)
    over_own = [route for route in found if own in [device for _gateway, device in hops(route)]]
    if own is None or not over_own:
        raise NotApplicable(f"{fact.node} has no default route over the interface of its own address")
    if over_own[0] is found[0]:
        return None
    best, following = route_line(found[0]), route_line(over_own[0])
    return Finding("underlay.default.second", fact, best, f"{best} comes before {following} on {fact.node}", (f"kernel {fact.node}",), severity="latent",
                   hint={"route": dict(found[0]), "next": following if over_own[0] is found[1] else None})  # fmt: skip


@cause(roots=("underlay.default.second",))
def second_default(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        yield Cause("second_default_route", None, node, f"{node} has a second default route that wins: {finding.actual}", [finding],
                    objects=[str(finding.actual)],
                    why=["Everything beyond the node's own networks leaves there: the API, nodes in other subnets, what pods reach outside."],
                    remedies=[*_take_out(finding),
                              Remedy("advise_default_route", "R0", f"for good, on {node}: where it comes from (DHCP, netplan, NetworkManager), leave it out or"
                                     " give it a higher metric", "", node=node)])  # fmt: skip


def _take_out(finding: Finding) -> list[Remedy]:
    """Only where the node's own network is the one that is used then. A DHCP client may bring the route back."""
    node, line, following = finding.fact.node, str(finding.actual), finding.hint["next"]
    if following is None or finding.hint["route"].get("nexthops"):
        return []
    return [
        Remedy(
            "delete_route", "R1", f"delete the route {line} on {node}", f"ip route add {line}", node=node, object=line, change=(line, ""),
            parameters={"route": finding.hint["route"], "unused": True}, verify=f"{node} uses {following}", wait_seconds=20,
            blast_radius=f"what {node} sends beyond its own networks leaves by {following}",
            preconditions=(f"{following} is next", "no established TCP connection ends at an address of its interface"),
        )
    ]  # fmt: skip


@expects("link.steady")
def steady_links(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """The host interfaces of the asked pods, and each node's own NIC (its name is known to the node alone)."""
    for pod in scope.pods:
        if not bridged(cluster):
            yield Fact("link.steady", str(pod.node), pod.label, value={"ifname": pod.ifname})
    for name in scope.core:
        yield Fact("link.steady", name, UPLINK, value={"ifname": None})


@check("link.flapping", fact="link.steady")
def carrier_stays(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, ifname = documents.node(fact.node), fact.value["ifname"]
    if ifname is None:
        node = documents.cluster.node(fact.node)
        held = (facts.link_holding(address) for address in (*node.internal_ips, *node.calico_addresses))
        ifname = next((name for name in held if name is not None), None)
    link = facts.links.get(str(ifname))
    if link is None:
        raise NotApplicable(f"{fact.node} has no such interface")
    probed = [as_mapping(probe.get("flapped")) for probe in documents.evidence.probes]
    seen = [entry["changes"] for entry in probed if entry.get("node") == fact.node and entry.get("ifname") == ifname and isinstance(entry.get("changes"), int)]
    changes = max([link.get("flapped") or 0, *seen])
    if not changes:
        return None
    sources = (f"kernel {fact.node}", "probe") if seen else (f"kernel {fact.node}",)
    evidence = f"{ifname} of {fact.node}: its carrier came or went {changes} times during this run"
    return Finding("link.flapping", fact, changes, evidence, sources, hint={"ifname": ifname})


@cause(roots=("link.flapping",))
def flapping(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, ifname = finding.fact.node, str(finding.hint["ifname"])
        whose = f", the interface of pod {finding.fact.object}," if finding.fact.object != UPLINK else ""
        yield Cause("link_flapping", None, node, f"{ifname}{whose} on {node} goes up and down again and again.", [finding], objects=[ifname],
                    why=["What depends on it is there in one moment and gone in the next."],
                    remedies=[Remedy("advise_flapping", "R0", f"see who does it: ip monitor link, journalctl -k | grep {ifname} on {node}", "",
                                     node=node)])  # fmt: skip


@expects("neighbour.table")
def neighbour_tables(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for name in scope.core:
        yield Fact("neighbour.table", name, value="room for more neighbours")


@check("neighbour.table.full", fact="neighbour.table")
def room_for_neighbours(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Above gc_thresh3 the kernel refuses new entries ("neighbour: arp_cache: neighbor table overflow!")."""
    facts = documents.node(fact.node)
    try:
        limit = int(facts.sysctl("net/ipv4/neigh/default/gc_thresh3"))
    except (NotCollected, ValueError) as exc:
        raise NotApplicable("the kernel tells no limit here") from exc
    table = as_mapping(as_mapping(facts.section("counters")).get("arp_cache"))
    entries, refused = table.get("entries"), table.get("table_fulls")
    if not isinstance(entries, int):
        raise NotCollected(f"{fact.node}: the size of the neighbour table could not be read")
    if entries < 0.9 * limit:
        return None
    evidence = f"{fact.node}: {entries} neighbours, gc_thresh3 is {limit}" + (f", {refused} refused since the start" if refused else "")
    return Finding("neighbour.table.full", fact, entries, evidence, (f"kernel {fact.node}",), severity="critical" if refused else "latent",
                   hint={"limit": limit})  # fmt: skip


@cause(roots=("neighbour.table.full",))
def neighbour_overflow(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        name, wanted = "net.ipv4.neigh.default.gc_thresh3", str(4 * int(finding.hint["limit"]))
        yield Cause("neigh_table_overflow", "F54", node, f"The neighbour table of {node} is full: {finding.actual} entries.", [finding], objects=[name],
                    why=["New neighbours, so new pods and peers, are not resolved."],
                    remedies=[
                        set_sysctl(node, "net/ipv4/neigh/default/gc_thresh3", finding.hint["limit"], wanted, f"{node} has room for more neighbours",
                                   f"{node} keeps more neighbours in memory"),
                        Remedy("advise_gc_thresh", "R0", f"for good: keep {name}={wanted} in /etc/sysctl.d of {node}, and gc_thresh1 and gc_thresh2 below it",
                               "", node=node)])  # fmt: skip


@cause(roots=("underlay.route.missing", "underlay.neighbour.failed"))
def underlay_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Grouped by the node that the dead ways have in common."""
    for culprit, others, mine in by_common_end(findings):
        question = diagnosis.scope.question.nodes
        lost = [f for f in diagnosis.findings if f.check == "probe.lost" and culprit in question and set(question) <= {culprit, *others}]
        yield Cause(
            "host_route_missing_underlay", "F33", culprit, f"{culprit} and {', '.join(others)} do not reach each other on the network between the nodes.", mine,
            objects=others, why=["The kernel resolves no MAC for the address, or has no route to it. BGP can stay Established for up to 240 s after that."],
            also=lost,
            remedies=[Remedy("advise_underlay", "R0", f"look at the NIC, the VLAN and the switch port of {culprit} (ping between the nodes, ip neigh)", "",
                             node=culprit)],
        )  # fmt: skip


@cause(roots=("rp_filter.strict",))
def strict_filter(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, device, back = finding.fact.node, finding.hint["dev"], finding.hint["back"]
        name = f"net.ipv4.conf.{device}.rp_filter"
        aliens = [f for f in diagnosis.findings if f.check == "route.alien" and f.fact.node == finding.fact.value["from"] and f.hint.get("reaches_owner")]
        yield Cause(
            "rp_filter_strict_underlay", "F15", node,
            f"{node} drops packets from {finding.fact.value['from']}: they come in on {device}, the way back is {back},"
            " and rp_filter is strict.", [finding], objects=[name], also=aliens,
            why=[f"{finding.evidence}.", *(f"{f.fact.node} has a route of its own that leads there: {f.actual}." for f in aliens)],
            remedies=[
                set_sysctl(node, f"net/ipv4/conf/{device}/rp_filter", "1", "2", f"{node} takes packets of {finding.fact.value['from']} on {device}",
                           f"{node} takes packets on {device} whose answers leave by another interface"),
                Remedy("advise_rp_filter", "R0", f"for good: let both directions use one interface, or keep {name}=2 in /etc/sysctl.d", "", node=node),
            ],
        )  # fmt: skip
