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

from ansible_collections.podnet.doctor.plugins.module_utils import _detection
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import AS_IT_MUST_BE, Params, Refused, State, Step, part_of, text_of

ANNOTATIONS = {"projectcalico.org/IPv4Address": 4, "projectcalico.org/IPv6Address": 6}
FLANNEL_ANNOTATIONS = ("flannel.alpha.coreos.com/public-ip", "flannel.alpha.coreos.com/public-ip-overwrite")
CALICO_APIS = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
CREATED = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/blockaffinities\Z")
NODE = re.compile(r"/api/v1/nodes/[a-z0-9.-]{1,253}\Z")
POOL_DELETED = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/ippools/podnet-doctor-[0-9a-f-]{{1,60}}\Z")
TUNNEL_MODES = ("Never", "Always", "CrossSubnet")
FELIX = re.compile(rf"/apis/({'|'.join(map(re.escape, CALICO_APIS))})/felixconfigurations/(default|node\.[a-z0-9.-]{{1,253}})\Z")
FELIX_BACKEND, FELIX_BACKENDS = "/spec/iptablesBackend", ("Legacy", "NFT")
NAMED_BACKEND = re.compile(r"(auto|legacy|nft)\Z", re.IGNORECASE)
GIVEN_BY_API = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


def set_node_address(api: Api, params: Params) -> State:
    """parameters: node, annotation (projectcalico.org/IPv4Address or IPv6Address), value (an address of the Node with its prefix length), was."""
    node, key, value, was = (text_of(params, name) for name in ("node", "annotation", "value", "was"))
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
    now = part_of(part_of(found, "metadata"), "annotations").get(key)
    if now == value:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"{key} of Node {node} is {now} by now, not {was}")
    return State(f"{key}: {was}", f"{key}: {value}", _replace(path, key, was=was, value=value), [_replace(path, key, was=value, value=was)])


def clear_node_address(api: Api, params: Params) -> State:
    """parameters: node, annotation (as for set_node_address), was, twin. Only while the Node is not Ready, and its address that of a Ready one, the twin."""
    node, key, was, twin = (text_of(params, name) for name in ("node", "annotation", "was", "twin"))
    if key not in ANNOTATIONS or not _is_interface(was, ANNOTATIONS[key]):
        raise Refused(f"{key} {was} is not an annotation that a repair takes away")
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    found, other = api.get_json(path), api.get_json(f"/api/v1/nodes/{quote(twin, safe='')}")
    now = part_of(part_of(found, "metadata"), "annotations").get(key)
    if now is None:
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"{key} of Node {node} is {now} by now, not {was}")
    if _ready(found) is not False or _ready(other) is not True:
        raise Refused(f"Node {node} is not known to be dead, or Node {twin} to be well, by now")
    address = str(ipaddress.ip_interface(was).ip)
    if address not in _own_addresses(other) or str(part_of(part_of(other, "metadata"), "annotations").get(key)).partition("/")[0] != address:
        raise Refused(f"{address} is not the address of Node {twin} by now")
    pointer = _pointer(key)
    forth = [{"op": "test", "path": pointer, "value": was}, {"op": "remove", "path": pointer}]
    back = [{"op": "test", "path": pointer, "value": None}, {"op": "add", "path": pointer, "value": was}]  # null: only if there is none
    return State(f"{key}: {was}", "", {"patch": path, "body": forth}, [{"patch": path, "body": back}])


def _ready(node: dict[str, t.Any]) -> bool | None:
    """What the Node's condition says; None: nothing."""
    conditions = part_of(node, "status").get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, dict) and condition.get("type") == "Ready":
            return condition.get("status") == "True"
    return None


def _own_addresses(node: dict[str, t.Any]) -> list[str]:
    addresses = part_of(node, "status").get("addresses")
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
    node, value, was = (text_of(params, name) for name in ("node", "value", "was"))
    path = f"/api/v1/nodes/{quote(node, safe='')}"
    found = api.get_json(path)
    if value not in _own_addresses(found):
        raise Refused(f"{value} is no address of Node {node}")
    if not all(_is_interface(address, 4) and "/" not in address for address in (value, was)):
        raise Refused(f"{value} or {was} is no IPv4 address")
    annotations = part_of(part_of(found, "metadata"), "annotations")
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
    served, name, node, cidr = (text_of(params, key) for key in ("api", "name", "node", "cidr"))
    owner = text_of(params, "owner") if params.get("owner") is not None else None
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
    spec, metadata = part_of(found, "spec"), part_of(found, "metadata")
    if (spec.get("node"), spec.get("cidr")) != (node, cidr):
        raise Refused(f"BlockAffinity {name} is of {spec.get('node')} for {spec.get('cidr')} by now, not of {node} for {cidr}")
    blocks = [part_of(block, "spec") for block in api.items(f"/apis/{served}/ipamblocks") if part_of(block, "spec").get("cidr") == cidr]
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
        status = part_of(pod, "status")
        for entry in [*(status["podIPs"] if isinstance(status.get("podIPs"), list) else []), {"ip": status.get("podIP")}]:
            text = entry.get("ip") if isinstance(entry, dict) else None
            if isinstance(text, str) and _inside(text, network):
                metadata = part_of(pod, "metadata")
                raise Refused(f"pod {metadata.get('namespace')}/{metadata.get('name')} on {node} has {text}, of the block {cidr}")


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
            node = part_of(known, "secondary").get("node")
            found.add(node if isinstance(node, str) else "")
    return found


def create_pool(api: Api, params: Params) -> State:
    """parameters: api (group and version of Calico's resources), cidr (of an IPAMBlock), ipip, vxlan (modes), nat (natOutgoing).

    A disabled pool, from which nothing is given out, for a block that is in none. Only where all other pools of its family have these modes.
    """
    served, cidr, ipip, vxlan = (text_of(params, name) for name in ("api", "cidr", "ipip", "vxlan"))
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
    if not any(part_of(block, "spec").get("cidr") == cidr for block in api.items(f"/apis/{served}/ipamblocks")):
        raise Refused(f"there is no block {cidr} by now")
    folder = f"/apis/{served}/ippools"
    modes = set()
    for pool in api.items(folder):
        known, its_name = part_of(pool, "spec"), part_of(pool, "metadata").get("name")
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


def set_felix_backend(api: Api, params: Params) -> State:
    """parameters: api (group and version of Calico's resources), name (default, or node.NAME), value (Legacy or NFT), was (None: the object names none)."""
    served, name, value, was = text_of(params, "api"), text_of(params, "name"), text_of(params, "value"), params.get("was")
    path = f"/apis/{served}/felixconfigurations/{quote(name, safe='')}"
    if not FELIX.match(path):
        raise Refused(f"{name} of {served} is no FelixConfiguration that a repair changes")
    if value not in FELIX_BACKENDS or not (was is None or _is_backend_name(was)):
        raise Refused(f"{value} or {was} is no backend of iptables")
    spec = api.get_json(path).get("spec")
    if not isinstance(spec, dict):
        raise Refused(f"FelixConfiguration {name} says nothing")
    now = spec.get("iptablesBackend")
    if str(now).lower() == value.lower():
        return AS_IT_MUST_BE
    if now != was:
        raise Refused(f"iptablesBackend of FelixConfiguration {name} is {now} by now, not {was}")
    if str(spec.get("nftablesMode")).lower() == "enabled":
        raise Refused(f"FelixConfiguration {name} lets Felix work without iptables (nftablesMode)")
    there = {"op": "test", "path": FELIX_BACKEND, "value": was}, {"op": "add" if was is None else "replace", "path": FELIX_BACKEND, "value": value}
    undone = {"op": "remove", "path": FELIX_BACKEND} if was is None else {"op": "replace", "path": FELIX_BACKEND, "value": was}
    back = {"op": "test", "path": FELIX_BACKEND, "value": value}, undone
    before = "" if was is None else f"iptablesBackend: {was}"
    return State(before, f"iptablesBackend: {value}", {"patch": path, "body": list(there)}, [{"patch": path, "body": list(back)}])


def _is_backend_name(value: t.Any) -> bool:
    return isinstance(value, str) and bool(NAMED_BACKEND.match(value))


def _is_felix_backend(body: list[dict[str, t.Any]]) -> bool:
    """The backend that a FelixConfiguration named before, or none, instead of a repair's."""
    words = [(part.get("op"), part.get("path")) for part in body]
    test = ("test", FELIX_BACKEND)
    if words not in ([test, ("replace", FELIX_BACKEND)], [test, ("remove", FELIX_BACKEND)]) or body[0].get("value") not in FELIX_BACKENDS:
        return False
    return words[1][0] == "remove" or _is_backend_name(body[1].get("value"))


def _network(text: t.Any) -> t.Any:
    try:
        return ipaddress.ip_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


REMEDIES: dict[str, t.Callable[[Api, Params], State]] = {
    remedy.__name__: remedy
    for remedy in (
        clear_node_address, create_pool, delete_block_affinity, _detection.set_autodetection, set_felix_backend, set_flannel_address, set_node_address,
    )
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
                step["body"] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": part_of(made, "metadata").get("uid")}}
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
        return bool(CREATED.match(str(step["create"]))) and part_of(step, "body").get("kind") == "BlockAffinity"
    if "delete" in step:
        uid = part_of(part_of(step, "body"), "preconditions").get("uid")
        return set(step) == {"delete", "body"} and bool(POOL_DELETED.match(str(step["delete"]))) and isinstance(uid, str) and uid != ""
    path, body = str(step.get("patch")), step.get("body")
    if not isinstance(body, list) or not all(isinstance(part, dict) for part in body):
        return False
    if NODE.match(path) or FELIX.match(path):
        return set(step) == {"patch", "body"} and (_is_address(body) if NODE.match(path) else _is_felix_backend(body))
    rollout = step.get("rollout")
    if set(step) != {"patch", "body", "rollout"} or not isinstance(rollout, dict) or set(rollout) != {"daemonset", "method"}:
        return False
    if not _detection.DAEMONSET.match(str(rollout["daemonset"])) or not _detection.OTHER_METHOD.match(str(rollout["method"])):
        return False
    if path == _detection.INSTALLATION:
        return _detection.is_detection(body, str(rollout["method"]))
    return path == rollout["daemonset"] and _detection.is_method(body, str(rollout["method"]))


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
