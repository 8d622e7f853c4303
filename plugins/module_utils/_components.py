# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarting one component of the pod network through the API: its pod is deleted, and its owner makes it again.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Expired
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError

LABELS = {"calico-node": "k8s-app in (calico-node,canal)", "flannel": "app=flannel,tier=node", "kube-controllers": "k8s-app=calico-kube-controllers"}
POLL = 0.5
Pod = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


class Refused(Exception):
    """The component is not restarted; the text says why."""


def _metadata(pod: Pod) -> dict[str, t.Any]:
    metadata = pod.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _name(pod: Pod) -> str:
    return f"{_metadata(pod).get('namespace')}/{_metadata(pod).get('name')}"


def ready(pod: Pod) -> bool:
    """Running, not on its way out, and Ready where it says whether it is."""
    status = pod.get("status") or {}
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or [] if isinstance(c, dict)}
    return status.get("phase") == "Running" and not _metadata(pod).get("deletionTimestamp") and conditions.get("Ready", "True") == "True"


def pods(api: Api, component: str) -> list[Pod]:
    return api.items("/api/v1/pods", {"labelSelector": LABELS[component]})


def chosen(api: Api, component: str, node: str | None) -> Pod:
    """The one pod that would be restarted. Errors: Refused, ApiError."""
    found = pods(api, component)
    mine = [pod for pod in found if node is None or (pod.get("spec") or {}).get("nodeName") == node]
    where = f" on {node}" if node else ""
    if not mine:
        raise Refused(f"there is no pod of {component}{where}")
    if len(mine) > 1:
        raise Refused(f"there are {len(mine)} pods of {component}{where}: {', '.join(map(_name, mine))}; one restart is under way already")
    pod = mine[0]
    if not _metadata(pod).get("ownerReferences"):
        raise Refused(f"pod {_name(pod)} has no owner that would make it again")
    if component != "kube-controllers":
        others = [other for other in found if other is not pod]
        leaving = [_name(o) for o in others if (o.get("status") or {}).get("phase") != "Running" or _metadata(o).get("deletionTimestamp")]
        if leaving:
            raise Refused(f"another node's {component} does not run: {', '.join(leaving)}; one node after the other")
    return pod


def restart(api: Api, component: str, node: str | None, check_mode: bool) -> dict[str, t.Any]:
    """Delete the pod (only if it still is the same one) and wait until its successor is ready. Errors: Refused, ApiError."""
    pod = chosen(api, component, node)
    old = _metadata(pod)
    result: dict[str, t.Any] = {"changed": True, "before": _name(pod), "after": ""}
    if check_mode:
        return result
    api.delete_pod(str(old.get("namespace")), str(old.get("name")), uid=old.get("uid"))
    while True:
        try:
            for successor in pods(api, component):
                same_place = node is None or (successor.get("spec") or {}).get("nodeName") == node
                if same_place and _metadata(successor).get("uid") != old.get("uid") and ready(successor):
                    return {**result, "after": _name(successor)}
        except (ApiError, Expired):  # asked again until the time is up
            pass
        if api.deadline.expired():
            raise Refused(f"{_name(pod)} was deleted, but no successor was ready within {api.deadline.seconds:g} s")
        time.sleep(min(POLL, api.deadline.remaining()))
