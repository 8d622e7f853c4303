# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _run, _trail
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _plan_text

ARGUMENTS: dict[str, t.Any] = {
    "path": {"type": "path", "required": True},
    "event": {"type": "str", "required": True, "choices": ["approval", "step", "outcome", "back"]},
    "step": {"type": "dict"},
    "results": {"type": "dict", "default": {}},
    "plan": {"type": "path"},
    "report": {"type": "path"},
    "trouble": {"type": "str", "default": ""},
    "successors": {"type": "dict", "default": {}},
    "events": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 20.0},
}


class ActionModule(ControllerAction):
    """Write down what a remediation did; at its end say what came of it."""

    SPEC = {**ARGUMENTS, **_kube.ARGUMENT_SPEC}
    CONDITIONS: t.ClassVar[dict[str, t.Any]] = {"required_if": [("event", "step", ["step"]), ("event", "outcome", ["plan", "report"])]}

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        path, event = arguments["path"], arguments["event"]
        try:
            if event == "approval":
                _trail.append(path, event, by={"how": "typed", **_trail.who(variables)})
            elif event == "step":
                step = {name: arguments["step"].get(name) for name in ("id", "cause", "remedy", "class", "node", "host", "object", "change", "way_back")}
                told = _trail.told(arguments["results"])
                _trail.append(path, event, step=step, results=told)
                lasting = told.get("change", {}).get("lasting")
                if lasting:
                    show(result, _plan_text.lasting(step["node"], lasting), self._display)
                if step["remedy"] == "recreate_pod":
                    show(result, _plan_text.became(told.get("restart", {})), self._display)
            elif event == "back":
                return self._back(result, arguments)
            else:
                return self._outcome(result, arguments)
        except OSError as exc:
            raise Refused(f"the audit trail {path} cannot be written: {exc.strerror or exc}; nothing more is done without it") from exc
        return result

    def _outcome(self, result: dict[str, t.Any], arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        plan = _run.read_document(arguments["plan"], "podnet.doctor/plan/1")
        report = _run.read_document(arguments["report"], "podnet.doctor/report/1")
        trouble = arguments["trouble"]
        came = _trail.came_of(plan, report, trouble, arguments["successors"])
        told = {**came._asdict(), "trouble": trouble, "successors": arguments["successors"], "report": report["id"], "verdict": report["verdict"]}
        _trail.append(arguments["path"], "outcome", **told)
        show(result, _plan_text.outcome(came, report, arguments["report"], arguments["path"], trouble, _trail.offered(plan, came)), self._display)
        if arguments["events"]:
            self._tell_the_api(result, arguments, _trail.events(plan, came, _trail.now()))
        if came.left:
            said = f"not repaired: {', '.join(came.left)} is still found ({arguments['report']})"
        elif trouble:
            said = f"{came.outcome}, and a step failed: {trouble}"
        else:
            said = f"{came.outcome}: now named: {', '.join(came.others) or 'nothing'} ({arguments['report']})"
        return {**result, "outcome": came.outcome, "left": came.left, "others": came.others, "said": said}

    def _tell_the_api(self, result: dict[str, t.Any], arguments: dict[str, t.Any], events: list[dict[str, t.Any]]) -> None:
        """As far as this user may."""
        try:
            with _kube.Api(_kube.options_of(arguments), timeout=arguments["timeout"]) as api:
                for event in events:
                    api.request("POST", "/api/v1/namespaces/default/events", body=event)
        except _kube.KubeError as exc:
            result["event_refused"] = str(exc)
            self._display.v(f"no Kubernetes Event was written: {exc}")

    def _back(self, result: dict[str, t.Any], arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        backs = _trail.taken_back(arguments["results"].get("back") or {})
        _trail.append(arguments["path"], "back", back=[back._asdict() for back in backs])
        show(result, _plan_text.taken_back(backs), self._display)
        return result
