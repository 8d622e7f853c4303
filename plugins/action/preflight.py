# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _inventory, _preflight, _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._answers import node_facts
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import Json, NotCollected
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show

ARGUMENTS: dict[str, t.Any] = {
    "fail_on": {"type": "str", "default": "finding", "choices": ["never", "finding"]},
    "timeout": {"type": "float", "default": 20.0},
}
SECTIONS = ("nodes", "daemonsets")


def _result(raw: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) and not value.get("skipped") else {}


def hosts(variables: Mapping[str, Json], cluster: Mapping[str, Json] | None) -> list[_preflight.Host]:
    """Every host of the inventory with what the tasks before brought back. Read raw: nothing from a node is templated."""
    in_play = {str(name) for name in variables.get("ansible_play_hosts_all") or []}
    mapped: dict[str, str] = {}
    if cluster is not None:
        try:
            mapped = {host: node for node, host in _inventory.match(Cluster(cluster), _run.inventory(variables)).items()}
        except NotCollected:
            pass
    found = []
    for name in variables["groups"]["all"]:
        raw = variables["hostvars"].raw_get(name)
        facts = _result(raw, "preflight_node")
        found.append(
            _preflight.Host(
                name=str(name),
                ssh=_result(raw, "preflight_ssh"),
                become=_result(raw, "preflight_root"),
                facts=facts,
                document=node_facts(str(name), facts).document if facts else None,
                node=mapped.get(str(name)),
                asked=str(name) in in_play,
            )
        )
    return found


def ask_api(arguments: Mapping[str, Json]) -> tuple[dict[str, Json] | None, dict[str, Json], list[Mapping[str, Json]]]:
    """The cluster document, or why there is none, and this user's rights."""
    timeout = float(arguments["timeout"])
    try:
        options = _kube.options_of(arguments)
        document: dict[str, Json] = _kube.read_cluster(options, SECTIONS, timeout=timeout)
        if document.get("reachable") is False:
            return None, {"msg": f"{document.get('server') or 'the API server'}: {document.get('error')}"}, []
        return document, {}, _preflight.rights_of(_kube.access_review(options, timeout=timeout))
    except _kube.KubeError as exc:
        return None, {"msg": str(exc)}, []


class ActionModule(ActionBase):
    """Compose the answers of the nodes and of the API into one line each."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        result["changed"] = False
        refusal = _run.refuse_free_strategy(self._task)
        if refusal:
            return {**result, "failed": True, "msg": refusal}
        _spec, arguments = self.validate_argument_spec(argument_spec={**ARGUMENTS, **_kube.ARGUMENT_SPEC})
        cluster, failure, rights = ask_api(arguments)
        answer = _preflight.check(hosts(variables, cluster), cluster, failure, rights)
        result.update(ready=answer.ready, lines=[line.to_json() for line in answer.lines if line.asked])
        show(result, answer.screen, self._display)
        if not answer.ready and arguments["fail_on"] == "finding":
            result.update(failed=True, msg="not ready for a diagnosis; the lines above say what is missing, and its fix")
        return result
