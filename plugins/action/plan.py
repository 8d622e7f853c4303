# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t
from dataclasses import fields

from ansible_collections.podnet.doctor.plugins.plugin_utils import _approval, _files, _plan, _run, _trail
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _plan_text

ARGUMENTS: dict[str, t.Any] = {
    "question": {"type": "dict", "required": True},
    "report": {"type": "path", "required": True},
    "report_dir": {"type": "path", "default": "reports"},
    "approve": {"type": "str", "default": ""},
    "auto_approve": {"type": "raw"},
    "delete_interface": {"type": "bool", "default": False},
    "at_once": {"type": "bool", "default": False},
    "guard": {"type": "float", "default": 60.0},
    "allow_r3": {"type": "bool", "default": False},
    "restart_all": {"type": "bool", "default": False},
    "persistent": {"type": "bool", "default": False},
    "restart_wait": {"type": "float", "default": 0.0},
}


class ActionModule(ControllerAction):
    """From a report to a plan, shown and recorded."""

    SPEC = ARGUMENTS

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        asked = arguments["question"]
        try:
            policy = _approval.Policy.of(arguments["auto_approve"])
            report = _run.read_document(arguments["report"], "podnet.doctor/report/1")
            cluster = Cluster(_run.read_document(str(asked.get("cluster_file")), "podnet.doctor/cluster/1"))
            hosts = {str(k): str(v) for k, v in (asked.get("nodes") or {}).items()}
            wishes = _plan.Wishes(**{field.name: arguments[field.name] for field in fields(_plan.Wishes)})
            plan = _plan.plan(report, cluster, hosts, wishes)
            path = _files.write(plan, arguments["report_dir"], f"plan-{plan['id']}")
        except OSError as exc:
            raise Refused(f"the plan cannot be written to {arguments['report_dir']}: {exc.strerror or exc}") from exc
        approve = arguments["approve"].strip()
        if approve and approve != plan["id"] and plan["actions"]:
            msg = f"NOT APPROVED: the approval is for plan {approve}, but what is found now gives plan {plan['id']} ({path}); read it and approve that one"
            show(result, _plan_text.screen(plan), self._display)
            raise Refused(msg, plan_id=plan["id"], plan_path=path)
        objections = policy.objections(plan["actions"], datetime.datetime.now().astimezone())
        how = "id" if approve else "" if objections else "policy"
        if not plan["actions"]:
            how, objections = "", []
        result.update(
            plan_id=plan["id"], plan_path=path, actions=plan["actions"], refused=plan["refused"], approved=bool(how), approved_by=how, trail_path="",
            objections=objections if policy.classes else [], outcome=report["verdict"]["outcome"],
        )  # fmt: skip
        if plan["actions"] and not self._task.check_mode:
            try:
                result["trail_path"] = self._begin_trail(arguments["report_dir"], plan, report, how, variables)
            except OSError as exc:
                raise Refused(f"the audit trail cannot be written to {arguments['report_dir']}: {exc.strerror or exc}") from exc
        show(result, _plan_text.screen(plan, bool(self._task.check_mode), result["objections"], how), self._display)
        return result

    @staticmethod
    def _begin_trail(folder: str, plan: dict[str, t.Any], report: dict[str, t.Any], how: str, variables: dict[str, t.Any]) -> str:
        path = _trail.new(folder, plan["id"])
        who = _trail.who(variables)
        _trail.append(path, "plan", by=who, plan=plan, report=report["id"], verdict=report["verdict"])
        if how:
            _trail.append(path, "approval", by={"how": how, **who})
        return path
