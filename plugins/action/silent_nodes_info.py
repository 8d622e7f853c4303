# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _indirect, _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion

ARGUMENTS: dict[str, t.Any] = {
    "question": {"type": "dict", "required": True},
    "exec": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 20.0},
}


class ActionModule(ControllerAction):
    """What the Kubernetes API tells of nodes that gave no answer themselves."""

    SPEC = {**ARGUMENTS, **_kube.ARGUMENT_SPEC}

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        result.update(documents={}, reasons={})
        asked = arguments["question"]
        if asked.get("api"):
            return result
        if not any(asked.get(name) for name in ("question", "audit")):
            raise BadQuestion("question is not what podnet.doctor.question returned; register that task and pass its result")
        cluster = Cluster(_run.read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1"))
        silent = _run.silent(variables, asked["nodes"], _run.asked_nodes(asked, cluster), _run.stored_answers(asked))
        heard = _indirect.hear(cluster, silent, _kube.options_of(arguments), arguments["exec"], arguments["timeout"])
        return {**result, "documents": {node: pack(document) for node, document in heard.documents.items()}, "reasons": heard.reasons}
