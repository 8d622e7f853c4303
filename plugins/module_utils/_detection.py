# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How calico-node detects its address: in its DaemonSet's environment, or where the operator makes that, in its Installation.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import re
import time
import typing as t
from urllib.parse import quote

from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import AS_IT_MUST_BE, Params, Refused, State, Step, Unfinished, part_of, text_of

DAEMONSET = re.compile(r"/apis/apps/v1/namespaces/[a-z0-9-]{1,63}/daemonsets/calico-node\Z")
INSTALLATION = "/apis/operator.tigera.io/v1/installations/default"
DETECTION = "/spec/calicoNetwork/nodeAddressAutodetectionV4"
METHOD = "IP_AUTODETECTION_METHOD"
INTERNAL_IP = "kubernetes-internal-ip"
BY_INTERNAL_IP = {"kubernetes": "NodeInternalIP"}
OTHER_METHOD = re.compile(r"(first-found|(interface|skip-interface|can-reach|cidr)=[ -~]{1,500})\Z")
POLL = 0.5


def set_autodetection(api: Api, params: Params) -> State:
    """parameters: namespace, was (the method that calico-node has now, first-found where none is named). It becomes kubernetes-internal-ip.

    In the DaemonSet calico-node, or in the operator's Installation that it is made from. `rollout` of the step says what to wait for.
    """
    namespace, was = text_of(params, "namespace"), text_of(params, "was")
    if not OTHER_METHOD.match(was):
        raise Refused(f"{was} is no method that a repair replaces")
    path = f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/daemonsets/calico-node"
    daemonset = api.get_json(path)
    now = detects_by(daemonset)
    if now == INTERNAL_IP:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"calico-node detects addresses by {now} by now, not by {was}")
    if part_of(part_of(daemonset, "spec"), "updateStrategy").get("type") == "OnDelete":
        raise Refused("the DaemonSet calico-node makes its pods again only when somebody deletes them (OnDelete)")
    if not _rolled_out(daemonset):
        raise Refused(f"the DaemonSet calico-node is being updated: {_progress(daemonset)}")
    owners = part_of(daemonset, "metadata").get("ownerReferences")
    makers = {owner.get("kind") for owner in owners if isinstance(owner, dict)} if isinstance(owners, list) else set()
    if makers - {"Installation"}:
        raise Refused(f"the DaemonSet calico-node is made by {', '.join(sorted(map(str, makers)))}, which would write it anew")
    forth, back = _by_installation(api, was) if makers else _by_environment(path, daemonset)
    forth["rollout"], back["rollout"] = {"daemonset": path, "method": INTERNAL_IP}, {"daemonset": path, "method": was}
    return State(f"{METHOD}: {was}", f"{METHOD}: {INTERNAL_IP}", forth, [back])


def _environment(daemonset: t.Mapping[str, t.Any]) -> tuple[int, list[t.Any]]:
    """The place of the container calico-node in the template, and its environment. Errors: Refused."""
    containers = part_of(part_of(part_of(daemonset, "spec"), "template"), "spec").get("containers")
    for place, container in enumerate(containers if isinstance(containers, list) else []):
        if isinstance(container, dict) and container.get("name") == "calico-node" and isinstance(container.get("env"), list):
            return place, container["env"]
    raise Refused("the DaemonSet calico-node has no container calico-node with an environment")


def _value(environment: list[t.Any], name: str) -> str | None:
    """A variable's own value; None: it has none. Errors: Refused, where it comes from elsewhere, or is named twice."""
    found = [entry for entry in environment if isinstance(entry, dict) and entry.get("name") == name]
    if len(found) > 1 or any("valueFrom" in entry for entry in found):
        raise Refused(f"{name} of calico-node is named twice, or comes from elsewhere")
    value = found[0].get("value") if found else None
    return value if isinstance(value, str) else None


def detects_by(daemonset: t.Mapping[str, t.Any]) -> str:
    """The method by which calico-node of a DaemonSet detects its IPv4 address, from values of its own. Errors: Refused."""
    environment = _environment(daemonset)[1]
    if _value(environment, "IP") != "autodetect":
        raise Refused("calico-node does not detect IPv4 addresses")
    return _value(environment, METHOD) or "first-found"


def _by_environment(path: str, daemonset: dict[str, t.Any]) -> tuple[Step, Step]:
    """Refused by the API if the DaemonSet is another by then; the way back, if the variable is not at its place any more."""
    place, environment = _environment(daemonset)
    container = f"/spec/template/spec/containers/{place}"
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in environment]
    there = METHOD in names
    entry = f"{container}/env/{names.index(METHOD) if there else len(names)}"
    same = [
        {"op": "test", "path": "/metadata/generation", "value": part_of(daemonset, "metadata").get("generation")},
        {"op": "test", "path": f"{container}/name", "value": "calico-node"},
    ]
    wanted = {"name": METHOD, "value": INTERNAL_IP}
    if not there:
        return {"patch": path, "body": [*same, {"op": "add", "path": entry, "value": wanted}]}, {"patch": path, "body": [
            same[1], {"op": "test", "path": entry, "value": wanted}, {"op": "remove", "path": entry}]}  # fmt: skip
    before = environment[names.index(METHOD)]
    return {"patch": path, "body": [*same, {"op": "test", "path": entry, "value": before}, {"op": "replace", "path": entry, "value": wanted}]}, {
        "patch": path, "body": [same[1], {"op": "test", "path": entry, "value": wanted}, {"op": "replace", "path": entry, "value": before}]}  # fmt: skip


def _by_installation(api: Api, was: str) -> tuple[Step, Step]:
    before = part_of(part_of(part_of(api.get_json(INSTALLATION), "spec"), "calicoNetwork"), "nodeAddressAutodetectionV4")
    if method_of(before) != was:
        raise Refused(f"the Installation does not say {was}, as calico-node does")
    there = {"op": "test", "path": DETECTION, "value": before}, {"op": "replace", "path": DETECTION, "value": BY_INTERNAL_IP}
    back = {"op": "test", "path": DETECTION, "value": BY_INTERNAL_IP}, {"op": "replace", "path": DETECTION, "value": before}
    return {"patch": INSTALLATION, "body": list(there)}, {"patch": INSTALLATION, "body": list(back)}


def method_of(detection: t.Any) -> str:
    """calico-node's word for nodeAddressAutodetectionV4 of an Installation; empty: it is not understood."""
    given = {key: value for key, value in detection.items() if value is not None} if isinstance(detection, dict) else {}
    if len(given) != 1:
        return ""
    ((key, value),) = given.items()
    if key == "firstFound" and value is True:
        return "first-found"
    if key == "kubernetes" and value == "NodeInternalIP":
        return INTERNAL_IP
    if key == "cidrs" and isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return f"cidr={','.join(value)}"
    word = {"interface": "interface", "skipInterface": "skip-interface", "canReach": "can-reach"}.get(key)
    return f"{word}={value}" if word and isinstance(value, str) else ""


def _rolled_out(daemonset: dict[str, t.Any]) -> bool:
    """Whether all pods are of the template, as far as the controller has looked at it."""
    status = part_of(daemonset, "status")
    return status.get("observedGeneration") == part_of(daemonset, "metadata").get("generation") and status.get("updatedNumberScheduled", 0) == status.get(
        "desiredNumberScheduled"
    )


def _progress(daemonset: dict[str, t.Any]) -> str:
    status = part_of(daemonset, "status")
    of = status.get("desiredNumberScheduled")
    return f"{status.get('updatedNumberScheduled', 0)} of {of} pods are new, {status.get('numberAvailable', 0)} of {of} are available"


def await_rollouts(api: Api, rollouts: list[dict[str, str]]) -> None:
    """Wait until all pods of calico-node have a method and are available, as long as the API may take. Errors: Unfinished."""
    for rollout in rollouts:
        said = "it could not be looked at"
        while True:
            try:
                daemonset = api.get_json(rollout["daemonset"])
                method = _value(_environment(daemonset)[1], METHOD) or "first-found"
                status = part_of(daemonset, "status")
                if method == rollout["method"] and _rolled_out(daemonset) and status.get("numberAvailable", 0) == status.get("desiredNumberScheduled"):
                    break
                said = _progress(daemonset) if method == rollout["method"] else f"calico-node's method still is {method}"
            except ApiError:  # asked again until the time is up
                pass
            if api.deadline.expired():
                raise Unfinished(f"it was changed, but after {api.deadline.seconds:g} s {said}")
            time.sleep(min(POLL, api.deadline.remaining()))


def is_detection(body: list[dict[str, t.Any]], method: str) -> bool:
    """The Installation's own method again."""
    words = [(part.get("op"), part.get("path")) for part in body]
    return words == [("test", DETECTION), ("replace", DETECTION)] and body[0].get("value") == BY_INTERNAL_IP and method_of(body[1].get("value")) == method


def is_method(body: list[dict[str, t.Any]], method: str) -> bool:
    """The variable of the container calico-node has its own value again, or is gone."""
    words = [(part.get("op"), str(part.get("path")).rpartition("/env/")) for part in body]
    if [op for op, _path in words] not in (["test", "test", "remove"], ["test", "test", "replace"]):
        return False
    container, _env, place = words[1][1]
    if not re.match(r"/spec/template/spec/containers/[0-9]{1,2}\Z", container) or not re.match(r"[0-9]{1,4}\Z", place) or words[2][1] != words[1][1]:
        return False
    if body[0].get("path") != f"{container}/name" or body[0].get("value") != "calico-node" or body[1].get("value") != {"name": METHOD, "value": INTERNAL_IP}:
        return False
    if body[2]["op"] == "remove":
        return method == "first-found"
    before = body[2].get("value")
    if not isinstance(before, dict) or not set(before) <= {"name", "value"} or before.get("name") != METHOD:
        return False
    return (before.get("value") or "first-found") == method
