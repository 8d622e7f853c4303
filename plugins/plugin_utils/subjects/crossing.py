# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Packets that one node sent and the other never saw: the network between them drops what carries them (calico.md F03, F04, F71).

from __future__ import annotations

import typing as t

from .._carrying import both_ways, carried
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Json, NotCollected, as_list, as_mapping, objects
from .._packet_walk import Flow, Walks
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

SMALL = 576  # bytes: no MTU of the way is below it (RFC 791), so the size is no reason
# nf_conntrack_icmp_timeout, nf_conntrack_udp_timeout, nf_conntrack_tcp_timeout_syn_sent (Documentation/networking/nf_conntrack-sysctl)
WAITS = {"icmp": 30, "ipv6-icmp": 30, "udp": 30, "tcp": 120}
TRACKING = ("--ctstate", "--state", "MASQUERADE", "DNAT", "SNAT", '"ct"', '"masquerade"', '"dnat"', '"snat"')
FRESH = 10  # seconds: what is older may belong to another trouble
TUPLE = ("protocol", "src", "dst", "sport", "dport", "type", "code", "id")
# clouds whose network drops what does not carry the machine's own address, unless it is told not to
CHECKING_CLOUDS = {"aws": "the source/destination check of the instances", "openstack": "port security (allowed-address-pairs)", "gce": "canIpForward",
                   "azure": "IP forwarding of the NICs"}  # fmt: skip


@expects("flow.crossing")
def crossings(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    for source, destination, hops, how in both_ways(cluster, scope.question):
        flow = f"{source.address}>{destination.address}"
        needs = [fact for hop in hops for fact in hop.facts if fact.kind != "flow.crossing"] + [FactId("underlay.source", how.receiver, flow)]
        value = {"src": source.address, "dst": destination.address, "from": how.sender, "kind": how.kind, "port": how.port}
        yield Fact("flow.crossing", how.receiver, flow, value, needs=tuple(needs))


def _entries(documents: Documents, node: str, source: str, destination: str) -> list[Mapping[str, Json]]:
    try:
        section = as_mapping(documents.node(node).section("conntrack"))
    except NotCollected as exc:
        if exc.absent and documents.node(node).collected:
            raise NotApplicable(f"{exc.reason}: it is one witness more") from exc
        raise
    if [source, destination] not in as_list(section.get("pairs")):
        raise NotCollected(f"{node}: connection tracking was not asked for {source} to {destination}")
    return [entry for entry in objects(section.get("entries")) if (entry.get("src"), entry.get("dst")) == (source, destination)]


def _tracks(documents: Documents, node: str) -> bool:
    """A kernel tracks connections in a network namespace only while a rule there asks for it (nf_ct_netns_get)."""
    netfilter = as_mapping(documents.node(node).section("netfilter"))
    texts = [str(entry.get("text") or entry.get("json") or "") for entry in (*objects(netfilter.get("iptables")), *objects(netfilter.get("nft")))]
    return any(word in text for text in texts for word in TRACKING)


def _answered(entry: Mapping[str, Json]) -> bool:
    return "seen_reply" in as_list(entry.get("flags"))


def _age(entry: Mapping[str, Json]) -> int:
    """Seconds since the last packet of an entry that waits for an answer, by the kernel's own time-outs."""
    value = entry.get("timeout")
    return WAITS.get(str(entry.get("protocol")), 0) - value if isinstance(value, int) else FRESH + 1


def _small(entry: Mapping[str, Json]) -> bool | None:
    """A TCP connection that waits has sent nothing but a SYN. None: the kernel does not count (nf_conntrack_acct)."""
    if entry.get("state") == "SYN_SENT":
        return True
    packets, size = entry.get("packets"), entry.get("bytes")
    return size / packets <= SMALL if isinstance(packets, int) and packets and isinstance(size, int) else None


@check("flow.lost", fact="flow.crossing")
def arrives(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """An entry is kept once its first packet has left the node: all its own filters have let it pass. The receiver keeps one when its filters have, too.

    So a packet that the sender has an entry of, without an answer, and the receiver none, was lost between them, or by a filter of the receiver.
    """
    source, destination, sender = fact.value["src"], fact.value["dst"], fact.value["from"]
    sent, seen = _entries(documents, sender, source, destination), _entries(documents, fact.node, source, destination)
    arrived = {tuple(entry.get(name) for name in TUPLE) for entry in seen}
    waiting = sorted((entry for entry in sent if not _answered(entry)), key=_age)
    if not waiting or _age(waiting[0]) > FRESH:
        if any(_answered(entry) for entry in sent):
            return None
        raise NotApplicable(f"{sender} has sent nothing from {source} to {destination} lately that waits for an answer")
    if not _tracks(documents, fact.node):
        raise NotApplicable(f"no rule of {fact.node} makes its kernel track connections")
    newest = waiting[0]
    if tuple(newest.get(name) for name in TUPLE) in arrived:
        return None
    answered = [entry for entry in sent if _answered(entry) and entry.get("protocol") == newest.get("protocol")]
    if _small(newest) is False or (_small(newest) is None and answered):
        raise NotApplicable("others of its kind were answered: the size, or chance, decides")
    wire = f"wire:{sender}:{fact.node}"
    if any(documents.evidence.passed(direction, asked_only=True).get(wire) for direction in ("forward", "reverse")):
        return None  # packets of the same kind crossed later: the nodes were not read in the same moment
    protocol, port = str(newest.get("protocol")), newest.get("dport")
    walked = Walks(documents.collected()).walk(Flow(t.cast("t.Any", "icmp" if "icmp" in protocol else protocol), source, destination, port, sender))
    if walked.verdict == "unknown":
        raise NotCollected(f"{fact.node}: {walked.reason}")
    if walked.verdict != "works":
        raise NotApplicable(f"a rule of a node ends it: {walked.reason}")
    what = f"{protocol}/{port}" if port else protocol
    evidence = f"conntrack: {sender} sent {what} from {source} to {destination}, without an answer; {fact.node} has no entry of it, and its rules let it pass"
    return Finding("flow.lost", fact, "not seen", evidence, (f"conntrack {sender}", f"conntrack {fact.node}"))


def _proven(findings: list[Finding], diagnosis: Diagnosis) -> tuple[str, str, str, int | None] | None:
    """(sender, receiver, how the packets are carried, port) where connection tracking, or packets that were seen on one NIC and not on the other, tell it."""
    tracked = next((finding.fact for finding in findings if finding.check == "flow.lost"), None)
    if tracked is not None:
        return tracked.value["from"], tracked.node, tracked.value["kind"], tracked.value["port"]
    for source, destination, _hops, how in both_ways(diagnosis.documents.cluster, diagnosis.question):
        wire = f"wire:{source.node}:{destination.node}"
        if any(finding.hint.get("hop") == wire for finding in findings):
            return how.sender, how.receiver, how.kind, how.port
    return None


@cause(roots=("flow.lost", "probe.lost"))
def network_drops(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Everything on the nodes is right, and packets are lost between them. Where connection tracking proves it, it also tells in which direction."""
    question = diagnosis.question
    how = carried(diagnosis.documents.cluster, question.source, question.destination)
    if how is None or question.source.kind != "pod":
        return
    proven = _proven(findings, diagnosis)
    sender, receiver, kind, port = (how.sender, how.receiver, how.kind, how.port) if proven is None else proven
    ends = f"{sender} and {receiver}"
    if kind == "none":
        provider = diagnosis.documents.cluster.node(sender).provider
        if provider not in CHECKING_CLOUDS and proven is None:
            return
        unwalked = proven is None and any(fact.kind == "policy" and verdict.outcome == "not_checked" for fact, verdict in diagnosis.judged.items())
        looked = ["Not all packet filters of the nodes could be walked: one of them may drop the packets, too."] if unwalked else []
        checking = CHECKING_CLOUDS.get(str(provider))
        told = f"The nodes run on {provider}, which drops what does not carry a machine's own address: {checking}." if checking else (
            "Networks of clouds and hypervisors drop what does not carry a machine's own address, unless they are told not to.")  # fmt: skip
        yield Cause(
            "cloud_src_dst_check", "F71", sender, f"Packets with pods' addresses are lost between {ends}, and nothing on the nodes is wrong.", findings,
            objects=[str(provider), sender, receiver] if checking else [sender, receiver], heuristic=proven is None or checking is None, why=[told, *looked],
            remedies=[Remedy("advise_cloud_check", "R0", f"switch off {checking or 'the check of source addresses of the network between the nodes'},"
                             " or set the pool's encapsulation to Always", "")],
        )  # fmt: skip
    elif proven is not None:
        name, number = ("tunnel_blocked_ipip", "F03") if kind == "ipip" else ("tunnel_blocked_vxlan", "F04")
        what = "IPIP (IP protocol 4)" if kind == "ipip" else f"VXLAN (UDP {port})"
        yield Cause(
            name, number, sender, f"The network between {ends} drops {what}.", findings, objects=["network between nodes"],
            why=["Both ends of the tunnel are as they must be, and the filters of both nodes let it pass."],
            remedies=[Remedy("advise_tunnel_network", "R0", f"open {what} between the nodes: security groups, firewalls, switches", "")],
        )  # fmt: skip
