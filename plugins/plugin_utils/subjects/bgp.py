# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# BIRD and its sessions (calico.md section 1; F02, F06, F19, F49, F69, F70).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, FactId, Finding, NotApplicable, by_common_end
from .._json import Family, Json, NotCollected, as_mapping, tagged
from .._question import Scope
from .._remedies import bird_first, restart_calico_node, restart_session, wait_first
from .._topology import BGP_PORT, bgp_peers, carries_routes, families, matching_nodes, peer_addresses, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

DAEMON: dict[Family, str] = {"ipv4": "BIRD", "ipv6": "bird6"}
PROCESS: dict[Family, str] = {"ipv4": "bird", "ipv6": "bird6"}


@expects("bird.running", "bgp.graceful_restart")
def daemons(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not uses_bird(cluster):
        return
    for family in families(cluster):
        for name in peer_addresses(cluster, family):
            yield Fact("bird.running", name, tagged("", family), value="running")
            if name in scope.mine:
                needs = (FactId("bird.running", name, tagged("", family)),)
                yield Fact("bgp.graceful_restart", name, tagged("", family), value="not in recovery", needs=needs)


@expects("node.ready")
def ready_nodes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if uses_bird(cluster):
        for name in peer_addresses(cluster, families(cluster)[0]):
            yield Fact("node.ready", name, value="Ready")


@expects("bgp.session", "bgp.as", "bgp.topology", "underlay.tcp179")
def sessions(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """The sessions of each asked node that the API configures: mesh, BGPPeers, route reflectors; those between two nodes seen from both sides."""
    if not uses_bird(cluster):
        return
    for family in families(cluster):
        addresses = peer_addresses(cluster, family)
        for local, name in scope.pairs(addresses):
            if local not in addresses:
                continue
            peer = bgp_peers(cluster, local, family).get(addresses[name])
            if peer is not None:
                yield from _session(local, name, family, addresses[name], peer.as_number)
            ends = tuple(FactId("node.address", end, tagged("", family)) for end in (local, name))
            yield Fact("bgp.topology", local, tagged(name, family), value={"peer": name}, needs=ends)
        for local in scope.core if cluster.section("bgppeers") else ():  # nothing else asks for peers outside of the cluster
            for peer in bgp_peers(cluster, local, family).values():
                if not peer.node:
                    value = {"address": peer.address, "state": "Established", "peer": "", "origin": peer.origin}
                    yield Fact("bgp.session", local, peer.address, value, needs=(FactId("bird.running", local, tagged("", family)),))


def _session(local: str, peer: str, family: Family, address: str, as_number: str | None) -> Iterator[Fact]:
    both = ((local, tagged(peer, family)), (peer, tagged(local, family)))
    ends = tuple(FactId(kind, name, tagged("", family)) for name in (local, peer) for kind in ("node.address", "bird.running"))
    if family == "ipv6":  # BIRD's router id is the node's IPv4 address, and two nodes must not have the same (RFC 6286)
        ends += tuple(FactId("node.address", name) for name in (local, peer))
    value = {"address": address, "peer": peer}
    filters = tuple(FactId("netfilter.bgp", *side) for side in both)
    yield Fact("underlay.tcp179", *both[0], value={**value, "port": BGP_PORT}, needs=(*ends, FactId("underlay.route", *both[0]), *filters))
    yield Fact("bgp.as", *both[0], value={**value, "as_number": as_number}, needs=ends)
    needs = [*ends, FactId("node.ready", peer), FactId("underlay.route", *both[0])]
    needs += [FactId(kind, *side) for side in both for kind in ("underlay.tcp179", "bgp.as")]
    yield Fact("bgp.session", *both[0], value={**value, "state": "Established"}, needs=tuple(needs))


@check("bird.down", "bird.hung", fact="bird.running")
def bird_runs(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, family = documents.node(fact.node), fact.family
    try:
        facts.bird(family)
    except NotCollected as exc:
        if not facts.collected:
            raise
        process = _process(facts, family)
        if process is False or exc.errno in ("ENOENT", "ECONNREFUSED", "refused"):
            sources = (f"bird {fact.node}", f"processes {fact.node}") if process is False else (f"bird {fact.node}",)
            gone = f"; no {PROCESS[family]} process" if process is False else ""
            return Finding("bird.down", fact, exc.reason, f"{exc.reason}{gone}", sources, severity="latent")
        if process and exc.errno == "timeout":
            sources = (f"bird {fact.node}", f"processes {fact.node}")
            return Finding("bird.hung", fact, exc.reason, f"{exc.reason}; its process runs", sources, severity="latent")
        raise
    return None


def _process(facts: NodeFacts, family: Family) -> bool | None:
    try:
        running = facts.process(PROCESS[family]).get("running")
    except NotCollected:
        return None
    return running if isinstance(running, bool) else None


@check("bgp.graceful_restart", fact="bgp.graceful_restart")
def no_recovery(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """In recovery BIRD exports nothing, though it has sessions; without a session there is nothing that it could export."""
    facts, family = documents.node(fact.node), fact.family
    recovery = as_mapping(facts.bird_part("status", family)).get("graceful_restart")
    if not isinstance(recovery, dict):
        return None
    if not any(established(protocol) for protocol in facts.bgp_protocols(family)):
        raise NotApplicable(f"{fact.node} has no BGP session that it could take routes from")
    evidence = f"Graceful restart recovery in progress; waiting for {recovery.get('waiting')}, timer {recovery.get('timer')}/{recovery.get('timeout')}"
    return Finding("bgp.graceful_restart", fact, recovery, evidence, (f"bird {fact.node}",), severity="latent")


def bgp_of(protocol: Mapping[str, Json]) -> Mapping[str, Json]:
    return as_mapping(protocol.get("bgp"))


def established(protocol: Mapping[str, Json] | None) -> bool:
    return protocol is not None and bgp_of(protocol).get("state") == "Established"


def session_with(facts: NodeFacts, address: str) -> Mapping[str, Json] | None:
    """The session with an address; the one that is up, where several are configured."""
    found = facts.bgp_sessions(address)
    return next(filter(established, found), found[0] if found else None)


def protocol_line(protocol: Mapping[str, Json]) -> str:
    """The line of `birdc show protocols`."""
    return " ".join(str(protocol.get(key, "")) for key in ("name", "proto", "table", "state", "since", "info")).strip()


@check("node.not_ready", fact="node.ready")
def node_ready(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Only a node that no asked BIRD has a session with counts: a kubelet that is not well does not stop packets."""
    node = documents.cluster.node(fact.node)
    if node.ready is None:
        raise NotApplicable(f"the API does not tell whether {fact.node} is Ready")
    if node.ready:
        return None
    seen_dead = []
    for facts in documents.collected():
        try:
            protocols = [p for address in node.calico_addresses for p in facts.bgp_sessions(address)]
        except NotCollected:
            continue
        if any(established(protocol) for protocol in protocols):
            raise NotApplicable(f"{fact.node} is not Ready, but {facts.name} has a BGP session with it")
        if protocols and facts.name != fact.node:
            seen_dead.append(facts.name)
    if not seen_dead:
        raise NotApplicable(f"{fact.node} is not Ready; nothing that was read shows that its network is dead")
    evidence = f"node {fact.node}: Ready is not True; no BGP session with it on {', '.join(seen_dead)}"
    return Finding("node.not_ready", fact, "not Ready", evidence, ("api", *(f"bird {name}" for name in seen_dead)), severity="latent")


@check("bgp.session.down", "bgp.session.missing", fact="bgp.session")
def session_established(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, cluster, family = documents.node(fact.node), documents.cluster, fact.family
    address = fact.value["address"]
    source = (f"bird {fact.node}",)
    protocol = session_with(facts, address)
    if protocol is None and fact.value["peer"]:
        announced = cluster.node(fact.value["peer"]).calico_address(family)
        if announced and announced != address:
            protocol = session_with(facts, announced)
    if protocol is not None:
        if established(protocol):
            return None
        towards = bgp_of(protocol).get("neighbor_address")
        actual = bgp_of(protocol).get("state") if towards == address else towards
        return Finding("bgp.session.down", fact, actual, protocol_line(protocol), source, severity="latent")
    peers = sorted(str(bgp_of(p).get("neighbor_address")) for p in facts.bgp_protocols(family))
    evidence = f"{DAEMON[family]} of {fact.node} has no protocol for {address}; its peers: {', '.join(peers) or 'none'}"
    return Finding("bgp.session.missing", fact, None, evidence, source, severity="latent")


@check("bgp.as.different", fact="bgp.as")
def as_numbers_agree(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """What BIRD says of the peer, and the AS number that its configuration expects there."""
    facts, wanted = documents.node(fact.node), fact.value["as_number"]
    sessions_there = facts.bgp_sessions(fact.value["address"])
    if not sessions_there:
        raise NotApplicable(f"BIRD of {fact.node} has no session with {fact.value['address']}")
    if any(map(established, sessions_there)):
        return None
    for protocol in sessions_there:
        configured = bgp_of(protocol).get("neighbor_as")
        complains = "Bad peer AS" in f"{protocol.get('info')} {bgp_of(protocol).get('last_error')}"
        different = configured is not None and wanted is not None and str(configured) != wanted
        if complains or different:
            evidence = protocol_line(protocol) + (f"; configured: AS {configured}, the API says AS {wanted}" if different else "")
            hint = {"configured": configured if different else None}
            return Finding("bgp.as.different", fact, configured, evidence, (f"bird {fact.node}",), severity="latent", hint=hint)
    return None


@check("bgp.topology.gap", fact="bgp.topology")
def sessions_carry_routes(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The mesh, or BGPPeers that select both nodes, or a route reflector that both peer with (calico.md section 1.5)."""
    cluster, peer, family = documents.cluster, fact.value["peer"], fact.family
    carried = carries_routes(cluster, fact.node, peer, family)
    if carried is None:
        raise NotApplicable("a BGP peer outside of the cluster may carry the routes")
    if carried:
        return None
    names = sorted(str(as_mapping(raw.get("metadata")).get("name")) for raw in cluster.section("bgppeers"))
    evidence = f"nodeToNodeMeshEnabled: {str(cluster.mesh).lower()}; BGPPeers: {', '.join(names) or 'none'}; none of them links {fact.node} and {peer}"
    return Finding("bgp.topology.gap", fact, None, evidence, ("api",), severity="latent")


@check("underlay.tcp179.blocked", fact="underlay.tcp179")
def tcp179_answers(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """An Established session is the best proof; otherwise a half-open probe that was asked for must have been answered."""
    facts = documents.node(fact.node)
    address = fact.value["address"]
    try:
        if established(session_with(facts, address)):
            return None
    except NotCollected:
        pass
    for entry in facts.entries("reachability"):
        if entry.get("dst") == address and entry.get("port") == BGP_PORT:
            outcome = entry.get("outcome")
            if outcome == "answered":
                return None
            if outcome == "refused":
                raise NotApplicable(f"{address} refused TCP 179: nothing listens there, but nothing blocks it either")
            if outcome in ("timeout", "unreachable"):
                detail = entry.get("error") or "no answer"
                return Finding("underlay.tcp179.blocked", fact, outcome, f"TCP SYN {fact.node} > {address}:179: {detail}", (f"probe {fact.node}",),
                               severity="latent")  # fmt: skip
    raise NotCollected(f"{fact.node}: TCP 179 of {address} was not tried", absent=True)


@cause(roots=("bird.down",))
def bird_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, family = finding.fact.node, finding.fact.family
        yield Cause(
            "bird_down_or_config_rejected", "F49", node, f"{DAEMON[family]} does not run on {node}.", [finding], objects=[PROCESS[family]],
            why=[f"Its control socket says: {finding.actual}.", "The other nodes keep its routes for up to 120 s if it was killed, and drop them at once"
                 " if it was stopped."],
            remedies=restart_calico_node(diagnosis.documents, node, f"{DAEMON[family]} of {node} answers and its sessions are Established"),
        )  # fmt: skip


@cause(roots=("bird.hung",))
def bird_hangs(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The daemon first, then the whole pod: less is restarted, and neither autodetection nor the API has a part in it."""
    for finding in findings:
        node, family = finding.fact.node, finding.fact.family
        verify = f"{DAEMON[family]} of {node} answers and its sessions are Established"
        yield Cause(
            "bird_down_or_config_rejected", "F49", node, f"{DAEMON[family]} on {node} hangs: it runs, and does not answer.", [finding],
            objects=[PROCESS[family]],
            why=[f"Its control socket says: {finding.actual}.", f"Its peers keep its routes until their hold time ends, {HOLD_TIME} s at most."],
            remedies=bird_first(diagnosis.documents.cluster, node, family, verify, restart_calico_node(diagnosis.documents, node, verify)),
        )  # fmt: skip


@cause(roots=("underlay.tcp179.blocked", "bgp.session.down"))
def tcp179_blocked(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Grouped by the node that all the failing directions have in common. A session that nothing else explains is one that cannot be opened."""
    tried = {f.fact.id for f in findings if f.check == "underlay.tcp179.blocked"}
    left = [f for f in findings if f.fact.value["peer"] and (f.fact.id in tried or (
        _silent(f, diagnosis) and not _one_sided(f, diagnosis) and _disabled_at(f, diagnosis.documents) is None))]  # fmt: skip
    for culprit, others, mine in by_common_end(left):
        clear = len(others) > 1
        seen = any(f.fact.id in tried for f in mine)
        summary = f"TCP port 179 is blocked between {culprit} and {', '.join(others)}."
        why = ["Both ends announce their right addresses and BIRD runs on both, but "
               + ("a TCP SYN to port 179 gets no answer." if seen else "no session is opened; port 179 itself was not tried.")]  # fmt: skip
        yield Cause(
            "bgp_tcp179_blocked", "F02", culprit, summary, mine, objects=others, heuristic=not seen,
            why=why + ([] if clear else [f"Whether {culprit} or {others[0]} blocks it cannot be told from two nodes alone."]),
            remedies=[Remedy("advise_tcp179", "R0", f"open TCP 179 in both directions between {culprit} and {', '.join(others)}"
                             f" (iptables-save -c | grep 179 on {culprit})", "", node=culprit)],
        )  # fmt: skip


# last words of a session that was never opened, or not again (calico.md section 1.4)
HOLD_TIME = 240  # seconds: BIRD's default
SILENT = ("", "Connection timed out", "No route to host", "Connection reset by peer", "Administrative shutdown", "Hold timer expired", "Connection closed")


def _silent(finding: Finding, diagnosis: Diagnosis) -> bool:
    """Whether a dead session of two nodes, whose BIRDs were both read, has no other reason to be dead than that nothing gets through."""
    unread = diagnosis.explanation.unread_above.get(finding.fact.id, frozenset())
    if finding.check != "bgp.session.down" or any(fact.kind != "underlay.tcp179" for fact in unread):
        return False
    documents, value = diagnosis.documents, finding.fact.value
    try:
        documents.node(value["peer"]).bird(finding.fact.family)
        protocol = session_with(documents.node(finding.fact.node), value["address"])
    except NotCollected:
        return False
    if protocol is None:
        return False
    said = str(bgp_of(protocol).get("last_error") or "")
    return finding.actual in ("Connect", "Active", "Passive", "Idle") and any(said.endswith(text) if text else not said for text in SILENT)


def _one_sided(finding: Finding, diagnosis: Diagnosis) -> bool:
    back = FactId("bgp.session", finding.fact.value["peer"], tagged(finding.fact.node, finding.fact.family))
    other = diagnosis.judged.get(back)
    return finding.check == "bgp.session.down" and other is not None and other.outcome == "ok"


def _disabled_at(finding: Finding, documents: Documents) -> tuple[str, str] | None:
    """(node, protocol): the end at which a session is disabled. BIRD says down of it, and start of one that it tries to open."""
    node, peer = finding.fact.node, str(finding.fact.value["peer"])
    for end, other in ((node, peer), (peer, node)):
        try:
            address = documents.cluster.node(other).calico_address(finding.fact.family)
            protocol = session_with(documents.node(end), address) if address else None
        except NotCollected:
            continue
        if protocol is not None and protocol.get("state") == "down":
            return end, str(protocol.get("name"))
    return None


@cause(roots=("bgp.session.down",))
def session_disabled(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Advice only: whoever disabled it may have had a reason."""
    by_node: dict[str, list[tuple[str, Finding]]] = {}
    for finding in findings:
        found = _disabled_at(finding, diagnosis.documents) if finding.check == "bgp.session.down" and finding.fact.value["peer"] else None
        if found is not None:
            by_node.setdefault(found[0], []).append((found[1], finding))
    for node, mine in by_node.items():
        peers = sorted({name for _protocol, f in mine for name in (f.fact.node, str(f.fact.value["peer"]))} - {node})
        commands = ", ".join(f'birdc enable "{name}"' for name in sorted({protocol for protocol, _f in mine}))
        yield Cause("bgp_session_disabled", None, node, f"The BGP session of {node} with {', '.join(peers)} is disabled on {node}.", [f for _p, f in mine],
                    objects=peers, why=["BIRD does not open it by itself: somebody disabled it (birdc disable), or it passed a configured limit."],
                    remedies=[Remedy("advise_enable_session", "R0", f"if that was not on purpose, on {node}: {commands}", "", node=node)])  # fmt: skip


@cause(roots=("bgp.session.down",))
def one_sided(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, peer = finding.fact.node, finding.fact.value["peer"]
        if peer and _one_sided(finding, diagnosis):
            yield Cause("bgp_session_one_sided", None, node, f"{peer} takes its BGP session with {node} for Established, {node} does not.", [finding],
                        objects=[str(peer)], why=["It keeps the routes until its hold timer ends, 240 s at most; packets that depend on them may be lost."],
                        remedies=_restart_session(diagnosis, node, str(peer), finding))  # fmt: skip


def _restart_session(diagnosis: Diagnosis, node: str, peer: str, finding: Finding) -> list[Remedy]:
    """BIRD tries again by itself, and the other side gives up when its hold timer ends; only then. An end that is passive opens no session: the other does,
    once it has let go of the one that it takes for established.
    """
    documents, family = diagnosis.documents, finding.fact.family
    verify, at, up, protocol = f"{node} has a session with {peer}", node, False, None
    try:
        protocol = session_with(documents.node(node), finding.fact.value["address"])
        if protocol is not None and bgp_of(protocol).get("state") == "Passive":
            address = documents.cluster.node(node).calico_address(family)
            at, up, protocol = peer, True, session_with(documents.node(peer), address) if address else None
    except NotCollected:
        protocol = None
    if protocol is None:
        return [Remedy("advise_restart_peer", "R0", f"if it stays so: birdc restart the session of {node} with {peer} on {at}", "", node=node)]
    restart = restart_session(at, node if up else peer, family, protocol, verify, up)
    return wait_first(node, f"BIRD on {at}", HOLD_TIME, verify, [restart])


@cause(roots=("bgp.session.down",))
def outside_peer(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        if not finding.fact.value["peer"]:
            address, node = finding.fact.value["address"], finding.fact.node
            yield Cause("bgp_outside_peer_down", None, node, f"{node} has no session with the outside BGP peer {address}.", [finding],
                        objects=[str(finding.fact.value.get("origin"))], why=["Traffic between pods does not need it; what is reached through it does."],
                        remedies=[Remedy("advise_outside_peer", "R0", f"see whether {address} runs BGP and knows {node}", "", node=node)])  # fmt: skip


@cause(roots=("bgp.session.missing",))
def configuration_is_old(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        by_node.setdefault(finding.fact.node, []).append(finding)
    for node, mine in by_node.items():
        missing = sorted({str(f.fact.value["peer"] or f.fact.value["address"]) for f in mine})
        yield Cause(
            "bird_down_or_config_rejected", "F49", node, f"BIRD on {node} runs with a configuration that lacks {', '.join(missing)}.", mine, objects=missing,
            heuristic=True, why=["The API asks for these sessions; confd writes the file and BIRD loads it, so one of the two does not (see confd's log)."],
            remedies=restart_calico_node(diagnosis.documents, node, f"{node} has sessions with {', '.join(missing)}"),
        )  # fmt: skip


@cause(roots=("node.not_ready",))
def stale_peer(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        pods = diagnosis.documents.cluster.workloads_on(node)
        if pods:
            yield Cause("node_down", None, node, f"{node} is not Ready and has no BGP session with anyone: the machine is off or cut off.", [finding],
                        remedies=[Remedy("advise_node", "R0", f"bring {node} back", "", node=node)])  # fmt: skip
        else:
            yield Cause(
                "stale_node_peer", "F06", node, f"All nodes still try to peer with {node}, a machine that is not there.", [finding],
                why=["Its Node object is in the API, not Ready and without pods. Traffic of the others does not need it."],
                remedies=[Remedy("advise_delete_node", "R0", f"if the machine is gone for good: kubectl delete node {node}", "", node=node)],
            )


@cause(roots=("bgp.as.different",))
def as_mismatch(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Named at the node whose configuration, or whose own AS number, stands alone."""
    cluster = diagnosis.documents.cluster
    usual = str(cluster.bgp_configuration().get("asNumber") or "")

    def weight(name: str) -> tuple[int, int]:
        own = cluster.node(name).annotation("ASNumber")
        wrong = sum(1 for f in findings if f.fact.node == name and f.hint.get("configured") is not None)
        return (1 if own is not None and own != usual else 0, wrong)

    left = list(findings)
    while left:
        names = sorted({name for f in left for name in (f.fact.node, f.fact.value["peer"])})
        culprit = max(names, key=lambda name: (*weight(name), sum(1 for f in left if name in (f.fact.node, f.fact.value["peer"]))))
        mine = [f for f in left if culprit in (f.fact.node, f.fact.value["peer"])] or left
        left = [f for f in left if f not in mine]
        number = cluster.as_number(culprit)
        yield Cause(
            "bgp_as_or_password_mismatch", "F70", culprit,
            f"The AS numbers of {culprit} and of its BGP peers do not agree: the API gives {culprit} AS {number}.",
            mine, objects=[f"AS {number}"],
            why=["A node with an AS number of its own expects it of its mesh peers too." if weight(culprit)[0] else "One end expects another AS number."],
            remedies=[Remedy("advise_as_number", "R0", f"give {culprit} the AS number of the others, or peer with it by a BGPPeer that names its AS", "",
                             node=culprit)],
        )  # fmt: skip


@cause(roots=("bgp.topology.gap",))
def peering_gap(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    cluster = diagnosis.documents.cluster
    objects = [f"BGPPeer {as_mapping(raw.get('metadata')).get('name')}" for raw in cluster.section("bgppeers")]
    empty = [name for name, selector in _selectors(cluster) if not selector]
    summary = "The node-to-node mesh is off and no BGPPeer links the nodes: they do not learn each other's routes."
    if empty:
        summary = f"The node-to-node mesh is off and BGPPeer {', '.join(empty)} selects no node as a peer: the nodes do not learn each other's routes."
    yield Cause(
        "rr_or_peer_topology_gap", "F69", "", summary, findings, objects=["BGPConfiguration default", *objects],
        why=["BIRD runs and is ready everywhere; nothing else says that anything is wrong."],
        remedies=[Remedy("advise_topology", "R0", "give the route reflectors the label that the BGPPeer selects, or set nodeToNodeMeshEnabled to true", "")],
    )


def _selectors(cluster: Cluster) -> Iterator[tuple[str, frozenset[str]]]:
    for raw in cluster.section("bgppeers"):
        selector = as_mapping(raw.get("spec")).get("peerSelector")
        if selector:
            yield str(as_mapping(raw.get("metadata")).get("name")), matching_nodes(cluster, str(selector))


@cause(roots=("bgp.graceful_restart",))
def graceful_restart_waits(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        timer = as_mapping(finding.actual).get("timer")
        yield Cause(
            "bgp_gr_stuck_after_restart", "F19", node,
            f"BIRD on {node} restarted and writes no routes before all its peers are back or {timer} s have passed.", [finding],
            why=["A restarted BIRD waits up to 240 s for peers that do not answer."],
        )  # fmt: skip
