# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the packet filters of the nodes on the path do to the asked flow, and whose rule it is (calico.md 5, F08, F12, F16, F46, F57, F58, F60).

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._steps import is_cloud_rule

from .._catalogue import Cause, Remedy, cause, check
from .._documents import Documents
from .._fib import LOCAL_TABLE, MAIN_TABLE
from .._graph import Fact, Finding
from .._json import NotCollected
from .._packet_blame import Blame, blame, untracked_by
from .._packet_walk import Way, walk_question
from .._policy import Verdict, asked_flow, worst
from .._question import Question, Scope
from .._remedies import CLOUD_RULES, CLOUD_SETUP, dead_felix, delete_cloud_rule, restart_calico_node
from .iptables_backends import is_split

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

REQUESTS, ANSWERS = ("request", "next request"), ("answer", "next answer")
CHECKS = {
    "policy": "policy.denied", "tier": "policy.denied", "profile": "policy.denied", "host endpoint": "hostendpoint.denied",
    "unknown interface": "netfilter.interface.unknown", "reverse path": "netfilter.rpf.dropped", "invalid": "netfilter.invalid.dropped",
}  # fmt: skip


@check("policy.allows", *dict.fromkeys(CHECKS.values()), "policy.lags", "netfilter.backend.split", "netfilter.dropped", fact="policy")
def let_through(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """forward: the request. reverse: the answer to it, which is no flow of its own."""
    documents.node(fact.node).section("netfilter")
    question = scope.question
    result = walk_question(documents.collected(), question)
    way = result.way
    forward = (fact.value["src"], fact.value["dst"]) == (question.source.address, question.destination.address)
    phases = REQUESTS if forward else ANSWERS
    if way is None:
        raise NotCollected(f"{fact.node}: its packet filters were not walked: {result.reason}")
    if result.verdict != "unknown" and way.filtered and way.ends_at == fact.node and way.phase in phases:
        return _dropped(fact, documents, question, way)
    if all((phases[0], fact.node) in one.passed for one in result.ways):
        return None
    if way.filtered and result.verdict != "unknown":
        raise NotCollected(f"{fact.node}: the packet ends on {way.ends_at} before")
    raise NotCollected(f"{fact.node}: its packet filters were not walked: {result.reason or way.reason}")


def _dropped(fact: Fact, documents: Documents, question: Question, way: Way) -> Finding:
    found = blame(way.steps)
    wanted = _intended(documents, question)
    check_id = CHECKS.get(found.owner, "netfilter.dropped")
    sources: tuple[str, ...] = (f"netfilter {fact.node}",)
    if is_split(documents.node(fact.node), "inet6" if ":" in fact.value["dst"] else "inet", found):
        check_id = "netfilter.backend.split"
    elif check_id == "policy.denied" and wanted is not None and wanted.outcome == "works":
        check_id = "policy.lags"
    if wanted is not None and check_id in ("policy.denied", "policy.lags", "hostendpoint.denied"):
        sources += ("api",)
    evidence = f"{fact.node}: {found.line}, in {found.where}"
    hint = {"blame": found, "verdict": way.verdict, "wanted": wanted, "phase": way.phase, "untracked": untracked_by(way.steps)}
    return Finding(check_id, fact, found.line, evidence, sources, hint=hint)


def _intended(documents: Documents, question: Question) -> Verdict | None:
    """What the policies in the API say of the flow; None if that cannot be told."""
    try:
        verdict = worst(asked_flow(documents.cluster, question))
    except NotCollected:
        return None
    return None if verdict.outcome == "unknown" else verdict


# ------------------------------------------------------------------ causes


def _each(findings: list[Finding]) -> Iterator[tuple[Finding, Blame, str]]:
    """Each finding with its rule, and the flow as words."""
    for finding in findings:
        yield finding, finding.hint["blame"], f"{finding.fact.value['src']} to {finding.fact.value['dst']}"


@cause(roots=("policy.lags",))
def dataplane_lags(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding, found, flow in _each(findings):
        node = finding.fact.node
        yield Cause("dataplane_lags_intent", "F60", node, f"{node} drops what the policies in the API allow: its rules or sets are behind.",
                    [finding], objects=list(found.policies) or [found.step.chain], also=dead_felix(diagnosis, node),
                    why=[f"The policies in the API let {diagnosis.question.service} from {flow} pass; the rules on {node} end it in {found.where}.",
                         "A Felix that hangs, or has lost the API, keeps the sets of an earlier time."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"policy.allows on {node}"))  # fmt: skip


@cause(roots=("netfilter.dropped",))
def foreign_drop(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding, found, _flow in _each(findings):
        node = finding.fact.node
        forwarding = found.owner == "foreign" and found.step.base.hook == "forward"
        whose = {"foreign": "A rule that is not Calico's", "kube-proxy": "A rule of kube-proxy"}.get(found.owner, "A rule of Calico")
        verb = "rejects" if finding.hint["verdict"] == "refused" else "drops"
        yield Cause("forward_reject_between_calico_rules" if forwarding else "filter_drops", "F08" if forwarding else None, node,
                    f"{whose} on {node} {verb} the packet: {found.line}", [finding], objects=[found.rule],
                    why=[f"It is in {found.where}.", "firewalld, ufw, docker and hardening scripts write such rules; what Calico accepts they still end."],
                    remedies=[Remedy("advise_foreign_rule", "R0", f"on {node}, take out, or accept the pods' networks before: {found.rule}", "",
                                     node=node, object=found.rule)])  # fmt: skip


@cause(roots=("hostendpoint.denied",))
def host_endpoint(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding, found, _flow in _each(findings):
        node = finding.fact.node
        named = f" ({', '.join(found.policies)})" if found.policies else ", which no policy selects"
        yield Cause("hostendpoint_blocks_infra", "F58", node, f"The HostEndpoint of {node}{named} lets {diagnosis.question.service} not pass.", [finding],
                    objects=list(found.policies) or [found.step.chain], why=[f"The rule that ends it is in {found.where}."],
                    remedies=[Remedy("advise_hostendpoint", "R0", "allow it in a GlobalNetworkPolicy that selects the HostEndpoint, or give this the profile "
                                     "projectcalico-default-allow", "", node=node, object=found.step.chain)])  # fmt: skip


@cause(roots=("netfilter.rpf.dropped",))
def way_back(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """Packets of a pod whose answers would not go to its interface: because of an ip rule, or because they carry another's address."""
    for finding, found, _flow in _each(findings):
        node, asked = finding.fact.node, finding.fact.value
        rule = _rule_before_main(diagnosis, node, asked)
        if rule is not None:
            text = f"ip rule {rule.get('priority')} (from {rule.get('src') or 'all'} lookup {rule.get('table')})"
            cloud = int(rule.get("priority") or 0) in CLOUD_RULES
            yield Cause("nm_cloud_setup_rules" if cloud else "alien_policy_rule_shadows_main", "F10" if cloud else "F32", node,
                        f"On {node} the {text} sends answers to {asked['src']} elsewhere, so its packets are dropped.", [finding], objects=[text],
                        why=[f"They are dropped in {found.where}.", *([CLOUD_SETUP] if cloud else [])],
                        remedies=delete_cloud_rule(node, rule, text) if is_cloud_rule(rule) else [
                            Remedy("advise_ip_rule", "R0", f"on {node}, switch off what writes it (nm-cloud-setup.timer), and delete the {text}" if cloud
                                   else f"on {node}, take out the {text}, or let it leave out the pods", "", node=node, object=text)])  # fmt: skip
            continue
        yield Cause("workload_rpf_drop", "F16", node, f"{node} drops packets of {asked['src']}: its way back is not the interface that they come from.",
                    [finding], objects=[found.rule], why=[f"The rule is in {found.where}."],
                    remedies=[Remedy("advise_rpf", "R0", f"on {node}, let the route to {finding.fact.value['src']} lead to the pod's own interface", "",
                                     node=node, object=found.rule)])  # fmt: skip


def _rule_before_main(diagnosis: Diagnosis, node: str, asked: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any] | None:
    """The ip rule whose table decides the way back, where that is none of the usual ones."""
    facts = diagnosis.documents.node(node)
    table = facts.fib.route_to(asked["src"], asked["dst"], asked["iif"]).get("table")
    return next((rule for rule in facts.rules if table not in (LOCAL_TABLE, MAIN_TABLE, None) and rule.get("table") == table), None)


@cause(roots=("netfilter.interface.unknown",))
def unknown_interface(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding, found, flow in _each(findings):
        node = finding.fact.node
        yield Cause("unknown_interface_drop", "F46", node, f"Felix on {node} has no chain for an interface on the way of {flow}.", [finding],
                    objects=[found.step.chain], also=dead_felix(diagnosis, node), why=[f"The rule that ends it is in {found.where}."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"policy.allows on {node}"))  # fmt: skip


@cause(roots=("netfilter.invalid.dropped",))
def invalid_dropped(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding, found, flow in _each(findings):
        node, policies = finding.fact.node, finding.hint["untracked"]
        why = ["The request came untracked (doNotTrack policy) or by another way."]
        advice = "let request and answer take the same way, or make the doNotTrack policy cover both"
        if policies:
            named = ", ".join(policies)
            why = [f"{named} keeps the request out of connection tracking (doNotTrack), also where the node forwards it: its answer is INVALID."]
            advice = f"let the rules of {named} name the nodes' own addresses, so that they leave alone what goes to pods"
        yield Cause("ct_invalid_drop", "F57", node, f"{node} drops the packet from {flow} as INVALID: it has seen no connection that it belongs to.",
                    [finding], objects=[*policies, found.rule], why=[f"The rule is in {found.where}.", *why],
                    remedies=[Remedy("advise_invalid", "R0", advice, "", node=node, object=policies[0] if policies else found.rule)])  # fmt: skip
