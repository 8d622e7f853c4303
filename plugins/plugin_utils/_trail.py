# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the audit trail of a remediation, one JSON object a line, each written before the next step begins.

from __future__ import annotations

import datetime
import getpass
import json
import os
import pathlib
import typing as t
from collections.abc import Mapping

from ._json import Json, as_list, as_mapping, objects
from ._plan import ASKED

TOLD = (
    "changed", "failed", "skipped", "unreachable", "msg", "before", "after", "diff", "done", "left", "lasting", "pod", "old_pod", "new_pod", "attempts",
    "answered",
)  # fmt: skip
LAUNCHED_BY = {"awx": ("awx_user_name", "awx_job_id"), "tower": ("tower_user_name", "tower_job_id")}


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def new(folder: str, plan_id: str) -> str:
    """The path of a new trail."""
    moment = now().replace("-", "").replace(":", "")
    return str(pathlib.Path(folder).expanduser() / f"trail-{plan_id}-{moment}-{os.getpid()}.jsonl")


def append(path: str, event: str, **data: Json) -> None:
    """One line more, on the disk when this returns. Readable by its owner only. Errors: OSError."""
    line = json.dumps({"at": now(), "event": event, **data}, sort_keys=False, default=str)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as stream:
        stream.write(line + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def who(variables: Mapping[str, t.Any]) -> dict[str, Json]:
    """Who runs this: the user of AWX and the job, or the one of the controller."""
    for where, (user, job) in LAUNCHED_BY.items():
        if isinstance(variables.get(user), str):
            return {"where": where, "user": str(variables[user]), "job": variables.get(job)}
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        name = f"uid {os.getuid()}"
    return {"where": "terminal", "user": name}


def told(results: Mapping[str, Json]) -> dict[str, Json]:
    """Of each task's result what an auditor needs; a result may hold much more."""
    found = {}
    for name, result in results.items():
        kept = {key: as_mapping(result)[key] for key in TOLD if as_mapping(result).get(key) not in (None, "", [], {})}
        if kept and not kept.get("skipped"):
            found[name] = kept
    return found


class Came(t.NamedTuple):
    """What came of a remediation: repaired, partly or not repaired; and the causes that are left, of the plan and others."""

    outcome: str
    left: list[str]
    others: list[str]


def came_of(plan: Mapping[str, Json], report: Mapping[str, Json], trouble: str = "", successors: Mapping[str, str] | None = None) -> Came:
    """plan: as carried out; report: of the diagnosis after it; trouble: why it was not carried out to its end; successors: of pods that were made again,
    whose causes are those of the pods before them, wherever they run."""
    successors = successors or {}

    def key(cause: Mapping[str, Json]) -> str:
        return _at(cause["id"], cause["node"])

    def of_successor(cause: Mapping[str, Json]) -> bool:
        return any((cause["id"], str(pod)) in made_again for pod in as_list(cause.get("objects")))

    planned = {_of_cause(action) for action in plan["actions"]}
    pods = [(action["cause"], str(as_mapping(action.get("parameters")).get("pod"))) for action in plan["actions"]]
    made_again = {(cause, successors[pod]) for cause, pod in pods if pod in successors}
    named = report["verdict"]["causes"]
    left = [key(cause) for cause in named if key(cause) in planned or of_successor(cause)]
    others = [name for cause in named if cause.get("affects_path", True) and (name := key(cause)) not in left]
    undone = trouble and any(action["cause"] == ASKED for action in plan["actions"])  # no diagnosis names what was only asked for
    outcome = "not repaired" if left or undone else "repaired" if report["verdict"]["outcome"] == "healthy" else "partly"
    return Came(outcome, left, others)


def _at(cause: Json, node: Json) -> str:
    return f"{cause} on {node}" if node else str(cause)


def _of_cause(action: Mapping[str, Json]) -> str:
    """The cause that an action is for; it may be made on another node than the cause is found on."""
    return _at(action["cause"], action["cause_node"])


def offered(plan: Mapping[str, Json], came: Came) -> list[str]:
    """Ways back that a person may take: those of steps that are not taken back by themselves, where the cause is left."""
    left = [action for action in plan["actions"] if _of_cause(action) in came.left]
    return [f"{a['action']}: {a['way_back']}" for a in left if a["class"] not in ("R0", "R1") and a["way_back"]]


class Back(t.NamedTuple):
    """What was taken back on a node; error: why it could not be."""

    node: str
    way_back: str
    error: str


def taken_back(results: Mapping[str, Json]) -> list[Back]:
    """results: as the loop over the ways back registered them."""
    found = []
    for result in objects(results.get("results")):
        back = as_mapping(result.get("remediate_back"))
        if back and not result.get("skipped"):
            error = str(result.get("msg") or "failed") if result.get("failed") or result.get("unreachable") else ""
            found.append(Back(str(back.get("node")), str(back.get("way_back")), error))
    return found


def events(plan: Mapping[str, Json], came: Came, moment: str) -> list[dict[str, Json]]:
    """Kubernetes Events on the nodes of the plan: what was done there, and what came of it."""
    found = []
    for node in sorted({str(action["node"]) for action in plan["actions"] if action["node"]}):
        steps = "; ".join(str(action["action"]) for action in plan["actions"] if action["node"] == node and action["class"] != "R0")
        found.append({
            "apiVersion": "v1", "kind": "Event", "type": "Normal" if came.outcome == "repaired" else "Warning", "reason": "PodnetRepair", "count": 1,
            "metadata": {"name": f"{node}.podnet-{plan['id']}-{moment.replace('-', '').replace(':', '').lower()}", "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},  # as kubelet names a node in its own Events
            "message": f"{came.outcome}, plan {plan['id']}: {steps}"[:1000], "source": {"component": "podnet.doctor"}, "firstTimestamp": moment,
            "lastTimestamp": moment,
        })  # fmt: skip
    return found
