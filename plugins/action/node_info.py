# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._files import file_of
from ansible_collections.podnet.doctor.plugins.plugin_utils._node_action import NodeAction


class ActionModule(NodeAction):
    """Adds the host's name to the call, and what an audit asks of this host."""

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        arguments = super().arguments(task_vars)
        host = str(task_vars.get("inventory_hostname") or "")
        arguments.setdefault("host", host)
        folder = arguments.pop("asked", None)
        if not folder:
            return arguments
        path = os.path.join(str(folder), file_of(host))
        try:
            with open(path, encoding="utf-8") as stream:
                asked = json.load(stream)["arguments"]
            return {**asked, "expect": pack(_tables.read(str(folder), host)), **arguments}
        except (OSError, ValueError, KeyError) as error:
            raise AnsibleActionFail(f"asked: {path} cannot be read: {error}") from error
