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
import typing as t
from urllib.parse import quote

from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError

ANNOTATIONS = {"projectcalico.org/IPv4Address": 4, "projectcalico.org/IPv6Address": 6}
CALICO_APIS = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
CREATED = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/blockaffinities\Z")
PATCHED = re.compile(r"/api/v1/nodes/[a-z0-9.-]{1,253}\Z")
GIVEN_BY_API = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")

Params = t.Mapping[str, t.Any]
Step = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


class Refused(Exception):
    """The object is not changed; the text says why."""


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
    found = value.get(name) if isinstance(value, dict) else None
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
    addresses = _part(found, "status").get("addresses")
    own = [a.get("address") for a in addresses if isinstance(a, dict) and a.get("type") == "InternalIP"] if isinstance(addresses, list) else []
    if wanted.version != ANNOTATIONS[key] or str(wanted.ip) not in own:
        raise Refused(f"{value} is no address of Node {node}")
    now = _part(_part(found, "metadata"), "annotations").get(key)
    if now == value:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"{key} of Node {node} is {now} by now, not {was}")
    return State(f"{key}: {was}", f"{key}: {value}", _replace(path, key, was, value), [_replace(path, key, was=value, value=was)])


def _replace(path: str, key: str, was: str, value: str) -> Step:
    """A patch that the API refuses if the annotation is another by then."""
    pointer = "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")
    return {"patch": path, "body": [{"op": "test", "path": pointer, "value": was}, {"op": "replace", "path": pointer, "value": value}]}


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


REMEDIES: dict[str, t.Callable[[Api, Params], State]] = {"delete_block_affinity": delete_block_affinity, "set_node_address": set_node_address}


def _perform(api: Api, step: Step) -> None:
    try:
        if "delete" in step:
            api.request("DELETE", step["delete"], body=step["body"])
        elif "patch" in step:
            api.patch(step["patch"], step["body"], "json")
        else:
            api.request("POST", step["create"], body=step["body"])
    except ApiError as error:
        if error.status in (409, 422):
            raise Refused(f"the object was changed meanwhile: {error}") from error
        raise


def carry_out(api: Api, remedy: str, params: Params, check_mode: bool) -> dict[str, t.Any]:
    """Look, and change only what is not yet as it must be. Errors: Refused, KubeError."""
    state = REMEDIES[remedy](api, params)
    if state.step is not None and not check_mode:
        _perform(api, state.step)
    return {"changed": state.step is not None, "before": state.before, "after": state.after, "back": [] if check_mode else state.back}


def take_back(api: Api, params: Params, check_mode: bool) -> dict[str, t.Any]:
    """parameters: steps, as the change returned them in `back`. Errors: Refused, KubeError."""
    steps = params.get("steps")
    if not isinstance(steps, list) or not all(_is_way_back(step) for step in steps):
        raise Refused("the parameter steps is missing, or is no way back of a repair")
    for step in steps:
        if not check_mode:
            _perform(api, step)
    return {"changed": bool(steps), "before": "", "after": "", "back": []}


def _is_way_back(step: t.Any) -> bool:
    if not isinstance(step, dict):
        return False
    if "create" in step:
        return bool(CREATED.match(str(step["create"]))) and _part(step, "body").get("kind") == "BlockAffinity"
    body = step.get("body")
    pointers = ["/metadata/annotations/" + key.replace("/", "~1") for key in ANNOTATIONS]
    return (
        bool(PATCHED.match(str(step.get("patch"))))
        and isinstance(body, list)
        and [part.get("op") for part in body if isinstance(part, dict)] == ["test", "replace"]
        and all(part.get("path") in pointers for part in body)
    )
