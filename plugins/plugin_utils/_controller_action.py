# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the actions that never leave the controller share.

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.module_utils._kube import KubeError
from ansible_collections.podnet.doctor.plugins.plugin_utils import _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion


class Refused(Exception):
    """What was asked for cannot be done. The text is the task's msg; told: what it returns beside."""

    def __init__(self, text: str, **told: t.Any) -> None:
        super().__init__(text)
        self.told = told


class ControllerAction(ActionBase):
    """Checks the arguments, acts, and ends in one sentence where it cannot."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    SPEC: t.ClassVar[dict[str, t.Any]]
    CONDITIONS: t.ClassVar[dict[str, t.Any]] = {}  # required_if and its like
    READS_OTHER_HOSTS = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What the task returns."""
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        result["changed"] = False
        refusal = _run.refuse_free_strategy(self._task) if self.READS_OTHER_HOSTS else None
        if refusal:
            return {**result, "failed": True, "msg": refusal}
        _spec, arguments = self.validate_argument_spec(argument_spec=self.SPEC, **self.CONDITIONS)
        try:
            return self.act(result, arguments, variables)
        except (Refused, BadQuestion, NotCollected, KubeError) as exc:
            return {**result, **getattr(exc, "told", {}), "failed": True, "msg": str(exc)}

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """result: what the task returns so far. Errors: Refused, BadQuestion, NotCollected, KubeError."""
        raise NotImplementedError
