# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible import constants
from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence, _inventory, _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import first_wave
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion

ARGUMENTS: dict[str, t.Any] = {
    "report": {"type": "path"},
    "source": {"type": "str", "default": ""},
    "destination": {"type": "str", "default": ""},
    "protocol": {"type": "str", "choices": ["tcp", "udp", "icmp"]},
    "port": {"type": "raw"},
    "probe": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 20.0},
}


class ActionModule(ActionBase):
    """Resolve the question to pods and nodes, and say what has to be asked of which host."""

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
        try:
            document, question = _run.ask_api(arguments)
        except (BadQuestion, _kube.KubeError) as exc:
            return {**result, "failed": True, "msg": str(exc)}
        cluster = Cluster(document)
        hosts = _inventory.match(cluster, _run.inventory(variables))
        wave = first_wave(cluster, question)
        handle, path = tempfile.mkstemp(prefix="podnet-cluster-", suffix=".json", dir=constants.DEFAULT_LOCAL_TMP)
        with os.fdopen(handle, "w") as stream:
            json.dump(document, stream)
        result.update(
            question=question.to_json(),
            cluster_file=path,
            nodes=hosts,
            ask=_run.ask(wave, hosts),
            probes=_evidence.probes(question, hosts) if arguments["probe"] else {},
            hosts=[hosts[w.node] for w in wave if w.node in hosts],
            not_in_inventory=_inventory.not_matched([w.node for w in wave], hosts),
        )
        return result
