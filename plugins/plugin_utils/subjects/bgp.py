# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# BIRD and its sessions (calico.md section 1; F02, F49, F19).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Json, NotCollected, as_mapping
from .._question import Scope
from .._remedies import restart_calico_node
from .._topology import peer_addresses, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

BGP_PORT = 179  # RFC 4271


@expects("bird.running", "bgp.graceful_restart")
def daemons(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not uses_bird(cluster):
        return
    for name in peer_addresses(cluster):
        yield Fact("bird.running", name, value="running")
        if name in scope.core:
            others = [other for other in peer_addresses(cluster) if other != name]
            blocked = [FactId("underlay.tcp179", *ends) for other in others for ends in ((name, other), (other, name))]
            yield Fact("bgp.graceful_restart", name, value="not in recovery", needs=(FactId("bird.running", name), *blocked))


@expects("bgp.session", "underlay.tcp179")
def sessions(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """One session per pair of nodes in a full mesh, seen from each side that was asked."""
    if not uses_bird(cluster) or not cluster.mesh:
        return
    addresses = peer_addresses(cluster)
    for local, peer in scope.pairs(addresses):
        if local not in addresses:
            continue
        yield Fact("underlay.tcp179", local, peer, value={"address": addresses[peer], "port": BGP_PORT}, needs=_ends("node.address", local, peer)
                   + _ends("bird.running", local, peer)
                   + (FactId("underlay.route", local, peer), FactId("netfilter.bgp", local, peer), FactId("netfilter.bgp", peer, local)))  # fmt: skip
        yield Fact(
            "bgp.session", local, peer, value={"address": addresses[peer], "state": "Established"},
            needs=_ends("node.address", local, peer) + _ends("bird.running", local, peer)
            + (FactId("underlay.tcp179", local, peer), FactId("underlay.tcp179", peer, local), FactId("underlay.route", local, peer)),
        )  # fmt: skip


def _ends(kind: str, *nodes: str) -> tuple[FactId, ...]:
    return tuple(FactId(kind, node) for node in nodes)


@check("bird.down", fact="bird.running")
def bird_runs(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts = documents.node(fact.node)
    try:
        facts.bird()
    except NotCollected as exc:
        if not facts.collected:
            raise
        process = _process(facts)
        if process is False or exc.errno in ("ENOENT", "ECONNREFUSED", "refused"):
            sources = (f"bird {fact.node}", f"processes {fact.node}") if process is False else (f"bird {fact.node}",)
            return Finding("bird.down", fact, exc.reason, f"{exc.reason}{'; no bird process' if process is False else ''}", sources)
        raise
    return None


def _process(facts: NodeFacts) -> bool | None:
    try:
        running = facts.process("bird").get("running")
    except NotCollected:
        return None
    return running if isinstance(running, bool) else None


@check("bgp.graceful_restart", fact="bgp.graceful_restart")
def no_recovery(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    recovery = as_mapping(documents.node(fact.node).bird_part("status")).get("graceful_restart")
    if not isinstance(recovery, dict):
        return None
    evidence = f"Graceful restart recovery in progress; waiting for {recovery.get('waiting')}, timer {recovery.get('timer')}/{recovery.get('timeout')}"
    return Finding("bgp.graceful_restart", fact, recovery, evidence, (f"bird {fact.node}",))


def session_with(facts: NodeFacts, address: str) -> Mapping[str, Json] | None:
    return next((p for p in facts.bgp_protocols if as_mapping(p.get("bgp")).get("neighbor_address") == address), None)


def protocol_line(protocol: Mapping[str, Json]) -> str:
    """The line of `birdc show protocols`."""
    return " ".join(str(protocol.get(key, "")) for key in ("name", "proto", "table", "state", "since", "info")).strip()


@check("bgp.session.down", "bgp.session.missing", fact="bgp.session")
def session_established(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, cluster = documents.node(fact.node), documents.cluster
    address = fact.value["address"]
    source = (f"bird {fact.node}",)
    protocol = session_with(facts, address)
    if protocol is not None:
        if as_mapping(protocol.get("bgp")).get("state") == "Established":
            return None
        return Finding("bgp.session.down", fact, as_mapping(protocol.get("bgp")).get("state"), protocol_line(protocol), source)
    announced = cluster.node(fact.object).calico_address
    if announced and announced != address:
        instead = session_with(facts, announced)
        if instead is not None:
            if as_mapping(instead.get("bgp")).get("state") == "Established":
                return None
            return Finding("bgp.session.down", fact, announced, protocol_line(instead), source)
    peers = sorted(str(as_mapping(p.get("bgp")).get("neighbor_address")) for p in facts.bgp_protocols)
    return Finding("bgp.session.missing", fact, None, f"BIRD of {fact.node} has no protocol for {address}; its peers: {', '.join(peers) or 'none'}", source)


@check("underlay.tcp179.blocked", fact="underlay.tcp179")
def tcp179_answers(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """An Established session is the best proof; otherwise a half-open probe that was asked for must have been answered."""
    facts = documents.node(fact.node)
    address = fact.value["address"]
    try:
        protocol = session_with(facts, address)
        if protocol is not None and as_mapping(protocol.get("bgp")).get("state") == "Established":
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
                return Finding("underlay.tcp179.blocked", fact, outcome, f"TCP SYN {fact.node} > {address}:179: {detail}", (f"probe {fact.node}",))
    raise NotCollected(f"{fact.node}: TCP 179 of {address} was not tried")


@cause(roots=("bird.down",))
def bird_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        yield Cause(
            "bird_down_or_config_rejected", "F49", node, f"BIRD does not run on {node}.", [finding], objects=["bird"],
            why=[f"Its control socket says: {finding.actual}.", "The other nodes keep its routes for up to 120 s if it was killed, and drop them at once"
                 " if it was stopped."],
            remedies=restart_calico_node(diagnosis.documents, node, f"BIRD of {node} answers and its sessions are Established"),
        )  # fmt: skip


@cause(roots=("underlay.tcp179.blocked",))
def tcp179_blocked(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Grouped by the node that all the failing directions have in common."""
    left = list(findings)
    while left:
        ends: dict[str, int] = {}
        for finding in left:
            for end in (finding.fact.node, finding.fact.object):
                ends[end] = ends.get(end, 0) + 1
        culprit = max(sorted(ends), key=lambda name: ends[name])
        mine = [f for f in left if culprit in (f.fact.node, f.fact.object)]
        left = [f for f in left if f not in mine]
        others = sorted({f.fact.object if f.fact.node == culprit else f.fact.node for f in mine})
        clear = len(others) > 1
        summary = f"TCP port 179 is blocked between {culprit} and {', '.join(others)}."
        yield Cause(
            "bgp_tcp179_blocked", "F02", culprit, summary, mine, objects=others,
            why=["Both ends announce their right addresses and BIRD runs on both, but a TCP SYN to port 179 gets no answer."]
            + ([] if clear else [f"Whether {culprit} or {others[0]} blocks it cannot be told from two nodes alone."]),
            remedies=[_open_port(culprit, others)],
        )  # fmt: skip


def _open_port(node: str, others: list[str]) -> t.Any:
    from .._catalogue import Remedy

    return Remedy(
        "advise_tcp179", "R0", f"open TCP 179 in both directions between {node} and {', '.join(others)} (iptables-save -c | grep 179 on {node})", "",
        node=node,
    )


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
