# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether a node can track one more connection (calico.md F55).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import as_mapping
from .._question import Scope

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
    evidence = f"{fact.node}: nf_conntrack_count {count}, nf_conntrack_max {most}"
    return Finding("conntrack.full", fact, count, evidence, (f"kernel {fact.node}",), severity="critical" if count >= most else "latent")


@cause(roots=("conntrack.full",))
def table_full(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, full = finding.fact.node, finding.severity == "critical"
        numbers, nearly = finding.evidence.partition(": ")[2], "" if full else "nearly "
        follows = "What would begin a new connection is dropped; what is tracked goes on." if full else "When it is full, new connections are dropped."
        holders = "conntrack -L 2>/dev/null | awk '{print $1}' | sort | uniq -c"
        raised = f"sysctl -w {LIMIT}={2 * int(finding.actual)}, and nf_conntrack_buckets to a quarter of it"
        yield Cause("conntrack_full", "F55", node, f"The connection tracking table of {node} is {nearly}full: {numbers}.", [finding], objects=[LIMIT],
                    why=[follows, f"Who holds it: {holders} on {node}; conntrack -S counts what was dropped."],
                    remedies=[Remedy("advise_conntrack_max", "R0", f"on {node}: {raised}; kube-proxy sets it anew from conntrack.maxPerCore when it starts", "",
                                     node=node, object=LIMIT)])  # fmt: skip
