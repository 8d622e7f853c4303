# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module path_probe and its three phases.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _links, _marks, _probe, _sandboxes
from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._node_common import COMMON, PODS, load_pyroute2, need_root
from ansible_collections.podnet.doctor.plugins.module_utils._places import Places

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

LONGEST_LIMIT = 600
ARGUMENT_SPEC: dict[str, t.Any] = {
    "phase": {"type": "str", "choices": ["arm", "fire", "collect"], "required": True},
    "id": {"type": "str", "required": True},
    "pod": {"type": "dict", "options": PODS},
    "ifnames": {"type": "list", "elements": "str", "default": []},
    "limit": {"type": "float", "default": 60},
    "dst": {"type": "str"},
    "port": {"type": "int"},
    "source": {"type": "str"},
    "count": {"type": "int", "default": 3},
    "wait": {"type": "float", "default": 2},
    **COMMON,
}
REQUIRED_IF = [("phase", "fire", ["dst"])]


def _place(module: AnsibleModule, deadline: Deadline) -> str | None:
    """Where the asked pod's namespace can be opened, None for the node's own. LookupError if the pod is not there."""
    pod = {name: value for name, value in (module.params["pod"] or {}).items() if value}
    if not pod:
        return None
    load_pyroute2(module)
    sandbox = Places(deadline).sandbox_of(pod)
    if sandbox is None:
        raise LookupError(f"there is no sandbox of the pod {', '.join(f'{name} {value}' for name, value in sorted(pod.items()))} on this node")
    return _sandboxes.path_of(sandbox)


def _arm(module: AnsibleModule, marks: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    limit = module.params["limit"]
    if not 0 < limit <= LONGEST_LIMIT:
        return {"armed": False, "reason": f"limit: {limit:g} is not between 0 and {LONGEST_LIMIT} seconds"}
    try:
        path = _place(module, deadline)
    except Exception as error:  # noqa: BLE001 - a capture that cannot listen is an answer
        return {"armed": False, "reason": sentence(error)}
    places = [_capture.Place("host", None, name) for name in module.params["ifnames"]]
    places.append(_capture.Place("host" if path is None else "pod", path))
    refused = _capture.arm(module.params["id"], places, marks, limit)
    if refused is not None:
        return {"armed": False, "reason": refused}
    return {"armed": True, "captures": [{"where": place.where, "ifname": place.ifname} for place in places]}


def _fire(module: AnsibleModule, marks: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    options = module.params
    dst, source = canonical(options["dst"]), canonical(options["source"]) if options["source"] else None
    if dst is None or (options["source"] and source is None):
        module.fail_json(msg=f"dst and source must be addresses, not {options['dst']!r} and {options['source']!r}")
    wait = deadline.remaining(options["wait"])
    try:
        path = _place(module, deadline)

        def send() -> list[dict[str, t.Any]]:
            if not options["port"]:
                return [_probe.icmp(str(dst), source, marks, wait)]
            beside = Running("tcp", lambda: _probe.tcp(str(dst), options["port"], source, marks, wait))  # so that silence is waited for once
            fired = [_probe.icmp(str(dst), source, marks, wait)]
            beside.wait(deadline.remaining())
            if beside.error is not None:
                raise beside.error
            return [*fired, beside.result()]

        return {"fired": send() if path is None else inside(path, send, deadline)}
    except Exception as error:  # noqa: BLE001 - a probe that could not be sent is an answer
        return {"fired": [], "reason": sentence(error)}


def _collect(module: AnsibleModule, _marks_of: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    try:
        return {"captured": True, "seen": _capture.collect(module.params["id"], deadline.remaining())["seen"]}
    except ConnectionRefusedError:
        reason = "no capture with this id listens on this node: it was not armed, or it has reached its limit"
    except (OSError, ValueError) as error:
        reason = sentence(error)
    return {"captured": False, "reason": reason, "seen": []}


def _carrier_changes(module: AnsibleModule, deadline: Deadline) -> int | None:
    """How often the carrier of the host's link to the pod has come and gone; None where it cannot be told."""
    ifname = (module.params["pod"] or {}).get("ifname")
    try:
        with Rtnetlink(deadline) as kernel:
            payloads = _links.dump(kernel)
        index = next((number for number, name in _links.indexes(payloads).items() if name == ifname), None)
        return _links.carrier_changes(payloads).get(index) if index is not None else None
    except OSError:
        return None


PHASES = {"arm": _arm, "fire": _fire, "collect": _collect}


def run(module: AnsibleModule) -> None:
    """One phase of a probe."""
    need_root(module, "the network namespaces of pods and raw sockets")
    options = module.params
    try:
        marks = _marks.of(options["id"], options["count"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    deadline = Deadline(options["timeout"])
    found = PHASES[options["phase"]](module, marks, deadline)
    changes = _carrier_changes(module, deadline) if options["phase"] != "fire" else None
    if changes is not None:
        found["carrier_changes"] = changes
    own = {"identifier": marks.identifier, "first_port": marks.port, "last_port": marks.ports[-1]}
    module.exit_json(changed=False, phase=options["phase"], id=options["id"], hostname=os.uname().nodename, marks=own, **found)
