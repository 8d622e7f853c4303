# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import socket
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _lock, _trail

ARGUMENTS: dict[str, t.Any] = {
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "plan": {"type": "str", "required": True},
    "seconds": {"type": "int", "default": 600},
    "timeout": {"type": "float", "default": 20.0},
}


class ActionModule(ActionBase):
    """Keep two remediations of one cluster apart."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        result.update(changed=False, locked=False)
        _spec, arguments = self.validate_argument_spec(argument_spec={**ARGUMENTS, **_kube.ARGUMENT_SPEC})
        who = _trail.who(variables)
        holder = f"{who['user']} at {socket.gethostname()}, plan {arguments['plan']}" + (f", job {who['job']}" if who.get("job") else "")
        if self._task.check_mode:
            return result
        try:
            with _kube.Api(_kube.options_of(arguments), timeout=arguments["timeout"]) as api:
                if arguments["state"] == "absent":
                    return {**result, "changed": _lock.give_back(api, holder)}
                _lock.take(api, holder, arguments["seconds"], datetime.datetime.now(datetime.timezone.utc))
        except _lock.Held as exc:
            return {**result, "failed": True, "msg": f"NOT BEGUN: {exc}; nothing was changed"}
        except _lock.Unlocked as exc:
            return {**result, "warnings": [str(exc)]}
        except _kube.KubeError as exc:
            return {**result, "failed": True, "msg": str(exc)}
        return {**result, "changed": True, "locked": True, "holder": holder}
