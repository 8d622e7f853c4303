# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the policies in the API say about the asked flow (calico.md F12, F58). Answers need no policy, so only the way there is judged.

from __future__ import annotations

import typing as t

import yaml

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._dataplane import unmodelled
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import NotCollected
from .._packet_blame import calico_chain
from .._packet_walk import walk_question
from .._path import service_facts
from .._policy import Point, asked_flow
from .._policy_advice import smallest_allow
from .._policy_members import members_of
from .._question import Scope
from .._remedies import restart_calico_node

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

SHOWN = 3
OF_PODS = ("cali-from-wl-dispatch", "cali-to-wl-dispatch", "cali-fw-", "cali-tw-")
MANIFEST_WIDTH = 48
WAYS = {"ingress": "into", "egress": "out of"}


@expects("policy.intent")
def flow_is_allowed(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Both nodes of the path are asked: either may have to enforce policy."""
    question = scope.question
    for node in question.nodes:
        value = {"source": question.source.label, "destination": question.destination.label, "service": question.service}
        yield Fact("policy.intent", node, f"{question.source.address}>{question.destination.address}", value, needs=service_facts(scope))


@check("policy.denies", fact="policy.intent")
def no_policy_denies(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster = documents.cluster
    if cluster.plugin == "flannel":
        raise NotApplicable("flannel enforces no policy")
    verdicts = asked_flow(cluster, scope.question)
    mine = [point for verdict in verdicts for point in verdict.points if point.node == fact.node]
    if scope.question.destination.node is None:  # a Service, or outside: what stands at the far end is not part of this question
        mine = [point for point in mine if point.way == "egress"]
    denied = next((point for point in mine if point.outcome == "deny"), None)
    if denied is not None:
        always = all(any(point.node == fact.node and point.outcome == "deny" for point in verdict.points) for verdict in verdicts)
        return _denial(fact, documents, scope, denied, always)
    missing = [point.why for point in mine if point.outcome == "unknown"]
    missing += [verdict.why for verdict in verdicts if verdict.outcome == "unknown" and not any(point.outcome == "unknown" for point in verdict.points)]
    if missing:
        raise NotCollected(f"{fact.node}: what the policies say of {fact.value['service']} is not known: {missing[0]}")
    if not mine:
        raise NotApplicable("no policy is enforced on this way here")
    return None


@expects("policy.enforced")
def someone_enforces(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for node in scope.question.nodes:
        yield Fact("policy.enforced", node, value="Felix's chains are there, where policies select a pod", needs=(FactId("felix.running", node),))


@check("policy.unenforced", fact="policy.enforced")
def policies_are_enforced(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Without its chains Felix stops nothing: a policy that selects a pod has no effect there, and no packet tells."""
    cluster = documents.cluster
    if not cluster.backend or unmodelled(cluster, fact.node):
        raise NotApplicable("Felix enforces no policy here, or not with packet filters")
    points = [point for verdict in asked_flow(cluster, scope.question) for point in verdict.points if point.node == fact.node]
    asked = [policy.label for point in points if point.decision is not None for policy in point.decision.asked]
    if not asked:
        raise NotApplicable(f"no policy selects an end of this way on {fact.node}")
    family = "inet6" if ":" in scope.question.destination.address else "inet"
    bases = documents.node(fact.node).filters(family).bases
    if any((calico_chain(name) or "").startswith(OF_PODS) for base in bases for name in base.chains):
        return None
    named = list(dict.fromkeys(asked))
    shown = ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if len(named) > SHOWN else "")
    evidence = f"{fact.node}: no chain cali-from-wl-dispatch, cali-fw-*, cali-to-wl-dispatch or cali-tw-* in any table; {shown} should be enforced there"
    return Finding("policy.unenforced", fact, None, evidence, (f"netfilter {fact.node}", "api"), severity="latent", hint={"policies": named})


@cause(roots=("policy.unenforced",))
def nothing_is_enforced(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, policies = finding.fact.node, finding.hint["policies"]
        summary = f"{node} enforces no policy: Felix's chains are not there, though {policies[0]} selects a pod of this way."
        yield Cause("policy_not_enforced", None, node, summary, [finding], objects=policies[:SHOWN],
                    why=["What the policies forbid passes.",
                         "In nftables mode Felix empties its table, and starts again and again, where nft refuses one of its rules: its log says why."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"policy.enforced on {node}"))  # fmt: skip


def _denial(fact: Fact, documents: Documents, scope: Scope, point: Point, always: bool) -> Finding:
    """What crossed all the same is not lost to policy now; of several endpoints of a Service one that is denied loses a part."""
    crossed = documents.evidence.arrived("forward") is True
    enforced = not (crossed or _rules_let_it_through(documents, scope))
    flow = f"{fact.value['service']} from {fact.value['source']} to {fact.value['destination']}"
    where = f"on {fact.node}, {WAYS[point.way]} {point.at}"
    severity: t.Literal["latent", "critical", "warning"] = "latent" if not enforced else "critical" if always else "warning"
    return Finding("policy.denies", fact, point.why, f"{where}: {point.why} ({flow})", ("Kubernetes API",), severity=severity,
                   hint={"point": point, "crossed": crossed, "enforced": enforced})  # fmt: skip


def _rules_let_it_through(documents: Documents, scope: Scope) -> bool:
    """Whether the nodes' own rules, as far as they were read, certainly do not stop the flow."""
    try:
        return walk_question(documents.collected(), scope.question).verdict == "works"
    except NotCollected:
        return False


def _asked(point: Point) -> list[str]:
    """The policies that answer for it: the one that denies, or all that select the endpoint and do not allow."""
    decision = point.decision
    if decision is None:
        return []
    if decision.by is not None:
        return [decision.by.label]
    return [policy.label for policy in decision.asked if policy.tier == decision.tier]


def _summary(finding: Finding, point: Point) -> str:
    value, decision = finding.fact.value, point.decision
    flow = f"{value['service']} from {value['source']} to {value['destination']}"
    if decision is not None and decision.by is not None:
        return f"{decision.by.label} denies {flow}: {point.way} rule {decision.rule}, tier {decision.tier}."
    named = _asked(point)
    if not named:
        return f"{flow} is dropped {WAYS[point.way]} {point.at}: {point.why}."
    shown = ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if len(named) > SHOWN else "")
    selects = "selects" if len(named) == 1 else "select"
    return f"No policy allows {flow}: {shown} {selects} {point.at} for {point.way}, and no rule lets it through."


def _why(finding: Finding, point: Point) -> list[str]:
    texts = []
    decision = point.decision
    if decision is not None and decision.by is not None and decision.asked and decision.asked[0] != decision.by:
        before = [policy.label for policy in decision.asked[: decision.asked.index(decision.by)]]
        texts.append(f"Asked before it, and deciding nothing: {', '.join(before[:SHOWN])}.")
    if decision is not None and decision.by is not None and decision.asked and decision.asked[-1] != decision.by:
        after = [policy.label for policy in decision.asked[decision.asked.index(decision.by) + 1 :]]
        texts.append(f"Not asked any more: {', '.join(after[:SHOWN])}.")
    if finding.hint["crossed"]:
        texts.append("Marked packets crossed all the same: the nodes do not enforce it.")
    elif not finding.hint["enforced"]:
        texts.append("The rules on the nodes let it through all the same: they do not enforce it.")
    if finding.fact.value["service"] == "icmp":
        texts.append("Asked was ICMP; a port of TCP or UDP may be allowed: ask for it.")
    return texts


@cause(roots=("policy.denies",))
def policy_denies(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """One cause for each place that denies; the remedy is a policy to read, never one to apply."""
    for finding in findings:
        point: Point = finding.hint["point"]
        name, fault = "policy_denies", "F12"
        if point.member is None:
            name, fault = "endpoint_to_host_dropped", ""
        elif point.member.kind == "hostendpoint":
            name, fault = "hostendpoint_blocks_infra", "F58"
        yield Cause(name, fault or None, finding.fact.node, _summary(finding, point), [finding], objects=[*_asked(point), point.at], why=_why(finding, point),
                    remedies=_remedies(finding, point, diagnosis.documents.cluster))  # fmt: skip


def _remedies(finding: Finding, point: Point, cluster: Cluster) -> list[Remedy]:
    node = finding.fact.node
    if point.member is None:
        text = "if pods are to reach their own nodes, set defaultEndpointToHostAction of the FelixConfiguration default to Accept"
        return [Remedy("advise_endpoint_to_host", "R0", text, "", node=node)]
    manifest = smallest_allow(members_of(cluster), point)
    if manifest is None:
        text = f"if it is to pass, change {' or '.join(_asked(point)[:SHOWN]) or point.at}: no policy beside it can allow exactly this"
        return [Remedy("advise_policy", "R0", text, "", node=node)]
    kind, metadata = manifest["kind"], manifest["metadata"]
    label = f"{kind} {metadata.get('namespace', '')}/{metadata['name']}" if metadata.get("namespace") else f"{kind} {metadata['name']}"
    return [
        Remedy(
            "allow_flow", "R4", "if it is to pass, allow it by this policy and no more (it is never applied from here)", "", node=node,
            object=label, change=("", yaml.safe_dump(manifest, sort_keys=False, width=MANIFEST_WIDTH)), parameters={"manifest": manifest},
            blast_radius=f"only this flow {WAYS[point.way]} {point.at} and pods with its labels",
        )
    ]  # fmt: skip
