# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.plugin_utils import _run, _store, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion

ARGUMENTS: dict[str, t.Any] = {**_store.OPTIONS, "question": {"type": "dict", "required": True}}


class ActionModule(ActionBase):
    """Keep the answers of this run's hosts, so that another run can judge them together with those of others."""

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
        _spec, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        asked = arguments["question"]
        if not asked.get("audit") or not asked.get("asked") or asked.get("api"):
            return {**result, "failed": True, "msg": "only an audit that the Kubernetes API was there for is kept: question is not what that returned"}
        hosts = {str(node): str(host) for node, host in asked["nodes"].items()}
        answers: dict[str, Mapping[str, t.Any]] = {}
        for node, host in hosts.items():
            answer = variables["hostvars"].raw_get(host).get(_run.ANSWERS[0])
            if isinstance(answer, Mapping) and not answer.get("skipped"):
                answers[node] = answer
        silent = [node for node, answer in answers.items() if answer.get("failed") or answer.get("unreachable")]
        result.update(nodes=len(answers), silent=len(silent), bytes=0)
        if not answers:
            text = "this slice has no node of the cluster: no host of the play is one, or --limit and the slice have nothing in common"
            return {**result, "failed": True, "msg": text}
        if self._task.check_mode:
            return {**result, "changed": True}
        try:
            cluster = Cluster(_run.read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1"))
            now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
            store, folder = _store.store_of(arguments), str(asked["asked"])
            result["bytes"] = _store.save(store, answers, hosts, _tables.shared(cluster), lambda host: _tables.own(folder, host), now)
        except (_store.StoreError, BadQuestion, NotCollected, OSError, ValueError, KeyError) as exc:
            return {**result, "failed": True, "msg": f"the answers of {len(answers)} nodes could not be kept: {exc}"}
        return {**result, "changed": True}
