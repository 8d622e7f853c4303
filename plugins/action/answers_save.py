# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping

from ansible_collections.podnet.doctor.plugins.plugin_utils import _run, _store, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion

ARGUMENTS: dict[str, t.Any] = {**_store.OPTIONS, "question": {"type": "dict", "required": True}}


class ActionModule(ControllerAction):
    """Keep the answers of this run's hosts, so that another run can judge them together with those of others."""

    SPEC = ARGUMENTS
    READS_OTHER_HOSTS = True

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        asked = arguments["question"]
        if not asked.get("audit") or not asked.get("asked") or asked.get("api"):
            raise Refused("only an audit that the Kubernetes API was there for is kept: question is not what that returned")
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
            raise Refused(text)
        if self._task.check_mode:
            return {**result, "changed": True}
        try:
            cluster = Cluster(_run.read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1"))
            now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
            store, folder = _store.store_of(arguments), str(asked["asked"])
            result["bytes"] = _store.save(store, answers, hosts, _tables.shared(cluster), lambda host: _tables.own(folder, host), now)
        except (_store.StoreError, BadQuestion, NotCollected, OSError, ValueError, KeyError) as exc:
            raise Refused(f"the answers of {len(answers)} nodes could not be kept: {exc}") from exc
        return {**result, "changed": True}
