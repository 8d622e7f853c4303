# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarting one component of the pod network through the API: its pod is deleted, and its owner makes it again.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from urllib.parse import quote

from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError

LABELS = {
    "calico-node": "k8s-app in (calico-node,canal)", "flannel": "app=flannel,tier=node", "kube-controllers": "k8s-app=calico-kube-controllers",
    "typha": "k8s-app=calico-typha", "coredns": "k8s-app=kube-dns",
}  # fmt: skip
ONE_BY_ONE = ("typha", "coredns")
POLL = 0.5
Pod = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


class Refused(Exception):
    """The component is not restarted; the text says why."""


def _metadata(pod: Pod) -> dict[str, t.Any]:
    metadata = pod.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _name(pod: Pod) -> str:
    return f"{_metadata(pod).get('namespace')}/{_metadata(pod).get('name')}"


def node_of(pod: Pod) -> str | None:
    return (pod.get("spec") or {}).get("nodeName")


def ready(pod: Pod) -> bool:
    """Running, not on its way out, and Ready where it says whether it is."""
    status = pod.get("status") or {}
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or [] if isinstance(c, dict)}
    return status.get("phase") == "Running" and not _metadata(pod).get("deletionTimestamp") and conditions.get("Ready", "True") == "True"


def pods(api: Api, component: str) -> list[Pod]:
    return api.items("/api/v1/pods", {"labelSelector": LABELS[component]})


def _owner(pod: Pod) -> dict[str, t.Any]:
    """The controller that makes a pod anew; empty if none does."""
    owners = _metadata(pod).get("ownerReferences")
    found = [owner for owner in owners if isinstance(owner, dict) and owner.get("controller")] if isinstance(owners, list) else []
    return found[0] if found else {}


def _selects(selector: t.Any, labels: t.Any) -> bool:
    """Whether a label selector may select the labels; what is not understood may."""
    given, labels = selector if isinstance(selector, dict) else {}, labels if isinstance(labels, dict) else {}
    if not given.get("matchLabels") and given.get("matchExpressions"):
        return True
    return all(labels.get(key) == value for key, value in (given.get("matchLabels") or {}).items())


def _may_be_disrupted(api: Api, pod: Pod) -> None:
    namespace = _metadata(pod).get("namespace")
    try:
        budgets = api.items(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets")
    except ApiError as error:
        if error.status == 404:
            return
        raise Refused(f"whether a PodDisruptionBudget keeps pod {_name(pod)} cannot be read: {error}") from error
    for budget in budgets:
        if _selects((budget.get("spec") or {}).get("selector"), _metadata(pod).get("labels")) and not (budget.get("status") or {}).get("disruptionsAllowed"):
            raise Refused(f"the PodDisruptionBudget {_metadata(budget).get('name')} lets no pod like {_name(pod)} go now")


def chosen_pod(api: Api, key: str, node: str | None) -> Pod:
    """One pod by its namespace and name. Errors: Refused, ApiError."""
    namespace, slash, name = key.partition("/")
    found = [pod for pod in api.items(f"/api/v1/namespaces/{quote(namespace, safe='')}/pods") if _metadata(pod).get("name") == name] if slash else []
    if not found:
        raise Refused(f"there is no pod {key}")
    pod = found[0]
    if node is not None and (pod.get("spec") or {}).get("nodeName") != node:
        raise Refused(f"pod {key} is not on {node} any more")
    if not _owner(pod):
        raise Refused(f"no controller owns pod {key}, so nobody would make it again")
    if _metadata(pod).get("deletionTimestamp"):
        raise Refused(f"pod {key} is on its way out already")
    _may_be_disrupted(api, pod)
    return pod


def _rolling(api: Api, pod: Pod) -> None:
    """Errors: Refused, where the DaemonSet of the pod is being updated."""
    owner = _owner(pod)
    if owner.get("kind") != "DaemonSet":
        return
    try:
        found = api.get_json(f"/apis/apps/v1/namespaces/{_metadata(pod).get('namespace')}/daemonsets/{owner.get('name')}")
    except ApiError as error:
        if error.status in (403, 404):  # it is looked at as far as this user may
            return
        raise
    status = found.get("status") or {}
    wanted, updated = status.get("desiredNumberScheduled"), status.get("updatedNumberScheduled")
    strategy = ((found.get("spec") or {}).get("updateStrategy") or {}).get("type", "RollingUpdate")
    if strategy == "RollingUpdate" and isinstance(wanted, int) and isinstance(updated, int) and updated < wanted:
        raise Refused(f"the DaemonSet {owner.get('name')} is being updated: {updated} of {wanted} pods are new")
    if strategy == "OnDelete":  # otherwise all pods are of the template by now
        _image_there(api, pod, found)


def _images(spec: t.Any) -> set[str]:
    spec = spec if isinstance(spec, dict) else {}
    return {str(c["image"]) for kind in ("initContainers", "containers") for c in spec.get(kind) or [] if isinstance(c, dict) and c.get("image")}


def _image_there(api: Api, pod: Pod, daemonset: dict[str, t.Any]) -> None:
    """Errors: Refused, where the successor would need an image that its node has not got yet."""
    template = (daemonset.get("spec") or {}).get("template") or {}
    other = _images(template.get("spec")) - _images(pod.get("spec"))
    if not other:
        return
    node = (pod.get("spec") or {}).get("nodeName")
    try:
        listed = (api.get_json(f"/api/v1/nodes/{node}").get("status") or {}).get("images") or []
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        listed = []
    names = {str(name) for image in listed if isinstance(image, dict) for name in image.get("names") or []}
    missing = sorted(image for image in other if not any(name == image or name.endswith(f"/{image}") for name in names))
    if missing:
        raise Refused(f"its successor needs {', '.join(missing)}, which {node} does not list among its images")


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
        _rolling(api, pod)
    return pod


def _successors(api: Api, component: str, node: str | None, old: Pod) -> list[Pod]:
    """Pods that may have taken the old one's place."""
    if component != "pod":
        return [pod for pod in pods(api, component) if node is None or (pod.get("spec") or {}).get("nodeName") == node]
    found = api.items(f"/api/v1/namespaces/{_metadata(old).get('namespace')}/pods")
    there = node_of(old) if _owner(old).get("kind") == "DaemonSet" else None
    return [pod for pod in found if _owner(pod).get("uid") == _owner(old).get("uid") and there in (None, node_of(pod))]


def restart(api: Api, component: str, node: str | None, check_mode: bool, key: str = "", only_not_ready: bool = False) -> dict[str, t.Any]:
    """Delete the pod (only if it still is the same one) and wait until its successor is ready. key: of the component "pod". Errors: Refused, ApiError."""
    if component in ONE_BY_ONE:
        return _restart_each(api, component, check_mode, only_not_ready)
    pod = chosen_pod(api, key, node) if component == "pod" else chosen(api, component, node)
    return {"changed": True, "before": _name(pod), "after": "" if check_mode else _made_again(api, component, node, pod)}


def _restart_each(api: Api, component: str, check_mode: bool, only_not_ready: bool) -> dict[str, t.Any]:
    """All pods of a Deployment, those that are not ready first; the next one only when the successor of the one before is ready."""
    found = sorted((pod for pod in pods(api, component) if not (only_not_ready and ready(pod))), key=lambda pod: (ready(pod), _name(pod)))
    if not found:
        raise Refused(f"there is no pod of {component}" + (" that is not ready" if only_not_ready else ""))
    for pod in found:
        if not _owner(pod):
            raise Refused(f"no controller owns pod {_name(pod)}, so nobody would make it again")
        if _metadata(pod).get("deletionTimestamp"):
            raise Refused(f"pod {_name(pod)} is on its way out already; one restart is under way already")
    after = []
    for pod in found:
        if ready(pod):  # a budget counts what is ready
            _may_be_disrupted(api, pod)
        if not check_mode:
            after.append(_made_again(api, component, None, pod))
    return {"changed": True, "before": ", ".join(map(_name, found)), "after": ", ".join(after)}


def _made_again(api: Api, component: str, node: str | None, pod: Pod) -> str:
    """The successor's name. Errors: Refused, ApiError."""
    old = _metadata(pod)
    there = {_metadata(other).get("uid") for other in _successors(api, component, node, pod)}
    api.delete_pod(str(old.get("namespace")), str(old.get("name")), uid=old.get("uid"))
    while True:
        try:
            for successor in _successors(api, component, node, pod):
                if _metadata(successor).get("uid") not in there and ready(successor):
                    return _name(successor)
        except ApiError:  # asked again until the time is up
            pass
        if api.deadline.expired():
            raise Refused(f"{_name(pod)} was deleted, but no successor was ready within {api.deadline.seconds:g} s")
        time.sleep(min(POLL, api.deadline.remaining()))
