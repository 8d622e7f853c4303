# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the nodes track: whether there is room for one more connection (calico.md F55), and flows that are held to an endpoint that is gone (F56).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected, as_list, as_mapping, objects
from .._path import service_fact
from .._question import Scope
from .._remedies import set_sysctl
from .._services import ready_backends

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

NEARLY = 0.95
LIMIT = "net.netfilter.nf_conntrack_max"


@expects("conntrack.table")
def tables(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for name in scope.core:
        yield Fact("conntrack.table", name, value="room for more connections")


@check("conntrack.full", fact="conntrack.table")
def room_for_connections(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A full table drops what would begin a new connection ("nf_conntrack: table full, dropping packet"); those that are there go on."""
    table = as_mapping(as_mapping(documents.node(fact.node).section("counters")).get("nf_conntrack"))
    count, most = table.get("count"), table.get("max")
    if not isinstance(count, int) or not isinstance(most, int) or most <= 0:
        raise NotApplicable(f"{fact.node} tracks no connections, or does not say how many")
    if count < NEARLY * most:
        return None
    lost = ", ".join(f"{name} {table[name]}" for name in ("drop", "early_drop", "insert_failed") if table.get(name))
    evidence = f"{fact.node}: nf_conntrack_count {count}, nf_conntrack_max {most}" + (f"; since it started {lost}" if lost else "")
    return Finding("conntrack.full", fact, count, evidence, (f"kernel {fact.node}",), severity="critical" if count >= most else "latent",
                   hint={"limit": most})  # fmt: skip


@cause(roots=("conntrack.full",))
def table_full(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, full = finding.fact.node, finding.severity == "critical"
        numbers, nearly = finding.evidence.partition(": ")[2], "" if full else "nearly "
        follows = "What would begin a new connection is dropped; what is tracked goes on." if full else "When it is full, new connections are dropped."
        holders = "conntrack -L 2>/dev/null | awk '{print $1}' | sort | uniq -c"
        limit, raised = int(finding.hint["limit"]), str(2 * int(finding.hint["limit"]))
        yield Cause("conntrack_full", "F55", node, f"The connection tracking table of {node} is {nearly}full: {numbers}.", [finding], objects=[LIMIT],
                    why=[follows, f"Who holds it: {holders} on {node}; conntrack -S counts what was dropped."],
                    remedies=[
                        set_sysctl(node, LIMIT.replace(".", "/"), limit, raised, f"{node} has room for more connections", f"{node} tracks more connections"),
                        Remedy("advise_conntrack_max", "R0", f"for good: conntrack.maxPerCore of kube-proxy, which sets {LIMIT} anew when it starts; and"
                               f" nf_conntrack_buckets of {node} to a quarter of it", "", node=node, object=LIMIT)])  # fmt: skip


@expects("conntrack.flow")
def flow_to_service(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Of a UDP Service that a pod asks: a TCP client whose connection hangs begins a new one, a UDP client may keep its port for ever."""
    whole = scope.whole
    if whole is not None and whole.asked is not None and whole.protocol == "udp" and whole.source.kind == "pod" and not whole.asked.headless:
        flow = {"src": whole.source.address, "dst": whole.destination.address, "port": whole.port, "key": whole.asked.key}
        yield Fact("conntrack.flow", str(whole.source.node), f"{whole.destination.address} {whole.service}", value=flow, needs=(service_fact("rules", whole),))


@check("conntrack.stale", fact="conntrack.flow")
def held_to_the_living(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A packet of a tracked flow is translated as its first one was, whatever the rules say since (nf_conntrack(7), kubernetes/kubernetes#66651)."""
    tracked = as_mapping(documents.node(fact.node).section("conntrack"))
    ready = {backend.address for backend in ready_backends(documents.cluster, fact.value["key"])}
    if not ready:
        raise NotApplicable("the Service has no ready endpoint")
    asked = tuple(fact.value[name] for name in ("src", "dst", "port"))
    if list(asked[:2]) not in as_list(tracked.get("pairs")):
        raise NotCollected(f"{fact.node}: what it tracks from {asked[0]} to {asked[1]} was not read")
    stale = [
        entry for entry in objects(tracked.get("entries"))
        if entry.get("protocol") == "udp" and (entry.get("src"), entry.get("dst"), entry.get("dport")) == asked
        and as_mapping(entry.get("reply")).get("src") not in ready
    ]  # fmt: skip
    if not stale:
        return None
    first = stale[0]
    gone, port = as_mapping(first.get("reply")).get("src"), first.get("sport")
    others = f", and {len(stale) - 1} more" if len(stale) > 1 else ""
    evidence = f"{fact.node}: udp from {asked[0]} port {port} to {asked[1]} port {asked[2]} is tracked with {gone} as the other end{others}"
    return Finding("conntrack.stale", fact, str(gone), evidence, (f"kernel {fact.node}", "Kubernetes API"),
                   severity="latent" if "seen_reply" in (first.get("flags") or ()) else "critical", hint={"gone": gone, "port": port})  # fmt: skip


@cause(roots=("conntrack.stale",))
def stale_flow(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, flow, gone = finding.fact.node, finding.fact.value, finding.hint["gone"]
        where = f"{gone}, which is no endpoint of it" if gone != flow["dst"] else "its own address, which no rule translated when the flow began"
        summary = f"{node} still sends UDP from {flow['src']} port {finding.hint['port']} to Service {flow['key']} to {where}."
        command = f"conntrack -D -p udp -s {flow['src']} --sport {finding.hint['port']} -d {flow['dst']} --dport {flow['port']}"
        entry = f"udp {flow['src']}:{finding.hint['port']}"
        yield Cause("stale_conntrack_udp", "F56", node, summary, [finding], objects=[entry],
                    why=["The kernel translates all packets of a flow as the first one; each packet keeps the entry alive, and other ports are not concerned."],
                    remedies=[
                        Remedy("delete_connection", "R1", f"{command} on {node}", "none needed: the next packet is tracked anew", node=node,
                               object=entry, change=(f"{entry} answered by {gone}", ""), verify=f"{node} sends it to an endpoint of {flow['key']}",
                               parameters={"src": flow["src"], "dst": flow["dst"], "sport": finding.hint["port"], "dport": flow["port"], "gone": gone},
                               blast_radius="this one flow", preconditions=(f"{gone} is no endpoint of {flow['key']}",), wait_seconds=20)])  # fmt: skip
