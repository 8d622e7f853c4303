# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import socket
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _lock, _trail
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused

ARGUMENTS: dict[str, t.Any] = {
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "plan": {"type": "str", "required": True},
    "seconds": {"type": "int", "default": 600},
    "without_api": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 20.0},
}


class ActionModule(ControllerAction):
    """Keep two remediations of one cluster apart."""

    SPEC = {**ARGUMENTS, **_kube.ARGUMENT_SPEC}

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        result["locked"] = False
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
            raise Refused(f"NOT BEGUN: {exc}; nothing was changed") from exc
        except _lock.Unlocked as exc:
            return {**result, "warnings": [str(exc)]}
        except _kube.KubeError as exc:
            if not arguments["without_api"]:
                raise
            text = f"two repairs of this cluster cannot be kept apart, as the Kubernetes API is silent ({exc}); on each node they are"
            self._display.display(f"WARNING     {text}", color="yellow")
            return result
        return {**result, "changed": True, "locked": True, "holder": holder}
