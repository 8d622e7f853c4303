# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few changes that a repair makes to a node: each exact, each refused where more would break than is mended.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _conntrack, _guard, _repairs_bird, _repairs_links, _repairs_routes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NetlinkError
from ansible_collections.podnet.doctor.plugins.module_utils._steps import (
    AS_IT_MUST_BE,
    KEPT_SETTINGS,
    LIMIT,
    UNMANAGED_FILE,
    Changing,
    Kernel,
    Params,
    Refused,
    State,
    Step,
    is_setting,
    keeping,
    kept,
    kept_settings,
    leaving,
    outlives_boots,
    parameter,
    perform,
    read_own,
    read_setting,
    setting,
    unmanaged,
)

IPCTNL_MSG_CT_DELETE = 1 << 8 | 2  # linux/netfilter/nfnetlink_conntrack.h

Change = t.Tuple[str, str, Step, Step]  # noqa: UP006 - evaluated on Python 3.9


def set_sysctl(_kernel: Kernel, params: Params) -> State:
    """parameters: path below /proc/sys (one of the few that decide on forwarding, or a limit, which is only raised), value; persistent, in a file, too."""
    path, value = parameter(params, "path"), parameter(params, "value")
    if not is_setting(path, value):
        raise Refused(f"{path}={value} is not a setting that a repair changes")
    try:
        found = read_setting(path)
    except OSError as error:
        raise Refused(f"/proc/sys/{path} cannot be read: {error.strerror}") from error
    name = path.replace("/", ".")
    if LIMIT.match(path) and int(found) > int(value):
        return AS_IT_MUST_BE
    changes: list[Change] = [] if found == value else [(f"{name} = {found}", f"{name} = {value}", setting(path, value), setting(path, found))]
    if params.get("persistent"):
        changes += _persistently(path, value)
    before, after = "; ".join(change[0] for change in changes), "; ".join(change[1] for change in changes)
    return State(before, after, [change[2] for change in changes], [change[3] for change in reversed(changes)])


def _persistently(path: str, value: str) -> list[Change]:
    if not outlives_boots(path):
        raise Refused(f"{path} belongs to one interface and is made anew with it: no file can keep it")
    try:
        was = kept_settings()
    except (OSError, ValueError) as error:
        raise Refused(f"{KEPT_SETTINGS} cannot be read: {error}") from error
    if not os.path.isdir(os.path.dirname(KEPT_SETTINGS)):
        raise Refused(f"{KEPT_SETTINGS} cannot be written: there is no such folder")
    wanted = kept(was, path, value)
    name = path.replace("/", ".")
    return [] if wanted == was else [(f"{name} not in {KEPT_SETTINGS}", f"{name} = {value} in {KEPT_SETTINGS}", keeping(wanted), keeping(was))]


def leave_unmanaged(_kernel: Kernel, params: Params) -> State:
    """parameters: interfaces, names and patterns of the pod network's interfaces. NetworkManager leaves them alone from now on."""
    wanted = unmanaged(params.get("interfaces") or [])
    if not os.path.isdir(os.path.dirname(UNMANAGED_FILE)):
        raise Refused(f"{UNMANAGED_FILE} cannot be written: there is no such folder")
    was = read_own(UNMANAGED_FILE)
    return AS_IT_MUST_BE if was == wanted else State(was, wanted, [leaving(wanted)], [leaving(was)])


def delete_connection(kernel: Kernel, params: Params) -> State:
    """parameters: src, dst, sport, dport of one UDP flow; gone: the other end that it is tracked with, which is no endpoint any more."""
    src, dst, gone = (_ip(params, name) for name in ("src", "dst", "gone"))
    ports = (params.get("sport"), params.get("dport"))
    if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
        raise Refused("sport and dport must be ports")
    with Changing(kernel.deadline, _conntrack.NETLINK_NETFILTER) as tracking:
        for entry, names_of_it in _conntrack.tuples(tracking, src, dst):
            if entry["protocol"] == "udp" and (entry.get("sport"), entry.get("dport")) == ports and entry["reply"].get("src") == gone:
                return State(f"udp {src}:{ports[0]} to {dst}:{ports[1]} answered by {gone}", "", [{"conntrack": names_of_it.hex()}], [])
    return AS_IT_MUST_BE


def _ip(params: Params, name: str) -> str:
    text = parameter(params, name)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Refused(f"{text} is no address") from error


def _forget(step: Step, deadline: Deadline) -> None:
    with Changing(deadline, _conntrack.NETLINK_NETFILTER) as tracking:
        try:
            tracking.change(IPCTNL_MSG_CT_DELETE, bytes.fromhex(step["conntrack"]))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:  # gone meanwhile
                raise


REMEDIES: dict[str, t.Callable[[Kernel, Params], State]] = {
    "add_gateway_route": _repairs_routes.add_gateway_route,
    "add_route": _repairs_routes.add_route,
    "delete_address": _repairs_links.delete_address,
    "delete_connection": delete_connection,
    "delete_link": _repairs_links.delete_link,
    "delete_neighbour": _repairs_routes.delete_neighbour,
    "delete_route": _repairs_routes.delete_route,
    "delete_rule": _repairs_routes.delete_rule,
    "leave_unmanaged": leave_unmanaged,
    "reload_protocol": _repairs_bird.reload_protocol,
    "restart_bird": _repairs_bird.restart_bird,
    "restart_protocol": _repairs_bird.restart_protocol,
    "set_bridge_port": _repairs_links.set_bridge_port,
    "set_fdb": _repairs_routes.set_fdb,
    "set_link_up": _repairs_links.set_link_up,
    "set_neighbour": _repairs_routes.set_neighbour,
    "set_offload": _repairs_links.set_offload,
    "set_sysctl": set_sysctl,
}


IN_THEIR_WAY: dict[str, t.Callable[[Step, Deadline], None]] = {
    "delete_connection": _forget,
    "reload_protocol": _repairs_bird.tell,
    "restart_bird": _repairs_bird.replace_bird,
    "restart_protocol": _repairs_bird.tell,
}


def carry_out(remedy: str, params: Params, deadline: Deadline, check_mode: bool, guard: float = 0) -> dict[str, t.Any]:
    """Look, and change only what is not yet as it must be. guard: seconds after which the node itself takes the change back unless it is confirmed.

    Errors: Refused, OSError.
    """
    with Kernel(deadline) as kernel:
        state = REMEDIES[remedy](kernel, params)
        token = ""
        if state.steps and not check_mode:
            if state.back and guard > 0:
                token = _guard.start(state.back, guard)
            try:
                if remedy in IN_THEIR_WAY:
                    IN_THEIR_WAY[remedy](state.steps[0], deadline)
                else:
                    perform(kernel, state.steps)
            except OSError:
                if token:
                    _guard.end(token)
                raise
    return {"changed": bool(state.steps), "before": state.before, "after": state.after, "back": [] if check_mode else state.back, "guard": token}


def take_back(params: Params, deadline: Deadline, check_mode: bool) -> dict[str, t.Any]:
    """parameters: steps, as the change returned them in `back`; guard, its token. Errors: Refused, OSError."""
    steps = params.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Refused("the parameter steps is missing")
    changed = False
    if not check_mode:
        with Kernel(deadline) as kernel:
            changed = perform(kernel, steps)
        if params.get("guard"):
            _guard.end(str(params["guard"]))
    return {"changed": changed, "before": "", "after": "", "back": [], "guard": ""}


def keep(params: Params, check_mode: bool) -> dict[str, t.Any]:
    """parameters: guard, the token of a change. It stays. Errors: Refused, OSError."""
    token = parameter(params, "guard")
    if not check_mode and not _guard.end(token):
        raise Refused("the node has taken the change back by itself, as nobody confirmed it in time")
    return {"changed": False, "before": "", "after": "", "back": [], "guard": ""}
