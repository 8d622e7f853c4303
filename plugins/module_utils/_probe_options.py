# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module path_probe and its three phases.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _dns, _links, _lookups, _marks, _probe, _rule_counters, _sandboxes, _trace, _watch
from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._node_common import COMMON, PODS, load_pyroute2, need_root
from ansible_collections.podnet.doctor.plugins.module_utils._places import Places

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

LONGEST_LIMIT = 600
MOST_PORTS, MOST_NEXT_HOPS = 8, 16
MOST_CELLS = 16
CELLS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "inside": {"type": "bool", "default": False},
    "dst": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["icmp", "tcp", "udp", "dns"], "default": "icmp"},
    "port": {"type": "int"},
    "flow": {"type": "int", "default": 0},
    "question": {"type": "str"},
}
TRACED: dict[str, t.Any] = {
    "src": {"type": "str"},
    "dst": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["icmp", "tcp", "udp"], "default": "icmp"},
    "port": {"type": "int"},
    "flow": {"type": "int", "default": 0},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "phase": {"type": "str", "choices": ["arm", "fire", "collect"], "required": True},
    "id": {"type": "str", "required": True},
    "pod": {"type": "dict", "options": PODS},
    "pods": {"type": "list", "elements": "dict", "options": PODS, "default": []},
    "vxlan_ports": {"type": "list", "elements": "int", "default": [4789, 8472]},
    "flow": {"type": "int", "default": 0},
    "limit": {"type": "float", "default": 60},
    "keep": {"type": "bool", "default": False},
    "count_rules": {"type": "bool", "default": False},
    "next_hops": {"type": "list", "elements": "str", "default": []},
    "trace": {"type": "list", "elements": "dict", "default": [], "options": TRACED},
    "dst": {"type": "str"},
    "port": {"type": "int"},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "full_size": {"type": "bool", "default": False},
    "source": {"type": "str"},
    "watch": {"type": "float", "default": 0},
    "offset": {"type": "float", "default": 0},
    "cells": {"type": "list", "elements": "dict", "default": [], "options": CELLS},
    "service": {"type": "str"},
    "service_port": {"type": "int"},
    "count": {"type": "int", "default": 3},
    "wait": {"type": "float", "default": 2},
    **COMMON,
}
REQUIRED_IF = [("phase", "fire", ["dst"])]


def _named(pod: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in pod.items() if value}


def _sandbox(places: Places, pod: dict[str, t.Any]) -> dict[str, t.Any]:
    """The sandbox of an asked pod. LookupError if it is not there."""
    sandbox = places.sandbox_of(_named(pod))
    if sandbox is None:
        raise LookupError(f"there is no sandbox of the pod {', '.join(f'{name} {value}' for name, value in sorted(_named(pod).items()))} on this node")
    return sandbox


def _rules(options: dict[str, t.Any], deadline: Deadline) -> list[list[t.Any]] | None:
    """The counters of rules, where they are asked for and can be read."""
    try:
        return _rule_counters.packed(_rule_counters.read(deadline)) if options["count_rules"] else None
    except (OSError, Expired):
        return None


def _with_routers(addresses: list[str], deadline: Deadline) -> list[str]:
    """The next hops, and the routers between here and those of them that are no neighbours. A pod's gateway is asked for in the pod."""
    routers = []
    try:
        with Rtnetlink(deadline) as kernel:
            links = _links.indexes(_links.dump(kernel))
            for address in addresses[:MOST_NEXT_HOPS]:
                if not ipaddress.ip_address(address).is_link_local:
                    routers.append(_lookups.lookup(kernel, {"dst": address}, links)["route"].get("gateway"))
    except (OSError, Expired):
        pass
    return list(dict.fromkeys([*addresses, *(router for router in routers if router)]))[:MOST_NEXT_HOPS]


def _arm(module: AnsibleModule, marks: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    options = module.params
    limit = options["limit"]
    if not 0 < limit <= LONGEST_LIMIT:
        return {"armed": False, "reason": f"limit: {limit:g} is not between 0 and {LONGEST_LIMIT} seconds"}
    captures: list[dict[str, t.Any]] = [{"where": "host"}]
    places, missing = [_capture.Place("host")], []
    if options["pods"]:
        load_pyroute2(module)
    known = Places(deadline)
    for position, pod in enumerate(options["pods"]):
        try:
            sandbox = _sandbox(known, pod)
            places.append(_capture.Place("pod", _sandboxes.path_of(sandbox), position))
            captures.append({"where": "pod", "pod": position, "ifname": sandbox.get("ifname")})
        except Exception as error:  # noqa: BLE001 - a pod that cannot be listened in is an answer
            missing.append({"pod": position, "reason": sentence(error)})
    next_hops = _with_routers([address for address in map(canonical, options["next_hops"]) if address], deadline)
    memory: dict[str, t.Any] = {"rules": _rules(options, deadline)}
    flows = [flow for flow in map(_trace.flow_of, options["trace"][: _trace.MOST_FLOWS]) if flow is not None]
    if options["trace"]:
        memory["untraced"] = _trace.why_not(flows, module.check_mode)
    traced = () if memory.get("untraced") else flows
    refused = _capture.arm(_capture.Order(options["id"], places, marks, options["vxlan_ports"], limit, options["keep"], next_hops, memory, traced))
    if refused is not None:
        return {"armed": False, "reason": refused, "missing": missing, **_links_told(module, deadline)}
    return {"armed": True, "captures": captures, "missing": missing, "next_hops": next_hops, **_links_told(module, deadline)}


def _trains(options: dict[str, t.Any], dst: str, source: str | None, marks: _marks.Marks, wait: float) -> list[Running]:
    """The trains of a probe, which run."""
    to, port = (dst, source, marks, wait, options["flow"]), options["port"]
    trains = [Running("icmp", lambda: _probe.icmp(*to))]
    if options["full_size"]:
        trains.append(Running("full size", lambda: _probe.full_size(*to)))
    if port:
        train = {"tcp": _probe.tcp, "udp": _probe.udp}[options["protocol"]]
        trains.append(Running(options["protocol"], lambda: train(dst, port, *to[1:])))
    return trains


def _cell(cell: dict[str, t.Any], marks: _marks.Marks, wait: float) -> dict[str, t.Any]:
    """One cell of a grid, measured in the calling thread's namespace."""
    dst = str(canonical(cell["dst"]) or "")
    if not dst:
        return {"name": cell["name"], "sent": 0, "replied": 0, "error": f"{cell['dst']!r} is no address"}
    if cell["protocol"] == "dns":
        said = _dns.ask(dst, "udp", cell["question"] or "", _dns.AAAA if ":" in dst else _dns.A, time.monotonic() + wait)
        told = {name: said[name] for name in ("rcode", "addresses", "error") if said.get(name)}
        return {"name": cell["name"], "sent": 1, "replied": int(said["outcome"] == "answered"), "refused": int(said["outcome"] == "refused"), **told}
    to = (None, marks, wait, cell["flow"])
    if cell["protocol"] == "icmp" or not cell["port"]:
        result = _probe.icmp(dst, *to)
    else:
        result = {"tcp": _probe.tcp, "udp": _probe.udp}[cell["protocol"]](dst, cell["port"], *to)
    return {"name": cell["name"], **{name: result[name] for name in ("sent", "replied", "refused", "error") if name in result}}


def _cells(options: dict[str, t.Any], inside_of: bool, marks: _marks.Marks, wait: float) -> list[Running]:
    """The cells that are measured from here, which run. inside_of: those of the pod, else those of the node."""
    mine = [cell for cell in options["cells"][:MOST_CELLS] if cell["inside"] is inside_of]
    return [Running(cell["name"], functools.partial(_cell, cell, marks, wait)) for cell in mine]


def _ended(running: list[Running], deadline: Deadline) -> list[dict[str, t.Any]]:
    """Their results; a cell that could not be measured says why."""
    found = []
    for one in running:
        one.wait(deadline.remaining())
        told = one.result()
        found.append(told if "name" in told else {"name": one.name, "sent": 0, "replied": 0, **told})
    return found


def _watch_trains(options: dict[str, t.Any], dst: str, source: str | None, marks: _marks.Marks, wait: float) -> list[Running]:
    """Those of a watch."""
    seconds, offset, port, protocol = options["watch"], options["offset"], options["port"], options["protocol"]
    to, to_port = str(canonical(options["service"] or "") or dst), options["service_port"] or port
    trains = [Running("icmp", lambda: _watch.echoes(dst, source, marks, options["flow"], seconds, _watch.echoes_in(offset)))]
    if port and (protocol == "tcp" or port == _probe.DNS_PORT):
        trains.append(Running(protocol, lambda: _watch.flows(to, to_port, protocol, source, marks, seconds, _watch.turns_in(offset))))
    return trains


def _fire(module: AnsibleModule, marks: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    options = module.params
    dst, source = canonical(options["dst"]), canonical(options["source"]) if options["source"] else None
    if dst is None or (options["source"] and source is None):
        module.fail_json(msg=f"dst and source must be addresses, not {options['dst']!r} and {options['source']!r}")
    wait = deadline.remaining(options["wait"])
    try:
        path = None
        if _named(options["pod"] or {}):
            load_pyroute2(module)
            path = _sandboxes.path_of(_sandbox(Places(deadline), options["pod"]))
        trains = _watch_trains if options["watch"] else _trains

        def send() -> list[dict[str, t.Any]]:
            """All trains at once, so that silence is waited for once."""
            fired, own = [], _cells(options, True, marks, wait)
            for running in trains(options, str(dst), source, marks, wait):
                running.wait(deadline.remaining())
                if running.error is not None:
                    raise running.error
                fired.append(running.result())
            cells.extend(_ended(own, deadline))
            return fired

        beside, cells = _cells(options, False, marks, wait), list[dict[str, t.Any]]()
        fired = send() if path is None else inside(path, send, deadline)
        cells.extend(_ended(beside, deadline))
        return {"watched" if options["watch"] else "fired": fired, **({"cells": cells} if options["cells"] else {})}
    except Exception as error:  # noqa: BLE001 - a probe that could not be sent is an answer
        return {"fired": [], "reason": sentence(error)}


def _collect(module: AnsibleModule, _marks_of: _marks.Marks, deadline: Deadline) -> dict[str, t.Any]:
    changes = _links_told(module, deadline)
    try:
        told = _capture.collect(module.params["id"], deadline.remaining())
        memory = told["memory"]
        if memory["rules"] is not None:
            changes["rules"] = _rule_counters.risen(memory["rules"], _rule_counters.read(deadline))
        if "untraced" in memory:
            changes["trace"] = _traced(told.get("trace") or {"reason": memory["untraced"]}, deadline)
        return {"captured": True, **{name: told[name] for name in ("seen", "packets", "left_out", "checksum_errors") if name in told}, **changes}
    except ConnectionRefusedError:
        reason = "no capture with this id listens on this node: it was not armed, or it has reached its limit"
    except (OSError, ValueError, Expired) as error:
        reason = sentence(error)
    return {"captured": False, "reason": reason, "seen": [], **changes}


def _traced(told: dict[str, t.Any], deadline: Deadline) -> dict[str, t.Any]:
    """The rules that the packets met, or why that is not known."""
    unseen = [told["reason"]] if told.get("reason") else [text for text in (_trace.not_traced(), _trace.LOST if told.get("lost") else "") if text]
    return {"rules": _trace.with_texts(told.get("met") or [], deadline), **({"reason": "; ".join(unseen)} if unseen else {})}


def _links_told(module: AnsibleModule, deadline: Deadline) -> dict[str, t.Any]:
    """Of the host's links to the pods, where it can be told: how often their carriers have come and gone, and the packets that they have counted."""
    names = {pod["ifname"] for pod in module.params["pods"] if pod.get("ifname")}
    try:
        with Rtnetlink(deadline) as kernel:
            payloads = _links.dump(kernel)
        known = {number: name for number, name in _links.indexes(payloads).items() if name in names}
        told: list[tuple[str, dict[int, t.Any]]] = [("carrier_changes", _links.carrier_changes(payloads)), ("counters", _links.packet_counters(payloads))]
        return {what: {known[number]: value for number, value in values.items() if number in known} for what, values in told}
    except OSError:
        return {}


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
    if not 0 <= options["flow"] < _marks.FLOWS:
        module.fail_json(msg=f"flow: {options['flow']} is not between 0 and {_marks.FLOWS - 1}")
    if not 0 <= options["watch"] <= _watch.LONGEST:
        module.fail_json(msg=f"watch: {options['watch']:g} is not between 0 and {_watch.LONGEST:g} seconds; repeat it with offset")
    ports = options["vxlan_ports"]
    if len(ports) > MOST_PORTS or not all(0 < port < 65536 for port in ports):
        module.fail_json(msg=f"vxlan_ports: {ports} are not at most {MOST_PORTS} port numbers")
    found = PHASES[options["phase"]](module, marks, deadline)
    own = {"identifier": marks.identifier, "first_port": marks.ports[0], "last_port": marks.ports[-1]}
    module.exit_json(changed=False, phase=options["phase"], id=options["id"], hostname=os.uname().nodename, marks=own, **found)
