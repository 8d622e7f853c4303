# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils._node_action import NodeAction
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show
from ansible_collections.podnet.doctor.plugins.plugin_utils._watched import progress


class ActionModule(NodeAction):
    """Sends the controller's pyroute2 along, where a pod's namespace has to be found, and says how a watch goes."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One phase."""
        result = super().run(tmp, task_vars)
        line = progress(result, float(self._task.args.get("offset") or 0) + float(self._task.args.get("watch") or 0))
        if line:
            show(result, [line], self._display)
        return result

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        return dict(self._task.args) if self._task.args.get("phase") == "collect" else super().arguments(task_vars)
