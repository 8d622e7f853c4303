# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of BIRD: of one of its protocols over the control socket, or of a daemon that does not answer there any more.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _bird, _bird_socket
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes
from ansible_collections.podnet.doctor.plugins.module_utils._steps import AS_IT_MUST_BE, Kernel, Params, Refused, State, Step, parameter

PROTOCOL = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
SUPERVISORS = ("runsv", "runsvdir")
INTERVAL = 0.2
JITTER, DAY = 1, 86400  # seconds


def _family(params: Params) -> str:
    family = params.get("family") or "ipv4"
    if family not in _bird_socket.NAMES:
        raise Refused(f"{family} is no family of addresses")
    return str(family)


def _session(kernel: Kernel, params: Params) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The daemon, and the BGP session that the parameters name."""
    name, family = parameter(params, "protocol"), _family(params)
    if not PROTOCOL.match(name):
        raise Refused(f"{name} is no protocol of BIRD")
    daemon = _bird_socket.read(family, kernel.deadline, Processes())
    found = next((entry for entry in daemon.get("protocols") or [] if entry.get("name") == name), None)
    if found is None:
        raise Refused(f"BIRD has no protocol {name}: {daemon.get('error') or 'another one may have taken its place'}")
    if found.get("proto") != "BGP":
        raise Refused(f"{name} is no BGP session")
    return daemon, found


def _established(session: dict[str, t.Any]) -> bool:
    return str(session.get("info") or "").startswith("Established")


def restart_protocol(kernel: Kernel, params: Params) -> State:
    """parameters: protocol (a BGP session of BIRD), family. Ends the session and begins it again; an established one only where it is so since `since`."""
    daemon, session = _session(kernel, params)
    name, since = session["name"], params.get("since")
    if _established(session) if since is None else not _established(session) or not _same_moment(str(session.get("since")), str(since)):
        return AS_IT_MUST_BE  # it came up meanwhile, or BIRD is at it
    said = f"{name} {session.get('state')} {session.get('info') or ''}".strip()
    return State(said, f"{name} restarted", [{"bird": daemon["socket"], "command": f'restart "{name}"'}], [])


def _same_moment(one: str, other: str) -> bool:
    """BIRD reckons the time of day from a clock without one at each answer, so the same moment may be a second earlier or later."""
    clocks = [re.match(r"(\d\d):(\d\d):(\d\d)", text) for text in (one, other)]
    if not all(clocks):
        return one == other
    first, second = (sum(int(part) * unit for part, unit in zip(clock.groups(), (3600, 60, 1))) for clock in clocks if clock)
    return (first - second + JITTER) % DAY <= 2 * JITTER


def reload_protocol(kernel: Kernel, params: Params) -> State:
    """parameters: protocol (a BGP session of BIRD), family, prefix; direction. in asks the peer for all of its routes once more, as the one to the prefix
    is not there; out tells it all of ours once more, which changes nothing for a peer that has them.
    """
    prefix, way = parameter(params, "prefix"), params.get("direction") or "in"
    if way not in ("in", "out"):
        raise Refused(f"{way} is no direction: in or out")
    daemon, session = _session(kernel, params)
    name = session["name"]
    if not _established(session):
        raise Refused(f"{name} is not established, so nothing can be asked of its peer, or told to it")
    told = any(route.get("prefix") == prefix and (route.get("protocol") == name) is (way == "in") for route in daemon["routes"])
    if way == "in" and told:
        return AS_IT_MUST_BE
    if way == "out" and not (told and _exports(daemon["socket"], name, prefix, kernel.deadline)):
        raise Refused(f"BIRD does not announce {prefix} to {name}: it has no such route, or its filter keeps it")
    before = f"no route to {prefix} from {name}" if way == "in" else f"{prefix} told to {name} before"
    return State(before, f"{name} reloaded {way}", [{"bird": daemon["socket"], "command": f'reload {way} "{name}"'}], [])


def _exports(path: str, name: str, prefix: str, deadline: Deadline) -> bool:
    """Whether a session's export filter lets a route through."""
    try:
        network = ipaddress.ip_network(prefix)
    except ValueError as error:
        raise Refused(f"{prefix} is no network") from error
    with _bird_socket.Conversation(path, deadline) as bird:
        return any(route.get("prefix") == prefix for route in _bird.routes(bird.ask(f"show route {network} export {name}")))


def tell(step: Step, deadline: Deadline) -> None:
    """Give one command. Errors: Refused."""
    with _bird_socket.Conversation(step["bird"], deadline, restricted=False) as bird:
        answer = bird.ask(step["command"])
    if not answer.startswith("0"):
        raise Refused(f"BIRD does not {step['command']}: {' '.join(answer.split())[:120]}")


def restart_bird(kernel: Kernel, params: Params) -> State:
    """parameters: family. Ends a daemon that does not answer, where its supervisor starts it again; its routes stay meanwhile."""
    family = _family(params)
    name, processes = _bird_socket.PROGRAMS[family][0], Processes()
    daemon = _bird_socket.read(family, kernel.deadline, processes)
    if "error" not in daemon:
        return AS_IT_MUST_BE
    if daemon["reason"] != "timeout":
        raise Refused(f"{name} does not hang: {daemon['error']}")
    pids = _bird_socket.pids(processes, family)
    if len(pids) != 1:
        raise Refused(f"{len(pids)} processes of {name} run")
    (pid,) = pids
    if not _supervised(processes, pid):
        raise Refused(f"nothing would start {name} (process {pid}) again: runit did not start it")
    step = {"family": family, "pid": pid, "started": processes.started(pid)}
    return State(f"{name} (process {pid}) does not answer", f"{name} started again", [step], [])


def _supervised(processes: Processes, pid: int) -> bool:
    """Whether runit started it, which starts it again when it ends."""
    above = processes.argv(processes.parent(pid))
    return bool(above) and os.path.basename(above[0]) in SUPERVISORS


def replace_bird(step: Step, deadline: Deadline) -> None:
    """Kill it, and wait until another one answers. SIGKILL, as a clean stop makes its peers withdraw its routes at once. Errors: OSError."""
    pid, family = step["pid"], step["family"]
    if Processes().started(pid) == step["started"]:
        os.kill(pid, signal.SIGKILL)
    said = "there is none"
    while not deadline.expired():
        try:
            processes = Processes()
            if any(other != pid for other in _bird_socket.pids(processes, family)):
                daemon = _bird_socket.read(family, deadline, processes)
                if "error" not in daemon:
                    return
                said = str(daemon["error"])
        except OSError as error:  # a process that cannot be looked at might be it
            said = sentence(error)
        time.sleep(deadline.remaining(INTERVAL))
    raise OSError(0, f"{_bird_socket.PROGRAMS[family][0]} was killed, and none answers that runit started instead: {said}")
