# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: from a report to the plan document: what would be done, in which order, and what is refused.

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.podnet.doctor.plugins.module_utils._objects import REMEDIES
from ansible_collections.podnet.doctor.plugins.module_utils._steps import KEPT_SETTINGS, outlives_boots

from ._catalogue import remedy_json
from ._cluster import Cluster
from ._json import Json, NotCollected, as_mapping, objects
from ._question import BadQuestion
from ._remedies import restart_when_asked
from ._topology import bgp_peers, families, is_reflector, uses_bird

SCHEMA = "podnet.doctor/plan/1"
BY_API = ("recreate_pod", "restart_calico_node", "restart_flannel", "restart_kube_controllers", "restart_typha")
OF_OBJECTS = tuple(REMEDIES)
WAIT = "wait"
FLAGS = {"delete_link": "podnet_delete_interface", "leave_unmanaged": "podnet_persistent"}
RUN_WHEN_APPROVED = ("R1", "R2")
ASKED = "restart_asked_for"
GOES_ON = "; the question goes on with its successor"


@dataclass(frozen=True)
class Wishes:
    """What was asked for beside the repair of the causes.

    delete_interface: take the whole interface of a stray address away instead of the address, which cannot be taken back.
    at_once: restart without waiting for what would heal by itself.
    guard: seconds beyond the time for the verification after which a node takes an unconfirmed change back by itself.
    restart_all: restart calico-node of all nodes, one after the other.
    allow_r3: change objects of the API, too, each as its remedy says.
    persistent: write settings into a file of the node, too, where a file can keep them.
    restart_wait: the most seconds that a restarted component has to come back; 0: as its remedy says.
    """

    delete_interface: bool = False
    at_once: bool = False
    guard: float = 60
    restart_all: bool = False
    allow_r3: bool = False
    persistent: bool = False
    restart_wait: float = 0


def plan(report: Mapping[str, Json], cluster: Cluster, hosts: Mapping[str, str], wishes: Wishes | None = None) -> dict[str, Json]:
    """What would be done, in this order."""
    wishes = wishes or Wishes()
    if not isinstance(report.get("verdict"), Mapping) or not isinstance(report.get("findings"), list):
        raise BadQuestion("the report has no verdict and no findings; make it anew with podnet.doctor.diagnose")
    others = {str(entry.get("node")) for entry in objects(report.get("collected")) if entry.get("machine") == "other"}
    classes = (*RUN_WHEN_APPROVED, "R3") if wishes.allow_r3 else RUN_WHEN_APPROVED
    actions: list[dict[str, Json]] = []
    refused: list[dict[str, Json]] = []
    for cause in [*report["verdict"]["causes"], *(_asked_for(report, cluster) if wishes.restart_all else [])]:
        mine = 0
        runnable = any(remedy["class"] in classes for remedy in cause["remedies"])
        for remedy in cause["remedies"]:
            if remedy["id"] == WAIT and (wishes.at_once or not runnable):
                continue
            unasked = (remedy["id"] == "delete_link" and not wishes.delete_interface) or (remedy["id"] == "leave_unmanaged" and not wishes.persistent)
            if unasked or (remedy["id"] != WAIT and remedy["class"] not in classes):
                flag = FLAGS.get(remedy["id"], "podnet_allow_r3" if remedy["id"] in OF_OBJECTS else "")
                reason = remedy["action"] + (f" (with -e {flag}=true it is a step of the plan)" if flag else "")
                refused.append({"cause": cause["id"], "node": cause["node"], "remedy": remedy["id"], "class": remedy["class"], "reason": reason})
                continue
            host = hosts.get(remedy["node"])
            if remedy["node"] in others or (host is None and (remedy["node"] or remedy["id"] not in (*BY_API, *OF_OBJECTS))):
                why = f"the inventory's host {host} is another machine (machine-id)" if host else f"{remedy['node']} is not in the inventory"
                reason = f"{remedy['action']}: {why}"
                refused.append({"cause": cause["id"], "node": cause["node"], "remedy": remedy["id"], "class": remedy["class"], "reason": reason})
                continue
            mine += 1
            actions.append(_action(report, cause, remedy, host, cluster, mine, hosts, wishes))
    if wishes.at_once:
        _without_waiting(actions)
    if wishes.restart_all:
        actions = _once(actions)
    _gate(actions)
    for number, action in enumerate(actions):
        later = {following["node"] for following in actions[number + 1 :] if following["cause"] == action["cause"]}
        action["watch"] = [watched for watched in action["watch"] if watched["node"] not in later]  # it has a step of its own
        if action["by"] == "node" and action["class"] == "R1":
            action["guard_seconds"] = action["wait_seconds"] + wishes.guard
    body: dict[str, Json] = {
        "schema": SCHEMA,
        "id": plan_id(actions),
        "created_at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "report": report["id"],
        "actions": actions,
        "refused": refused,
    }
    return body


def _asked_for(report: Mapping[str, Json], cluster: Cluster) -> list[dict[str, Json]]:
    """calico-node of each node, as causes of their own; route reflectors last, as all sessions of the others end there."""
    if cluster.calico_daemonset is None:
        raise BadQuestion("there is no DaemonSet of calico-node that would make its pods again")
    names = sorted(cluster.nodes, key=lambda name: (is_reflector(cluster.nodes[name]), name))
    return [
        {
            "id": ASKED, "node": name, "fault": None, "summary": f"The restart of calico-node on {name} was asked for.", "roots": [], "explains": [],
            "remedies": [remedy_json(restart_when_asked(cluster, name))],
        }
        for name in names
    ]  # fmt: skip


def _once(actions: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """No component of a node is restarted for a cause, and once more because it was asked for."""
    asked = {action["node"] for action in actions if action["cause"] == ASKED}
    return [a for a in actions if a["cause"] == ASKED or a["node"] not in asked or a["parameters"].get("component") != "calico-node"]


def _gate(actions: list[dict[str, Json]]) -> None:
    """Where the plan ends unless the node is well again: after a restart, as long as nothing else follows for the same cause."""
    for number, action in enumerate(actions):
        following = actions[number + 1] if number + 1 < len(actions) else None
        last_of_cause = following is None or (following["cause"], following["node"]) != (action["cause"], action["node"])
        action["gate"] = action["class"] in ("R2", "R3") and last_of_cause and (following is not None or action["cause"] == ASKED)


def _without_waiting(actions: list[dict[str, Json]]) -> None:
    """Only the last step of each cause is waited for."""
    for action, following in zip(actions, actions[1:]):
        if (action["cause"], action["node"]) == (following["cause"], following["node"]):
            action["wait_seconds"] = 0


def _action(
    report: Mapping[str, Json], cause: Mapping[str, Json], remedy: Mapping[str, Json], host: str | None, cluster: Cluster, number: int,
    hosts: Mapping[str, str], wishes: Wishes,
) -> dict[str, Json]:  # fmt: skip
    mine = {*cause["roots"], *cause["explains"]}
    sufferers = sorted({str(f["node"]) for f in report["findings"] if f["id"] in mine and f["node"] != remedy["node"]})
    pods, sessions = blast_radius(report, cluster, str(remedy["node"]))
    if remedy["id"] == "recreate_pod":
        pods = 1
    if remedy["id"] != "restart_bird" and remedy["parameters"].get("component") != "calico-node":
        sessions = 0
    asked = _asked_as(report, str(remedy["parameters"].get("pod")))
    action = {
        "id": f"{cause['id']}.{cause['node']}.{number}", "cause": cause["id"], "cause_node": cause["node"] or "", "fault": cause["fault"],
        "summary": cause["summary"],
        "remedy": remedy["id"], "class": remedy["class"], "node": remedy["node"], "host": host, "object": remedy["object"], "change": dict(remedy["change"]),
        "action": remedy["action"], "parameters": dict(remedy["parameters"]),
        "blast_radius": {"pods": pods, "sessions": sessions, "text": remedy["blast_radius"] + (GOES_ON if asked else "")},
        "preconditions": list(remedy["preconditions"]), "verify": remedy["verify"], "findings": sorted(mine),
        "known": sorted(str(f["id"]) for f in report["findings"] if f["node"] == remedy["node"] and f["id"] not in mine),
        "watch": [{"node": node, "host": hosts[node]} for node in sufferers if node in hosts],
        "way_back": remedy["way_back"], "wait_seconds": remedy["wait_seconds"], "only_if": "" if wishes.at_once else remedy["only_if"],
        "by": _by(str(remedy["id"])), "guard_seconds": 0, "asked": asked,
    }  # fmt: skip
    if wishes.restart_wait and remedy["class"] == "R2":
        action["wait_seconds"] = min(wishes.restart_wait, remedy["wait_seconds"])
    if wishes.delete_interface and remedy["id"] == "delete_address":
        ifname = remedy["parameters"]["ifname"]
        action.update(
            remedy="delete_link", **{"class": "R2"}, object=ifname, change={"before": f"link {ifname}", "after": ""}, action=f"delete the interface {ifname}"
            f" on {remedy['node']}", parameters={"ifname": ifname, "intended": remedy["parameters"].get("intended")}, way_back="none: the interface is gone",
        )  # fmt: skip
    if wishes.persistent and remedy["id"] == "set_sysctl" and outlives_boots(str(remedy["parameters"].get("path"))):
        action["parameters"]["persistent"] = True
        action["change"]["after"] += f", also in {KEPT_SETTINGS}"
        action.update(action=f"{remedy['action']}, and keep it in {KEPT_SETTINGS}", way_back=f"{remedy['way_back']}, and take it out of {KEPT_SETTINGS}")
    return action


def _asked_as(report: Mapping[str, Json], pod: str) -> list[str]:
    """How the question names a pod."""
    ends = [as_mapping(as_mapping(report.get("question")).get(end)) for end in ("source", "destination")]
    return [str(end["asked"]) for end in ends if end.get("kind") == "pod" and f"{end.get('namespace')}/{end.get('name')}" == pod]


def _by(remedy: str) -> str:
    return "wait" if remedy == WAIT else "api" if remedy in BY_API else "object" if remedy in OF_OBJECTS else "node"


def blast_radius(report: Mapping[str, Json], cluster: Cluster, node: str) -> tuple[int | None, int | None]:
    """(pods on the node, BGP sessions of the node), None where the API did not tell."""
    try:
        pods: int | None = len(cluster.workloads_on(node))
    except NotCollected:
        pods = None
    try:
        sessions: int | None = sum(len(bgp_peers(cluster, node, family)) for family in families(cluster)) if uses_bird(cluster) else 0
    except NotCollected:
        sessions = None
    return pods, sessions


def plan_id(actions: list[dict[str, Json]]) -> str:
    """Hash of causes, objects, exact changes and preconditions: no counters, no times, so that the same fault gives the same id."""
    parts = [[a["cause"], a["node"], a["remedy"], a["object"], a["change"], a["preconditions"], a["only_if"]] for a in actions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
