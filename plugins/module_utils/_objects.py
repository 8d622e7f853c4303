# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few changes that a repair makes to objects of the API: each exact, only if the object still is as it was when the plan was made.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
import typing as t
from urllib.parse import quote

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Expired
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError

ANNOTATIONS = {"projectcalico.org/IPv4Address": 4, "projectcalico.org/IPv6Address": 6}
FLANNEL_ANNOTATIONS = ("flannel.alpha.coreos.com/public-ip", "flannel.alpha.coreos.com/public-ip-overwrite")
CALICO_APIS = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
CREATED = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/blockaffinities\Z")
NODE = re.compile(r"/api/v1/nodes/[a-z0-9.-]{1,253}\Z")
DAEMONSET = re.compile(r"/apis/apps/v1/namespaces/[a-z0-9-]{1,63}/daemonsets/calico-node\Z")
INSTALLATION = "/apis/operator.tigera.io/v1/installations/default"
DETECTION = "/spec/calicoNetwork/nodeAddressAutodetectionV4"
METHOD = "IP_AUTODETECTION_METHOD"
INTERNAL_IP = "kubernetes-internal-ip"
BY_INTERNAL_IP = {"kubernetes": "NodeInternalIP"}
OTHER_METHOD = re.compile(r"(first-found|(interface|skip-interface|can-reach|cidr)=[ -~]{1,500})\Z")
POOL_DELETED = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/ippools/podnet-doctor-[0-9a-f-]{{1,60}}\Z")
TUNNEL_MODES = ("Never", "Always", "CrossSubnet")
POLL = 0.5
GIVEN_BY_API = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")

Params = t.Mapping[str, t.Any]
Step = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


class Refused(Exception):
    """The object is not changed; the text says why."""


class Unfinished(Exception):
    """The object was changed, and what follows from it has not happened in time; the text says how far it is."""


class State(t.NamedTuple):
    """What was found, and the one request that changes it; None: it is as it must be. `back` is what undoes it."""

    before: str
    after: str
    step: Step | None
    back: list[Step]


AS_IT_MUST_BE = State("", "", None, [])


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the parameter {name} is missing")
    return value


def _part(value: t.Any, name: str) -> dict[str, t.Any]:
    found = value.get(name) if isinstance(value, t.Mapping) else None
    return found if isinstance(found, dict) else {}


def set_node_address(api: Api, params: Params) -> State:
    """parameters: node, annotation (projectcalico.org/IPv4Address or IPv6Address), value (an address of the Node with its prefix length), was."""
    node, key, value, was = (_text(params, name) for name in ("node", "annotation", "value", "was"))
    if key not in ANNOTATIONS:
        raise Refused(f"{key} is not an annotation that a repair changes")
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    try:
        wanted = ipaddress.ip_interface(value)
    except ValueError as error:
        raise Refused(f"{value} is no address with a prefix length") from error
    found = api.get_json(path)
    own = _own_addresses(found)
    if wanted.version != ANNOTATIONS[key] or str(wanted.ip) not in own:
        raise Refused(f"{value} is no address of Node {node}")
    if not _is_interface(was, ANNOTATIONS[key]):
        raise Refused(f"{was} is no address that could be written again")
    now = _part(_part(found, "metadata"), "annotations").get(key)
    if now == value:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"{key} of Node {node} is {now} by now, not {was}")
    return State(f"{key}: {was}", f"{key}: {value}", _replace(path, key, was=was, value=value), [_replace(path, key, was=value, value=was)])


def clear_node_address(api: Api, params: Params) -> State:
    """parameters: node, annotation (as for set_node_address), was, twin. Only while the Node is not Ready, and its address that of a Ready one, the twin."""
    node, key, was, twin = (_text(params, name) for name in ("node", "annotation", "was", "twin"))
    if key not in ANNOTATIONS or not _is_interface(was, ANNOTATIONS[key]):
        raise Refused(f"{key} {was} is not an annotation that a repair takes away")
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    found, other = api.get_json(path), api.get_json(f"/api/v1/nodes/{quote(twin, safe='')}")
    now = _part(_part(found, "metadata"), "annotations").get(key)
    if now is None:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"{key} of Node {node} is {now} by now, not {was}")
    if _ready(found) is not False or _ready(other) is not True:
        raise Refused(f"Node {node} is not known to be dead, or Node {twin} to be well, by now")
    address = str(ipaddress.ip_interface(was).ip)
    if address not in _own_addresses(other) or str(_part(_part(other, "metadata"), "annotations").get(key)).partition("/")[0] != address:
        raise Refused(f"{address} is not the address of Node {twin} by now")
    pointer = _pointer(key)
    forth = [{"op": "test", "path": pointer, "value": was}, {"op": "remove", "path": pointer}]
    back = [{"op": "test", "path": pointer, "value": None}, {"op": "add", "path": pointer, "value": was}]  # null: only if there is none
    return State(f"{key}: {was}", "", {"patch": path, "body": forth}, [{"patch": path, "body": back}])


def _ready(node: dict[str, t.Any]) -> bool | None:
    """What the Node's condition says; None: nothing."""
    conditions = _part(node, "status").get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, dict) and condition.get("type") == "Ready":
            return condition.get("status") == "True"
    return None


def _own_addresses(node: dict[str, t.Any]) -> list[str]:
    addresses = _part(node, "status").get("addresses")
    own = [a.get("address") for a in addresses if isinstance(a, dict) and a.get("type") == "InternalIP"] if isinstance(addresses, list) else []
    return [address for address in own if isinstance(address, str)]


def _pointer(annotation: str) -> str:
    return "/metadata/annotations/" + annotation.replace("~", "~0").replace("/", "~1")


def _replace(path: str, *keys: str, was: str, value: str) -> Step:
    """A patch that the API refuses if one of the annotations is another by then."""
    tests = [{"op": "test", "path": _pointer(key), "value": was} for key in keys]
    return {"patch": path, "body": [*tests, *({"op": "replace", "path": _pointer(key), "value": value} for key in keys)]}


def set_flannel_address(api: Api, params: Params) -> State:
    """parameters: node, value (an InternalIP of the Node), was. Both what flanneld announces, and what tells it so (public-ip-overwrite)."""
    node, value, was = (_text(params, name) for name in ("node", "value", "was"))
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    found = api.get_json(path)
    if value not in _own_addresses(found):
        raise Refused(f"{value} is no address of Node {node}")
    if not all(_is_interface(address, 4) and "/" not in address for address in (value, was)):
        raise Refused(f"{value} or {was} is no IPv4 address")
    annotations = _part(_part(found, "metadata"), "annotations")
    now = {annotations.get(key) for key in FLANNEL_ANNOTATIONS}
    if now == {value}:
        return AS_IT_MUST_BE
    if now != {was}:
        raise Refused(f"{' and '.join(FLANNEL_ANNOTATIONS)} of Node {node} are not {was} by now")
    forth, back = (_replace(path, *FLANNEL_ANNOTATIONS, was=one, value=other) for one, other in ((was, value), (value, was)))
    return State("\n".join(f"{key}: {was}" for key in FLANNEL_ANNOTATIONS), "\n".join(f"{key}: {value}" for key in FLANNEL_ANNOTATIONS), forth, [back])


def delete_block_affinity(api: Api, params: Params) -> State:
    """parameters: api (group and version of Calico's resources), name, node, cidr; owner, where the block exists and belongs to another node.

    Only where there is no such block, or it is the owner's and no address of it is this node's.
    """
    served, name, node, cidr = (_text(params, key) for key in ("api", "name", "node", "cidr"))
    owner = _text(params, "owner") if params.get("owner") is not None else None
    if served not in CALICO_APIS:
        raise Refused(f"{served} is not an API of Calico")
    folder = f"/apis/{served}/blockaffinities"
    path = f"{folder}/{quote(name, safe='')}"
    try:
        found = api.get_json(path)
    except ApiError as error:
        if error.status == 404:
            return AS_IT_MUST_BE
        raise
    spec, metadata = _part(found, "spec"), _part(found, "metadata")
    if (spec.get("node"), spec.get("cidr")) != (node, cidr):
        raise Refused(f"BlockAffinity {name} is of {spec.get('node')} for {spec.get('cidr')} by now, not of {node} for {cidr}")
    blocks = [_part(block, "spec") for block in api.items(f"/apis/{served}/ipamblocks") if _part(block, "spec").get("cidr") == cidr]
    if owner is None:
        if blocks:
            raise Refused(f"the block {cidr} exists by now")
    else:
        _claimed_in_vain(api, node, cidr, owner, blocks)
    same = {"uid": metadata.get("uid"), "resourceVersion": metadata.get("resourceVersion")}
    kept = {**found, "metadata": {key: value for key, value in metadata.items() if key not in GIVEN_BY_API}}
    before = json.dumps(kept, sort_keys=True)
    return State(before, "", {"delete": path, "body": {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": same}}, [{"create": folder, "body": kept}])


def _claimed_in_vain(api: Api, node: str, cidr: str, owner: str, blocks: list[dict[str, t.Any]]) -> None:
    """Errors: Refused, unless the block is the owner's, and neither IPAM nor a pod of the node has an address of it."""
    if owner == node or [block.get("affinity") for block in blocks] != [f"host:{owner}"]:
        raise Refused(f"the block {cidr} is not {owner}'s by now")
    if holders(blocks[0]) & {node, ""}:
        raise Refused(f"the block {cidr} has given an address to {node}, or does not say whom")
    network = ipaddress.ip_network(cidr)
    for pod in api.items("/api/v1/pods", {"fieldSelector": f"spec.nodeName={node}"}):
        status = _part(pod, "status")
        for entry in [*(status["podIPs"] if isinstance(status.get("podIPs"), list) else []), {"ip": status.get("podIP")}]:
            text = entry.get("ip") if isinstance(entry, dict) else None
            if isinstance(text, str) and _inside(text, network):
                raise Refused(f"pod {_part(pod, 'metadata').get('namespace')}/{_part(pod, 'metadata').get('name')} on {node} has {text}, of the block {cidr}")


def _inside(text: str, network: t.Any) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:
        return False


def holders(block: t.Mapping[str, t.Any]) -> set[str]:
    """The nodes that an IPAMBlock's spec has given addresses to; "" for one that it does not name."""
    slots, attributes = block.get("allocations"), block.get("attributes")
    if not isinstance(slots, list) or not isinstance(attributes, list):
        return {""}
    found = set()
    for slot in slots:
        if slot is not None:
            known = attributes[slot] if isinstance(slot, int) and 0 <= slot < len(attributes) else None
            node = _part(known, "secondary").get("node")
            found.add(node if isinstance(node, str) else "")
    return found


def create_pool(api: Api, params: Params) -> State:
    """parameters: api (group and version of Calico's resources), cidr (of an IPAMBlock), ipip, vxlan (modes), nat (natOutgoing).

    A disabled pool, from which nothing is given out, for a block that is in none. Only where all other pools of its family have these modes.
    """
    served, cidr, ipip, vxlan = (_text(params, name) for name in ("api", "cidr", "ipip", "vxlan"))
    nat = params.get("nat")
    if served not in CALICO_APIS:
        raise Refused(f"{served} is not an API of Calico")
    if ipip not in TUNNEL_MODES or vxlan not in TUNNEL_MODES or not isinstance(nat, bool):
        raise Refused("the modes of the pool are none that Calico knows")
    network = _network(cidr)
    if network is None:
        raise Refused(f"{cidr} is no network")
    name = "podnet-doctor-" + re.sub(r"[^0-9a-f]+", "-", cidr)
    spec = {"cidr": cidr, "blockSize": network.prefixlen, "ipipMode": ipip, "vxlanMode": vxlan, "natOutgoing": nat, "nodeSelector": "all()", "disabled": True,
            "allowedUses": ["Workload"]}  # fmt: skip
    if not any(_part(block, "spec").get("cidr") == cidr for block in api.items(f"/apis/{served}/ipamblocks")):
        raise Refused(f"there is no block {cidr} by now")
    folder = f"/apis/{served}/ippools"
    modes = set()
    for pool in api.items(folder):
        known, its_name = _part(pool, "spec"), _part(pool, "metadata").get("name")
        if its_name == name and {key: known.get(key) for key in spec} == spec:
            return AS_IT_MUST_BE
        other = _network(known.get("cidr"))
        if other is None or its_name == name or (other.version == network.version and other.overlaps(network)):
            raise Refused(f"the IP pool {its_name} ({known.get('cidr')}) is there by now")
        if other.version == network.version:
            modes.add((known.get("ipipMode") or "Never", known.get("vxlanMode") or "Never", bool(known.get("natOutgoing"))))
    if modes != {(ipip, vxlan, nat)}:
        raise Refused("the other IP pools have other modes by now")
    body = {"apiVersion": served, "kind": "IPPool", "metadata": {"name": name}, "spec": spec}
    return State("", json.dumps(body, sort_keys=True), {"create": folder, "body": body}, [{"delete": f"{folder}/{name}"}])


def _network(text: t.Any) -> t.Any:
    try:
        return ipaddress.ip_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def set_autodetection(api: Api, params: Params) -> State:
    """parameters: namespace, was (the method that calico-node has now, first-found where none is named). It becomes kubernetes-internal-ip.

    In the DaemonSet calico-node, or in the operator's Installation that it is made from. `rollout` of the step says what to wait for.
    """
    namespace, was = _text(params, "namespace"), _text(params, "was")
    if not OTHER_METHOD.match(was):
        raise Refused(f"{was} is no method that a repair replaces")
    path = f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/daemonsets/calico-node"
    daemonset = api.get_json(path)
    now = detects_by(daemonset)
    if now == INTERNAL_IP:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"calico-node detects addresses by {now} by now, not by {was}")
    if _part(_part(daemonset, "spec"), "updateStrategy").get("type") == "OnDelete":
        raise Refused("the DaemonSet calico-node makes its pods again only when somebody deletes them (OnDelete)")
    if not _rolled_out(daemonset):
        raise Refused(f"the DaemonSet calico-node is being updated: {_progress(daemonset)}")
    owners = _part(daemonset, "metadata").get("ownerReferences")
    makers = {owner.get("kind") for owner in owners if isinstance(owner, dict)} if isinstance(owners, list) else set()
    if makers - {"Installation"}:
        raise Refused(f"the DaemonSet calico-node is made by {', '.join(sorted(map(str, makers)))}, which would write it anew")
    forth, back = _by_installation(api, was) if makers else _by_environment(path, daemonset)
    forth["rollout"], back["rollout"] = {"daemonset": path, "method": INTERNAL_IP}, {"daemonset": path, "method": was}
    return State(f"{METHOD}: {was}", f"{METHOD}: {INTERNAL_IP}", forth, [back])


def _environment(daemonset: t.Mapping[str, t.Any]) -> tuple[int, list[t.Any]]:
    """The place of the container calico-node in the template, and its environment. Errors: Refused."""
    containers = _part(_part(_part(daemonset, "spec"), "template"), "spec").get("containers")
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
        {"op": "test", "path": "/metadata/generation", "value": _part(daemonset, "metadata").get("generation")},
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
    before = _part(_part(_part(api.get_json(INSTALLATION), "spec"), "calicoNetwork"), "nodeAddressAutodetectionV4")
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
    status = _part(daemonset, "status")
    return status.get("observedGeneration") == _part(daemonset, "metadata").get("generation") and status.get("updatedNumberScheduled", 0) == status.get(
        "desiredNumberScheduled"
    )


def _progress(daemonset: dict[str, t.Any]) -> str:
    status = _part(daemonset, "status")
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
                status = _part(daemonset, "status")
                if method == rollout["method"] and _rolled_out(daemonset) and status.get("numberAvailable", 0) == status.get("desiredNumberScheduled"):
                    break
                said = _progress(daemonset) if method == rollout["method"] else f"calico-node's method still is {method}"
            except (ApiError, Expired):  # asked again until the time is up
                pass
            if api.deadline.expired():
                raise Unfinished(f"it was changed, but after {api.deadline.seconds:g} s {said}")
            time.sleep(min(POLL, api.deadline.remaining()))


REMEDIES: dict[str, t.Callable[[Api, Params], State]] = {
    remedy.__name__: remedy
    for remedy in (clear_node_address, create_pool, delete_block_affinity, set_autodetection, set_flannel_address, set_node_address)
}


def _perform(api: Api, step: Step) -> dict[str, t.Any]:
    try:
        if "delete" in step:
            return api.request("DELETE", step["delete"], body=step["body"])
        if "patch" in step:
            return api.patch(step["patch"], step["body"], "json")
        return api.request("POST", step["create"], body=step["body"])
    except ApiError as error:
        if error.status in (409, 422):
            raise Refused(f"the object was changed meanwhile: {error}") from error
        raise


def carry_out(api: Api, remedy: str, params: Params, check_mode: bool) -> dict[str, t.Any]:
    """Look, and change only what is not yet as it must be. Errors: Refused, KubeError."""
    state = REMEDIES[remedy](api, params)
    if state.step is not None and not check_mode:
        made = _perform(api, state.step)
        for step in state.back:
            if "delete" in step:  # what was made, and nothing that has its name later
                step["body"] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": _part(made, "metadata").get("uid")}}
    return {
        "changed": state.step is not None, "before": state.before, "after": state.after, "back": [] if check_mode else state.back,
        "rollouts": _rollouts([state.step] if state.step is not None and not check_mode else []),
    }  # fmt: skip


def take_back(api: Api, params: Params, check_mode: bool) -> dict[str, t.Any]:
    """parameters: steps, as the change returned them in `back`. Errors: Refused, KubeError."""
    steps = params.get("steps")
    if not isinstance(steps, list) or not all(_is_way_back(step) for step in steps):
        raise Refused("the parameter steps is missing, or is no way back of a repair")
    for step in steps:
        if not check_mode:
            _perform(api, step)
    return {"changed": bool(steps), "before": "", "after": "", "back": [], "rollouts": [] if check_mode else _rollouts(steps)}


def _rollouts(steps: list[Step]) -> list[dict[str, str]]:
    return [step["rollout"] for step in steps if "rollout" in step]


def _is_way_back(step: t.Any) -> bool:
    if not isinstance(step, dict):
        return False
    if "create" in step:
        return bool(CREATED.match(str(step["create"]))) and _part(step, "body").get("kind") == "BlockAffinity"
    if "delete" in step:
        uid = _part(_part(step, "body"), "preconditions").get("uid")
        return set(step) == {"delete", "body"} and bool(POOL_DELETED.match(str(step["delete"]))) and isinstance(uid, str) and uid != ""
    path, body = str(step.get("patch")), step.get("body")
    if not isinstance(body, list) or not all(isinstance(part, dict) for part in body):
        return False
    if NODE.match(path):
        return set(step) == {"patch", "body"} and _is_address(body)
    rollout = step.get("rollout")
    if set(step) != {"patch", "body", "rollout"} or not isinstance(rollout, dict) or set(rollout) != {"daemonset", "method"}:
        return False
    if not DAEMONSET.match(str(rollout["daemonset"])) or not OTHER_METHOD.match(str(rollout["method"])):
        return False
    if path == INSTALLATION:
        return _is_detection(body, str(rollout["method"]))
    return path == rollout["daemonset"] and _is_method(body, str(rollout["method"]))


def _is_address(body: list[dict[str, t.Any]]) -> bool:
    """One address of a Node's annotations for another."""
    words = [(part.get("op"), part.get("path")) for part in body]
    for key, version in ANNOTATIONS.items():
        if words == [("test", _pointer(key)), ("replace", _pointer(key))]:
            return all(_is_interface(part.get("value"), version) for part in body)
        if words == [("test", _pointer(key)), ("add", _pointer(key))]:
            return "value" in body[0] and body[0]["value"] is None and _is_interface(body[1].get("value"), version)
    if words != [(op, _pointer(key)) for op in ("test", "replace") for key in FLANNEL_ANNOTATIONS]:
        return False
    before, after = ([part.get("value") for part in some] for some in (body[:2], body[2:]))
    return before[0] == before[1] and after[0] == after[1] and all(_is_interface(value, 4) and "/" not in str(value) for value in (before[0], after[0]))


def _is_interface(value: t.Any, version: int) -> bool:
    try:
        return isinstance(value, str) and ipaddress.ip_interface(value).version == version
    except ValueError:
        return False


def _is_detection(body: list[dict[str, t.Any]], method: str) -> bool:
    """The Installation's own method again."""
    words = [(part.get("op"), part.get("path")) for part in body]
    return words == [("test", DETECTION), ("replace", DETECTION)] and body[0].get("value") == BY_INTERNAL_IP and method_of(body[1].get("value")) == method


def _is_method(body: list[dict[str, t.Any]], method: str) -> bool:
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
