# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What fails now and then, as a watch saw it: some of the packets, or some of the flows.

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._confront import agreement_fact
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable, Severity
from .._json import Json, NotCollected, as_mapping, objects
from .._path import answer_fact, service_fact, walk
from .._question import Scope
from .._watched import PACE, lossy

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

FEW = 0.01  # a loss below it is no reason to call the path broken
WAYS = {"forward": "requests", "reverse": "replies"}


def watch_fact(node: str | None) -> FactId:
    return FactId("probe.watch", node or "", "forward")


@expects("probe.watch")
def watched_way(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    pair = scope.question.lead
    path = walk(cluster, pair)
    for direction, hops, origin in (("forward", path.forward, pair.source), ("reverse", path.reverse, pair.destination)):
        needs = [fact for hop in hops for fact in hop.facts] + [agreement_fact(origin.node, direction)]
        needs += [watch_fact(pair.source.node)] if direction == "reverse" and origin.node != pair.source.node else []
        if direction == "forward" and scope.whole is not None and scope.whole.asked is not None and not scope.whole.asked.headless:
            needs += [service_fact("rules", scope.whole), answer_fact(scope.whole)]
        yield Fact("probe.watch", origin.node or "", direction, value="no packet lost", needs=tuple(needs))


@check("probe.partly.lost", fact="probe.watch")
def none_vanishes(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Some packets pass a hop and some do not, or some flows get answers and some never do."""
    watch = documents.evidence.watch
    if watch is None:
        raise NotApplicable("nothing was watched for a while (-e watch=60)")
    echoes, flows = as_mapping(watch.get("echoes")), as_mapping(watch.get("flows")) if fact.object == "forward" else {}
    if not echoes.get("sent"):
        raise NotCollected(f"{fact.node}: no echo could be sent: {', '.join(map(str, echoes.get('errors') or [])) or 'no reason given'}")
    lost = next((one for one in lossy(watch) if one.get("what") == WAYS[fact.object]), None)
    if lost is not None and echoes.get("replied"):
        return _of_packets(fact, lost, echoes)
    failing = objects(flows.get("failing"))
    if failing and flows.get("replied"):
        return _of_flows(fact, flows, failing)
    if not echoes.get("replied") and not flows.get("replied"):
        raise NotApplicable("nothing that was sent for a while was answered")
    return None


def _of_packets(fact: Fact, lost: Mapping[str, Json], echoes: Mapping[str, Json]) -> Finding:
    places = {str(hop.get("hop")): hop for hop in objects(echoes.get("hops" if fact.object == "forward" else "back"))}
    node = as_mapping(places.get(str(lost.get("after")))).get("node") or fact.node
    number, of = int(lost["packets"]), int(lost["of"])
    what = "echoes" if fact.object == "forward" else "answers"
    behind = f"passed {lost['after']} and not {lost['hop']}" if lost.get("after") else f"did not pass {lost['hop']}"
    text = f"{number} of {of} {what} {behind}"
    captures = tuple(dict.fromkeys(f"capture {as_mapping(places.get(str(lost.get(name)))).get('node')}" for name in ("after", "hop") if lost.get(name)))
    hint = {"hop": lost["hop"], "after": lost.get("after"), "node": str(node), "share": round(100 * number / max(of, 1)), "what": what, "how": _how(echoes)}
    severity: Severity = "critical" if number >= of * FEW else "warning"
    return Finding("probe.partly.lost", fact, f"{number} of {of} lost", text, captures, severity=severity, hint=hint)


def _how(echoes: Mapping[str, Json]) -> str:
    """Whether packets are lost in stretches or one by one."""
    long = [one["packets"] for one in objects(echoes.get("stretches")) if isinstance(one.get("packets"), int)]
    in_a_row = sum(long) / len(long) if long else 1
    if in_a_row > 2.5:
        return f"They are lost in stretches of about {in_a_row * PACE:.1f} s: something comes and goes, such as a route, a neighbour or a link."
    return "They are lost here and there: something drops by chance or by rate, such as a full queue or link, a limit, or a bad cable."


def _of_flows(fact: Fact, flows: Mapping[str, Json], failing: list[Mapping[str, Json]]) -> Finding:
    never = [str(one.get("port")) for one in failing if not one.get("replied")]
    silent = [one for one in objects(flows.get("destinations")) if one.get("flows") and not one.get("answered")]
    whose = f"; {', '.join(str(one.get('address')) for one in silent)} answered none of those led to it" if silent else ""
    whither = f"{flows.get('address')}:{flows.get('port')}"
    text = f"{len(failing)} of {flows.get('flows')} flows to {whither} failed, {len(never)} of them always{whose}"
    share = round(100 * len(failing) / max(int(flows["flows"]), 1))
    hint = {"ports": never, "backends": [str(one.get("address")) for one in silent], "share": share, "node": fact.node, "to": whither}
    return Finding("probe.partly.lost", fact, f"{len(failing)} of {flows.get('flows')} flows failed", text, ("probe",), hint=hint)


@cause(roots=("probe.partly.lost",))
def now_and_then(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        yield (_packets if "hop" in finding.hint else _some_flows)(finding)


def _packets(finding: Finding) -> Cause:
    hint = finding.hint
    node, place = hint["node"], f"between {hint['after']} and {hint['hop']}" if hint["after"] else f"before {hint['hop']}"
    return Cause(
        "partial_loss", None, node, f"{hint['share']} % of the {hint['what']} are lost {place}.", [finding], objects=[str(hint["hop"])], heuristic=True,
        why=[hint["how"]],
        remedies=[Remedy("advise_partial_loss", "R0", f"look at what of {node} works now and then: counters of drops (ip -s link, tc -s qdisc, nft list"
                         " ruleset), neighbours and routes that change (ip monitor), a link that is full", "", node=node)],
    )  # fmt: skip


def _some_flows(finding: Finding) -> Cause:
    hint = finding.hint
    node, to, backends = hint["node"], hint["to"], hint["backends"]
    who = f"{', '.join(backends)} does not answer" if backends else "one of several ways, or of several servers, is bad"
    advice = f"take {', '.join(backends)} out of the Service, or mend it" if backends else (
        f"try each way by itself (ip route show: nexthop lines on {node}; the servers behind {to})")  # fmt: skip
    return Cause(
        "partial_loss", None, node, f"{hint['share']} % of the flows to {to} fail: {who}.", [finding], objects=backends or [to], heuristic=True,
        why=["By the source port it is decided which way, or which server, a flow gets."],
        remedies=[Remedy("advise_partial_loss", "R0", advice, "", node=node)],
    )  # fmt: skip
