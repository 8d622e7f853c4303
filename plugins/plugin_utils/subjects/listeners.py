# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether anybody listens where the packet goes, inside of the far pod.

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected
from .._listeners import listening, served
from .._path import listener_fact, service_facts
from .._question import Question, Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("pod.listener")
def somebody_listens(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    question = scope.question
    if not scope.audit and question.destination.kind in ("pod", "node") and question.port is not None:
        yield Fact(*listener_fact(question), value=question.service, needs=service_facts(scope))


@check("pod.port.closed", fact="pod.listener")
def port_is_open(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    question = scope.question
    if question.destination.kind == "node":
        return _of_node(fact, documents, question)
    found = listening(documents, question)
    if found is None:
        raise NotApplicable("what listens inside of the pod was not asked for")
    pod = question.destination.label
    if question.port in served(found, question.destination.address) or _replied(documents):
        return None
    alone = sorted(address for address, port in found if port == question.port)
    others = sorted({port for _address, port in found})
    how = f"listens on {question.service} at {', '.join(alone)} only" if alone else "does not listen on " + question.service
    told = f"by {question.protocol} it listens on {', '.join(map(str, others)) or 'nothing'}"
    return Finding("pod.port.closed", fact, others, f"in {pod}: {how}; {told}", (f"kernel {fact.node}",), hint={"pod": pod, "how": how, "told": told})


def _of_node(fact: Fact, documents: Documents, question: Question) -> Finding | None:
    """A node's sockets are many, and rules may send its ports elsewhere: what answers a probe tells."""
    hop = f"node:{fact.node}"
    tried = [probe for probe in documents.evidence.probes if probe.get("answers_question") and probe.get("direction") == "forward"]
    if not tried or question.protocol != "tcp":
        raise NotApplicable(f"whether {question.destination.label} answers on {question.service} was not tried")
    refused = next((probe for probe in tried if probe.get("reset_at") == hop), None)
    if _replied(documents):
        return None
    if refused is None:
        raise NotCollected(f"{question.destination.label} neither answered on {question.service} nor refused it")
    pod, how, told = question.destination.label, f"refuses {question.service}", "nobody listens there, and no rule sends it elsewhere"
    return Finding("pod.port.closed", fact, str(refused.get("error")), f"{pod} {how}: {refused.get('refused')} of {refused.get('sent')} connections",
                   (f"marked packets at {fact.node}",), hint={"pod": pod, "how": how, "told": told})  # fmt: skip


def _replied(documents: Documents) -> bool:
    """Whether the port was seen to answer: something before the program, such as a sidecar, may take it."""
    return any(probe.get("protocol") in ("tcp", "udp") and probe.get("direction") == "forward" and probe.get("replied") for probe in documents.evidence.probes)


@cause(roots=("pod.port.closed",))
def nobody_listens(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """All of the pods that do not: behind a Service there may be several."""
    pods = [str(finding.hint["pod"]) for finding in findings]
    nodes = {finding.fact.node for finding in findings}
    first = findings[0]
    one = f"{pods[0]} {first.hint['how']}; {first.hint['told']}."
    summary = one if len(pods) == 1 else f"None of {', '.join(pods)} listens on {first.fact.value}."
    namespace, _slash, name = pods[0].partition("/")
    advice = f"start what should listen on {name}, or ask for the port that it has"
    if namespace != "node":
        advice = f"see why the program does not listen there: kubectl -n {namespace} logs {name}"
    yield Cause("port_not_listened", None, nodes.pop() if len(nodes) == 1 else "", summary, findings, objects=pods,
                remedies=[Remedy("advise_program", "R0", advice, "", object=pods[0])])  # fmt: skip
