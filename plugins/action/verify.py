# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import secrets
import time
import typing as t
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _gate
from ansible_collections.podnet.doctor.plugins.plugin_utils._answers import node_facts
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import flows, full, pods
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents
from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import Finding
from ansible_collections.podnet.doctor.plugins.plugin_utils._node_action import NodeAction
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion, Question, Scope
from ansible_collections.podnet.doctor.plugins.plugin_utils._remedies import restart_objection
from ansible_collections.podnet.doctor.plugins.plugin_utils._run import silent_question
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import resolve

ARGUMENTS: dict[str, t.Any] = {
    "question": {"type": "dict", "required": True},
    "node": {"type": "str", "required": True},
    "findings": {"type": "list", "elements": "str", "required": True},
    "known": {"type": "list", "elements": "str", "default": []},
    "successors": {"type": "dict", "default": {}},
    "restart": {"type": "bool", "default": False},
    "packets": {"type": "bool", "default": False},
    "answered": {"type": "list", "elements": "str", "default": []},
    "others": {"type": "str", "default": "critical", "choices": ["none", "critical", "any"]},
    "timeout": {"type": "float", "default": 20.0},
    "wait_seconds": {"type": "float", "default": 0.0},
}
PAUSE, LONGER, LONGEST = 2.0, 1.5, 6.0  # a node that recovers is not asked for everything all the time


class ActionModule(NodeAction):
    """Ask one node and the API again, and say which of the given findings are still there."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _spec, arguments = self.validate_argument_spec(argument_spec={**ARGUMENTS, **_kube.ARGUMENT_SPEC})
        end, attempts, pause = time.monotonic() + arguments["wait_seconds"], 0, PAUSE
        while True:
            result, attempts = self._look(arguments, task_vars or {}), attempts + 1
            left = end - time.monotonic()
            if result["done"] or left <= 0:
                return {**result, "attempts": attempts}
            self._display.v(f"{arguments['node']}: {'; '.join(result['left'])[:160]}")
            time.sleep(min(pause, left))
            pause = min(pause * LONGER, LONGEST)

    def _look(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {"changed": False}
        node = str(arguments["node"])
        given = arguments["question"]
        if given.get("api"):
            try:
                cluster, asked = silent_question(given, variables)
            except (BadQuestion, KeyError) as exc:
                return {**result, "failed": True, "msg": str(exc), "done": False, "left": [str(exc)]}
            return self._judge(result, arguments, variables, cluster, asked)
        try:
            asked = Question.from_json(given["question"])
        except (KeyError, TypeError) as exc:
            text = "question is not what podnet.doctor.question returned; register that task and pass its result"
            return {**result, "failed": True, "msg": f"{text} ({type(exc).__name__} {exc})", "done": False, "left": [text]}
        successors = arguments["successors"]
        source, destination = (str(successors.get(end.asked, end.asked)) for end in (asked.source, asked.destination))
        ends = {"endpoints": [source, destination], "nodes": [node]}
        try:
            document = _kube.read_cluster(_kube.options_of(arguments), None, narrow=ends, timeout=arguments["timeout"])
            if document.get("reachable") is False:
                raise BadQuestion(f"the Kubernetes API cannot be read: {document.get('error')}")
            if successors:
                asked = resolve(Cluster(document), source, destination, asked.protocol, asked.port)
        except (BadQuestion, _kube.KubeError) as exc:
            return {**result, "failed": True, "msg": str(exc), "done": False, "left": [str(exc)]}
        return self._judge(result, arguments, variables, Cluster(document), asked)

    def _judge(
        self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any], cluster: Cluster, asked: Question
    ) -> dict[str, t.Any]:  # fmt: skip
        node = str(arguments["node"])
        witnesses = () if node in asked.nodes else (node,)
        scope = Scope(asked, asked.nodes, witnesses)
        question = {
            **super().arguments(variables), "node": node, "gather_subset": list(full(cluster)), "flows": flows(cluster, scope, node), "pods": pods(scope, node),
            "timeout": arguments["timeout"], "packed": True,
        }  # fmt: skip
        for name in (*ARGUMENTS, *_kube.ARGUMENT_SPEC):
            if name not in ("node", "timeout"):
                question.pop(name, None)
        answer = self._execute_module(module_name="podnet.doctor.node_info", module_args=question, task_vars=variables)
        facts = node_facts(node, answer)
        if not facts.collected:
            return {**result, "failed": True, "msg": f"{node} {facts.reason}", "done": False, "left": [f"{node} {facts.reason}"]}
        if arguments["packets"]:
            result["answered"] = self._answered(arguments, variables, _gate.packets(cluster, asked, node))
        if arguments["restart"]:
            objection = restart_objection(Documents(cluster, {node: facts}), node)
            return {**result, "done": not objection, "left": [objection] if objection else []}
        diagnosis = Diagnosis(asked, Documents(cluster, {node: facts}), witnesses)
        wanted, known = set(arguments["findings"]), set(arguments["known"])
        counted = {"none": (), "critical": ("critical",), "any": ("critical", "warning", "latent")}[arguments["others"]]
        before = {after: pod for pod, after in arguments["successors"].items()}
        mine = [(f, {f.id, _of_the_pod_before(f, before).id}) for f in diagnosis.findings if f.fact.node == node]
        left = [f.evidence for f, ids in mine if ids & wanted or (f.severity in counted and not ids & known)]
        unread = [v.reason for v in diagnosis.judged.values() if v.fact.node == node and v.outcome == "not_checked" and _wanted(v, wanted)]
        if not left and not unread and arguments["answered"]:
            again = [packet for packet in _gate.packets(cluster, asked, node) if packet.text in arguments["answered"]]
            got = self._answered(arguments, variables, again)
            left = [f"no answer any more: {packet.text}" for packet in again if packet.text not in got]
        return {**result, "done": not left and not unread, "left": left + unread}

    def _answered(self, arguments: dict[str, t.Any], variables: dict[str, t.Any], sent: list[_gate.Packet]) -> list[str]:
        """Those of the packets that get an answer now; one call of the module sends them all."""
        if not sent:
            return []
        given = {**_gate.arguments(secrets.token_hex(16), sent), "timeout": arguments["timeout"], "pyroute2": super().arguments(variables)["pyroute2"]}
        return _gate.answered(self._execute_module(module_name="podnet.doctor.path_probe", module_args=given, task_vars=variables))


def _of_the_pod_before(finding: Finding, before: Mapping[str, str]) -> Finding:
    """The same finding of the pod whose successor this one is about."""
    pod = finding.fact.object.split(" ")[0]
    fact = replace(finding.fact, object=finding.fact.object.replace(pod, before[pod], 1)) if pod in before else finding.fact
    return replace(finding, fact=fact)


def _wanted(verdict: t.Any, findings: set[str]) -> bool:
    return Finding(verdict.check, verdict.fact, None, "", ()).id in findings
