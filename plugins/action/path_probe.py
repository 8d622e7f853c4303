# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils._node_action import NodeAction


class ActionModule(NodeAction):
    """Sends the controller's pyroute2 along, where a pod's namespace has to be found."""

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        return dict(self._task.args) if self._task.args.get("phase") == "collect" else super().arguments(task_vars)
