# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the actions of modules that run on nodes share.

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.plugin_utils._pyroute2_zip import archive

archive()  # kept by it: Ansible loads an action once, and then forks a process for each host and task


class NodeAction(ActionBase):
    """Runs the module of its own name on the node and sends the controller's pyroute2 along."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The arguments of the module."""
        arguments = dict(self._task.args)
        if not arguments.get("pyroute2"):
            arguments["pyroute2"] = archive()
        return arguments

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One module call."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        return t.cast("dict[str, t.Any]", self._execute_module(module_args=self.arguments(variables), task_vars=variables))
