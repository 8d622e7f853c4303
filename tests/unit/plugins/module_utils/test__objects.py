# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _detection, _objects
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import Refused
from ansible_collections.podnet.doctor.tests.unit.small_objects import DAEMONSET, INSTALLATION, JSON, daemonset, method

NODE = "/api/v1/nodes/k8s02"
FOLDER = "/apis/crd.projectcalico.org/v1/blockaffinities"
KEY = "projectcalico.org/IPv4Address"
MASK = {"node": "k8s02", "annotation": KEY, "value": "10.2.7.202/24", "was": "10.2.7.202/32"}
AFFINITY = {"api": "crd.projectcalico.org/v1", "name": "k8s02-10-253-255-0-26", "node": "k8s02", "cidr": "10.253.255.0/26"}


POOLS = "/apis/crd.projectcalico.org/v1/ippools"
POOL = {"api": "crd.projectcalico.org/v1", "cidr": "10.253.2.0/26", "ipip": "Always", "vxlan": "Never", "nat": True}


def pool(cidr: str, **spec: t.Any) -> dict[str, t.Any]:
    return {"metadata": {"name": "default"}, "spec": {"cidr": cidr, "ipipMode": "Always", "natOutgoing": True, **spec}}


class Store:
    """An API with a few objects; `busy` is the status that every change gets."""

    def __init__(self) -> None:
        self.busy = 0
        self.blocks: list[dict[str, t.Any]] = [{"spec": {"cidr": "10.253.2.0/26"}}]
        self.pods: list[dict[str, t.Any]] = []
        self.pools = [pool("10.253.8.0/24")]
        self.objects: dict[str, dict[str, t.Any]] = {
            NODE: {"metadata": {"annotations": {KEY: "10.2.7.202/32"}}, "status": {"addresses": [{"type": "InternalIP", "address": "10.2.7.202"}]}},
            f"{FOLDER}/k8s02-10-253-255-0-26": {
                "kind": "BlockAffinity", "metadata": {"name": "k8s02-10-253-255-0-26", "uid": "u1", "resourceVersion": "7"},
                "spec": {"node": "k8s02", "cidr": "10.253.255.0/26", "state": "confirmed"},
            },
        }  # fmt: skip

    def get_json(self, path: str) -> dict[str, t.Any]:
        if path not in self.objects:
            raise ApiError("not found", 404)
        return self.objects[path]

    def items(self, path: str, params: dict[str, str] | None = None) -> list[dict[str, t.Any]]:
        if path == "/api/v1/pods":
            assert params == {"fieldSelector": "spec.nodeName=k8s02"}
            return self.pods
        if path == POOLS:
            return [*self.pools, *(body for key, body in self.objects.items() if key.startswith(POOLS))]
        assert path == "/apis/crd.projectcalico.org/v1/ipamblocks"
        return self.blocks

    def _changed(self) -> None:
        if self.busy:
            raise ApiError("changed", self.busy)

    def patch(self, path: str, body: list[dict[str, t.Any]], kind: str) -> None:
        self._changed()
        assert kind == "json"
        annotations = self.objects[path]["metadata"]["annotations"]
        test, replace = body
        assert annotations[test["path"].rpartition("/")[2].replace("~1", "/")] == test["value"]
        annotations[KEY] = replace["value"]

    def request(self, method: str, path: str, body: dict[str, t.Any]) -> dict[str, t.Any]:
        self._changed()
        if method == "DELETE":
            assert body["preconditions"] in ({"uid": "u1", "resourceVersion": "7"}, {"uid": "u2"})
            return self.objects.pop(path)
        self.objects[f"{path}/{body['metadata']['name']}"] = body
        return {**body, "metadata": {**body["metadata"], "uid": "u2"}}


@pytest.fixture
def api() -> t.Any:
    return Store()


@pytest.mark.parametrize(("remedy", "params"), [("set_node_address", MASK), ("delete_block_affinity", AFFINITY), ("create_pool", POOL)])
def test_changed_once_and_taken_back(api: t.Any, remedy: str, params: dict[str, t.Any]) -> None:
    before = json.dumps(api.objects, sort_keys=True)
    looked = _objects.carry_out(api, remedy, params, check_mode=True)
    assert looked["changed"] and looked["back"] == [] and json.dumps(api.objects, sort_keys=True) == before
    done = _objects.carry_out(api, remedy, params, check_mode=False)
    assert done["changed"] and done["before"] == looked["before"] and json.dumps(api.objects, sort_keys=True) != before
    assert _objects.carry_out(api, remedy, params, check_mode=False)["changed"] is False
    assert _objects.take_back(api, {"steps": json.loads(json.dumps(done["back"]))}, check_mode=False)["changed"]
    for found in api.objects.values():  # what the API gives an object itself
        found["metadata"].update({"uid": "u1", "resourceVersion": "7"} if found.get("kind") else {})
    assert json.dumps(api.objects, sort_keys=True) == before


@pytest.mark.parametrize(
    ("remedy", "params", "sentence"),
    [
        ("set_node_address", {**MASK, "was": "10.2.7.202/16"}, "projectcalico.org/IPv4Address of Node k8s02 is 10.2.7.202/32 by now, not 10.2.7.202/16"),
        ("set_node_address", {**MASK, "value": "10.2.7.9/24"}, "10.2.7.9/24 is no address of Node k8s02"),
        ("set_node_address", {**MASK, "value": "x"}, "x is no address with a prefix length"),
        ("set_node_address", {**MASK, "annotation": "projectcalico.org/IPv6Address"}, "10.2.7.202/24 is no address of Node k8s02"),
        ("set_node_address", {**MASK, "annotation": "a"}, "a is not an annotation that a repair changes"),
        ("set_node_address", {**MASK, "was": ""}, "the parameter was is missing"),
        ("set_node_address", {**MASK, "was": "x"}, "x is no address that could be written again"),
        ("delete_block_affinity", {**AFFINITY, "node": "k8s01"}, "is of k8s02 for 10.253.255.0/26 by now, not of k8s01"),
        ("delete_block_affinity", {**AFFINITY, "api": "v1"}, "v1 is not an API of Calico"),
    ],
)
def test_refused(api: t.Any, remedy: str, params: dict[str, t.Any], sentence: str) -> None:
    before = json.dumps(api.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(api, remedy, params, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


def test_a_block_that_exists_by_now_keeps_its_affinity(api: t.Any) -> None:
    api.blocks.append({"spec": {"cidr": AFFINITY["cidr"]}})
    with pytest.raises(Refused, match=r"the block 10\.253.255\.0/26 exists by now"):
        _objects.carry_out(api, "delete_block_affinity", AFFINITY, check_mode=False)


OTHERS = {**AFFINITY, "owner": "k8s03"}


def block(*nodes: str | None, owner: str = "k8s03", **more: t.Any) -> dict[str, t.Any]:
    """A block of an owner, with an address for each of the nodes."""
    attributes = [{"secondary": {"node": node} if node else {}} for node in nodes]
    return {"spec": {"cidr": AFFINITY["cidr"], "affinity": f"host:{owner}", "allocations": [None, *range(len(nodes))], "attributes": attributes, **more}}


def test_a_claim_on_the_block_of_another_node_is_deleted(api: t.Any) -> None:
    api.blocks.append(block("k8s03", "k8s01"))
    api.pods = [{"status": {"podIPs": [{"ip": "10.253.2.7"}, {"ip": "no address"}, "junk"], "podIP": None}}, {}]
    assert _objects.carry_out(api, "delete_block_affinity", OTHERS, check_mode=False)["changed"]
    assert list(api.objects) == [NODE]


@pytest.mark.parametrize(
    ("blocks", "pods", "sentence"),
    [
        ([], [], "the block 10.253.255.0/26 is not k8s03's by now"),
        ([block(owner="k8s02")], [], "is not k8s03's by now"),
        ([block("k8s02")], [], "has given an address to k8s02, or does not say whom"),
        ([block(None)], [], "or does not say whom"),
        ([block(allocations=None)], [], "or does not say whom"),
        ([block(allocations=[7])], [], "or does not say whom"),
        ([block("k8s03")], [{"metadata": {"namespace": "shop", "name": "web-1"}, "status": {"podIP": "10.253.255.7"}}],
         "pod shop/web-1 on k8s02 has 10.253.255.7, of the block 10.253.255.0/26"),
    ],
)  # fmt: skip
def test_a_claim_stays_where_it_may_be_used(api: t.Any, blocks: list[t.Any], pods: list[t.Any], sentence: str) -> None:
    api.blocks, api.pods, before = blocks, pods, json.dumps(api.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(api, "delete_block_affinity", OTHERS, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


def test_the_owner_is_another_node(api: t.Any) -> None:
    api.blocks = [block(owner="k8s02")]
    with pytest.raises(Refused):
        _objects.carry_out(api, "delete_block_affinity", {**AFFINITY, "owner": "k8s02"}, check_mode=False)


@pytest.mark.parametrize(("remedy", "params"), [("set_node_address", MASK), ("delete_block_affinity", AFFINITY)])
@pytest.mark.parametrize("status", [409, 422])
def test_somebody_was_quicker(api: t.Any, remedy: str, params: dict[str, t.Any], status: int) -> None:
    api.busy = status
    with pytest.raises(Refused, match="the object was changed meanwhile"):
        _objects.carry_out(api, remedy, params, check_mode=False)


@pytest.mark.parametrize(
    "step",
    [
        "x", {}, {"delete": FOLDER, "body": {}}, {"create": "/api/v1/namespaces/default/pods", "body": {"kind": "BlockAffinity"}},
        {"create": FOLDER, "body": {"kind": "Pod"}}, {"patch": NODE, "body": [{"op": "remove", "path": "/spec"}]}, {"patch": "/api/v1/secrets/a", "body": []},
        {"patch": NODE, "body": [{"op": "test", "path": "/spec/x"}, {"op": "replace", "path": "/spec/x"}]},
    ],
)  # fmt: skip
def test_only_a_way_back_is_taken_back(api: t.Any, step: t.Any) -> None:
    with pytest.raises(Refused):
        _objects.take_back(api, {"steps": [step]}, check_mode=False)


# ---- the autodetection method

DETECTS = {"namespace": "kube-system", "was": "first-found"}


class Patched(Store):
    """Patches as the API does them: all of it or nothing."""

    def patch(self, path: str, body: list[dict[str, t.Any]], kind: str) -> None:
        self._changed()
        assert kind == "json"
        fresh = json.loads(json.dumps(self.objects[path]))
        for part in body:
            apply(fresh, **part)
        fresh["metadata"]["generation"] = fresh["metadata"].get("generation", 1) + 1
        self.objects[path] = fresh


def apply(target: t.Any, op: str, path: str, value: t.Any = None) -> None:
    """One operation of a JSON patch."""
    *way, last = [part.replace("~1", "/") for part in path.split("/")[1:]]
    for part in way:
        target = target[int(part) if isinstance(target, list) else part]
    place: t.Any = int(last) if isinstance(target, list) else last
    if op == "test" and (target.get(place) if isinstance(target, dict) else target[place]) != value:
        raise ApiError(f"{path} is another", 422)
    if op == "add" and isinstance(target, list):
        target.insert(place, value)
    elif op in ("add", "replace"):
        target[place] = value
    elif op == "remove":
        del target[place]


@pytest.fixture
def patched() -> t.Any:
    made = Patched()
    made.objects[DAEMONSET] = daemonset()
    return made


@pytest.mark.parametrize(
    ("found", "was"),
    [(daemonset(), "first-found"), (daemonset(method("first-found")), "first-found"), (daemonset(method("cidr=10.0.0.0/8")), "cidr=10.0.0.0/8")],
)
def test_the_method_is_set_once_and_taken_back(patched: t.Any, found: dict[str, t.Any], was: str) -> None:
    patched.objects[DAEMONSET] = found
    before, params = json.dumps(found["spec"]), {"namespace": "kube-system", "was": was}
    looked = _objects.carry_out(patched, "set_autodetection", params, check_mode=True)
    assert looked["changed"] and looked["back"] == looked["rollouts"] == [] and json.dumps(patched.objects[DAEMONSET]["spec"]) == before
    done = _objects.carry_out(patched, "set_autodetection", params, check_mode=False)
    assert (done["before"], done["after"]) == (f"IP_AUTODETECTION_METHOD: {was}", "IP_AUTODETECTION_METHOD: kubernetes-internal-ip")
    assert done["rollouts"] == [{"daemonset": DAEMONSET, "method": "kubernetes-internal-ip"}]
    assert _detection.detects_by(patched.objects[DAEMONSET]) == "kubernetes-internal-ip"
    again = _objects.carry_out(patched, "set_autodetection", params, check_mode=False)
    assert again["changed"] is False and again["rollouts"] == []
    back = _objects.take_back(patched, {"steps": json.loads(json.dumps(done["back"]))}, check_mode=False)
    assert back["rollouts"] == [{"daemonset": DAEMONSET, "method": was}] and json.dumps(patched.objects[DAEMONSET]["spec"]) == before


def installation(**detection: t.Any) -> dict[str, t.Any]:
    return {"metadata": {"name": "default"}, "spec": {"calicoNetwork": {"bgp": "Enabled", "nodeAddressAutodetectionV4": detection}}}


def test_the_operator_makes_the_daemonset_from_its_installation(patched: t.Any) -> None:
    patched.objects[DAEMONSET] = daemonset(method("first-found"), ownerReferences=[{"kind": "Installation"}])
    patched.objects[INSTALLATION] = installation(firstFound=True)
    before, spec = json.dumps(patched.objects[DAEMONSET]), json.dumps(patched.objects[INSTALLATION]["spec"])
    done = _objects.carry_out(patched, "set_autodetection", DETECTS, check_mode=False)
    assert patched.objects[INSTALLATION]["spec"] == installation(kubernetes="NodeInternalIP")["spec"] and json.dumps(patched.objects[DAEMONSET]) == before
    _objects.take_back(patched, {"steps": json.loads(json.dumps(done["back"]))}, check_mode=False)
    assert json.dumps(patched.objects[INSTALLATION]["spec"]) == spec
    patched.objects[INSTALLATION] = installation(interface="eth.*")
    with pytest.raises(Refused, match="the Installation does not say first-found"):
        _objects.carry_out(patched, "set_autodetection", DETECTS, check_mode=False)


@pytest.mark.parametrize(
    ("found", "params", "sentence"),
    [
        (daemonset(method("interface=eth0")), DETECTS, "detects addresses by interface=eth0 by now, not by first-found"),
        (daemonset(), {**DETECTS, "was": "kubernetes-internal-ip"}, "is no method that a repair replaces"),
        (daemonset(), {**DETECTS, "was": "cidr=a\nb"}, "is no method that a repair replaces"),
        (daemonset({"name": "IP", "value": "10.2.7.1"}), DETECTS, "IP of calico-node is named twice"),
        (daemonset({**method("first-found"), "valueFrom": {}}), DETECTS, "comes from elsewhere"),
        (daemonset(ownerReferences=[{"kind": "Addon"}]), DETECTS, "the DaemonSet calico-node is made by Addon"),
        ({**daemonset(), "status": {"observedGeneration": 2}}, DETECTS, "is being updated: 0 of None pods are new"),
        ({**daemonset(), "spec": {"template": {}}}, DETECTS, "has no container calico-node"),
        ({**daemonset(), "spec": {**daemonset()["spec"], "updateStrategy": {"type": "OnDelete"}}}, DETECTS, "only when somebody deletes them (OnDelete)"),
    ],
)
def test_the_method_is_not_set(patched: t.Any, found: dict[str, t.Any], params: dict[str, t.Any], sentence: str) -> None:
    patched.objects[DAEMONSET] = found
    before = json.dumps(patched.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(patched, "set_autodetection", params, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(patched.objects) == before


def test_a_daemonset_that_changes_meanwhile_is_not_changed(patched: t.Any) -> None:
    state = _detection.set_autodetection(patched, DETECTS)
    patched.objects[DAEMONSET]["metadata"]["generation"] = 4
    with pytest.raises(ApiError):
        patched.patch(DAEMONSET, state.step["body"], "json")
    assert _detection.detects_by(patched.objects[DAEMONSET]) == "first-found"


BACK = {
    "patch": DAEMONSET, "rollout": {"daemonset": DAEMONSET, "method": "first-found"},
    "body": [
        {"op": "test", "path": "/spec/template/spec/containers/1/name", "value": "calico-node"},
        {"op": "test", "path": "/spec/template/spec/containers/1/env/2", "value": method("kubernetes-internal-ip")},
        {"op": "remove", "path": "/spec/template/spec/containers/1/env/2"},
    ],
}  # fmt: skip


def other(part: int, **change: t.Any) -> dict[str, t.Any]:
    body = [dict(entry) for entry in BACK["body"]]  # type: ignore[call-overload]
    body[part].update(change)
    return {**BACK, "body": body}


def installed(value: t.Any, **change: t.Any) -> dict[str, t.Any]:
    path = "/spec/calicoNetwork/nodeAddressAutodetectionV4"
    body = [{"op": "test", "path": path, "value": {"kubernetes": "NodeInternalIP"}}, {"op": "replace", "path": path, "value": value, **change}]
    return {"patch": INSTALLATION, "rollout": BACK["rollout"], "body": body}


def annotated(value: str, key: str = KEY, was: str = "10.2.7.202/24") -> dict[str, t.Any]:
    pointers = [f"/metadata/annotations/{name.replace('/', '~1')}" for name in (KEY, key)]
    return {"patch": NODE, "body": [{"op": "test", "path": pointers[0], "value": was}, {"op": "replace", "path": pointers[1], "value": value}]}


def test_ways_back_are_known() -> None:
    assert all(_objects._is_way_back(step) for step in (BACK, installed({"firstFound": True}), annotated("10.2.7.202/32")))
    assert _objects._is_way_back(other(2, op="replace", value=method("first-found")))


@pytest.mark.parametrize(
    "step",
    [
        {**BACK, "patch": DAEMONSET.replace("calico-node", "kube-proxy")}, {**BACK, "patch": "/api/v1/namespaces/a/secrets/b"}, {**BACK, "rollout": None},
        {**BACK, "rollout": {"daemonset": "/api/v1/secrets", "method": "first-found"}}, {**BACK, "more": 1}, {**BACK, "body": BACK["body"][:2]},
        {**BACK, "rollout": {"daemonset": DAEMONSET, "method": "interface=eth0"}}, other(0, value="install-cni"), other(1, value=method("first-found")),
        other(2, path="/spec/template/spec/containers/1/env/1"), other(2, path="/spec/template/spec/containers/1/env"),
        other(2, op="replace", value={"name": "LD_PRELOAD", "value": "first-found"}), other(2, op="replace", value={**method("first-found"), "valueFrom": {}}),
        other(2, op="replace", value=method("cidr=0.0.0.0/0")), other(2, op="add", value=method("first-found")),
        other(0, path="/spec/template/spec/containers/1/image"), installed({"interface": "eth0"}), installed({"kubernetes": "NodeInternalIP"}),
        installed({"firstFound": True}, path="/spec/registry"), annotated("x"), annotated("10.2.7.202/32", key="projectcalico.org/IPv6Address"),
        annotated("10.2.7.202/32", key="kubectl.kubernetes.io/restartedAt"), annotated("fd00::1/64"),
        {"patch": NODE, "body": "x"}, {"patch": NODE, "body": ["x"]},
    ],
)  # fmt: skip
def test_nothing_else_is_taken_back(step: t.Any) -> None:
    assert not _objects._is_way_back(step)
    with pytest.raises(Refused):
        _objects.take_back(Patched(), {"steps": [step]}, check_mode=False)  # type: ignore[arg-type]


# ---- a pool for a block that is in none

NAME = f"{POOLS}/podnet-doctor-10-253-2-0-26"


def test_a_pool_from_which_nothing_is_given_out(api: t.Any) -> None:
    api.pools.append(pool("fd00:10:253::/56", ipipMode="Never", natOutgoing=False))
    _objects.carry_out(api, "create_pool", POOL, check_mode=False)
    assert api.objects[NAME]["spec"] == {
        "cidr": "10.253.2.0/26", "blockSize": 26, "ipipMode": "Always", "vxlanMode": "Never", "natOutgoing": True, "nodeSelector": "all()", "disabled": True,
        "allowedUses": ["Workload"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("params", "pools", "sentence"),
    [
        ({"cidr": "10.253.9.0/26"}, [], "there is no block 10.253.9.0/26 by now"),
        ({"cidr": "10.253.2.1/26"}, [], "10.253.2.1/26 is no network"),
        ({"api": "v1"}, [], "v1 is not an API of Calico"),
        ({"ipip": "x"}, [], "the modes of the pool are none"),
        ({"nat": "yes"}, [], "the modes of the pool are none"),
        ({}, [pool("10.253.0.0/16")], "the IP pool default (10.253.0.0/16) is there by now"),
        ({}, [pool("10.253.2.32/27")], "is there by now"),
        ({}, [pool("junk")], "is there by now"),
        ({}, [{**pool("10.9.0.0/16"), "metadata": {"name": "podnet-doctor-10-253-2-0-26"}}], "is there by now"),
        ({}, [pool("10.9.0.0/16", natOutgoing=False)], "the other IP pools have other modes by now"),
        ({"vxlan": "Always"}, [], "the other IP pools have other modes by now"),
    ],
)
def test_no_pool_is_made(api: t.Any, params: dict[str, t.Any], pools: list[t.Any], sentence: str) -> None:
    api.pools += pools
    before = json.dumps(api.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(api, "create_pool", {**POOL, **params}, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


@pytest.mark.parametrize(
    ("step", "known"),
    [
        ({"delete": NAME, "body": {"preconditions": {"uid": "u2"}}}, True),
        ({"delete": NAME, "body": {"preconditions": {"uid": ""}}}, False),
        ({"delete": NAME, "body": {}}, False),
        ({"delete": NAME}, False),
        ({"delete": f"{POOLS}/default", "body": {"preconditions": {"uid": "u2"}}}, False),
        ({"delete": NAME, "body": {"preconditions": {"uid": "u2"}}, "patch": NODE}, False),
    ],
)
def test_only_its_own_pool_is_deleted(step: t.Any, known: bool) -> None:
    assert _objects._is_way_back(step) is known


# ---- the backend of Felix

FELIX = "/apis/crd.projectcalico.org/v1/felixconfigurations/default"
BACKEND = {"api": "crd.projectcalico.org/v1", "name": "default", "value": "NFT"}


def configured(name: str = "default", **spec: t.Any) -> Patched:
    made = Patched()
    made.objects[FELIX.replace("default", name)] = {"metadata": {"name": name}, "spec": spec}
    return made


@pytest.mark.parametrize(("name", "was"), [("default", None), ("default", "Auto"), ("node.k8s02", "Legacy")])
def test_the_backend_of_felix_is_set_once_and_taken_back(name: str, was: str | None) -> None:
    api: t.Any = configured(name, logSeverityScreen="Info", **({"iptablesBackend": was} if was else {}))
    path, params = FELIX.replace("default", name), {**BACKEND, "name": name, "was": was}
    before = json.dumps(api.objects[path]["spec"])
    looked = _objects.carry_out(api, "set_felix_backend", params, check_mode=True)
    assert (looked["before"], looked["after"]) == (f"iptablesBackend: {was}" if was else "", "iptablesBackend: NFT")
    assert json.dumps(api.objects[path]["spec"]) == before
    done = _objects.carry_out(api, "set_felix_backend", params, check_mode=False)
    assert done["changed"] and api.objects[path]["spec"]["iptablesBackend"] == "NFT"
    assert not _objects.carry_out(api, "set_felix_backend", params, check_mode=False)["changed"]
    steps = json.loads(json.dumps(done["back"]))
    _objects.take_back(api, {"steps": steps}, check_mode=False)
    assert json.dumps(api.objects[path]["spec"]) == before
    with pytest.raises(Refused, match="changed meanwhile"):
        _objects.take_back(api, {"steps": steps}, check_mode=False)


@pytest.mark.parametrize(
    ("api", "params", "sentence"),
    [
        (configured(iptablesBackend="Auto"), {}, "iptablesBackend of FelixConfiguration default is Auto by now, not None"),
        (configured(), {"was": "Legacy"}, "is None by now, not Legacy"),
        (configured(nftablesMode="Enabled"), {}, "lets Felix work without iptables"),
        (configured(), {"value": "Auto"}, "is no backend of iptables"),
        (configured(), {"was": "x"}, "is no backend of iptables"),
        (configured(), {"name": "node.a/b"}, "is no FelixConfiguration that a repair changes"),
        (configured(), {"name": "other"}, "is no FelixConfiguration that a repair changes"),
        (configured(), {"api": "v1"}, "is no FelixConfiguration that a repair changes"),
    ],
)
def test_the_backend_of_felix_stays(api: t.Any, params: dict[str, t.Any], sentence: str) -> None:
    before = json.dumps(api.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(api, "set_felix_backend", {**BACKEND, **params}, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


def test_a_felix_configuration_that_changes_meanwhile_is_not_changed() -> None:
    api: t.Any = configured()
    state = _objects.set_felix_backend(api, BACKEND)
    api.objects[FELIX]["spec"]["iptablesBackend"] = "Legacy"
    with pytest.raises(ApiError):
        api.patch(FELIX, state.step["body"], "json")  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, True), ({"value": None, "op": "remove"}, True), ({"value": "x"}, False), ({"op": "add"}, False), ({"path": "/spec/bpfEnabled"}, False),
        ({"value": True}, False),
    ],
)  # fmt: skip
def test_only_the_backend_of_felix_is_taken_back(change: dict[str, t.Any], known: bool) -> None:
    body = [{"op": "test", "path": "/spec/iptablesBackend", "value": "NFT"}, {"op": "replace", "path": "/spec/iptablesBackend", "value": "Auto", **change}]
    assert _objects._is_way_back({"patch": FELIX, "body": body}) is known
    assert not _objects._is_way_back({"patch": FELIX.replace("default", "other"), "body": body})
    assert not _objects._is_way_back({"patch": FELIX, "body": body[:1]}) and not _objects._is_way_back({"patch": NODE, "body": body})
    assert not _objects._is_way_back({"patch": FELIX, "body": [{**body[0], "value": "Legacy2"}, body[1]]})


# ---- what flannel announces

FLANNEL = {"node": "k8s02", "value": "10.2.7.202", "was": "10.2.7.99"}
FLANNEL_KEYS = ("flannel.alpha.coreos.com/public-ip", "flannel.alpha.coreos.com/public-ip-overwrite")


def lease(*values: str | None) -> Patched:
    made = Patched()
    made.objects[NODE]["metadata"]["annotations"] = {key: value for key, value in zip(FLANNEL_KEYS, values) if value}
    return made


def test_what_flannel_announces_is_set_and_taken_back() -> None:
    api: t.Any = lease("10.2.7.99", "10.2.7.99")
    before = dict(api.objects[NODE]["metadata"]["annotations"])
    done = _objects.carry_out(api, "set_flannel_address", FLANNEL, check_mode=False)
    assert done["changed"] and set(api.objects[NODE]["metadata"]["annotations"].values()) == {"10.2.7.202"}
    assert not _objects.carry_out(api, "set_flannel_address", FLANNEL, check_mode=False)["changed"]
    _objects.take_back(api, {"steps": json.loads(json.dumps(done["back"]))}, check_mode=False)
    assert api.objects[NODE]["metadata"]["annotations"] == before


@pytest.mark.parametrize(
    ("values", "params", "sentence"),
    [
        (("10.2.7.99", None), {}, "are not 10.2.7.99 by now"), (("10.2.7.98", "10.2.7.98"), {}, "are not 10.2.7.99 by now"),
        (("10.2.7.99", "10.2.7.99"), {"value": "10.2.7.9"}, "10.2.7.9 is no address of Node k8s02"), (("x", "x"), {"was": "x"}, "x is no IPv4 address"),
        (("10.2.7.99", "10.2.7.99"), {"was": "10.2.7.99/24"}, "is no IPv4 address"),
    ],
)  # fmt: skip
def test_what_flannel_announces_stays(values: tuple[str | None, ...], params: dict[str, str], sentence: str) -> None:
    api: t.Any = lease(*values)
    before = json.dumps(api.objects)
    with pytest.raises(Refused, match=sentence):
        _objects.carry_out(api, "set_flannel_address", {**FLANNEL, **params}, check_mode=False)
    assert json.dumps(api.objects) == before


@pytest.mark.parametrize(
    ("values", "known"),
    [
        (("10.2.7.202", "10.2.7.202", "10.2.7.99", "10.2.7.99"), True), (("10.2.7.202", "10.2.7.202", "10.2.7.99", "10.2.7.98"), False),
        (("10.2.7.202", "10.2.7.203", "10.2.7.99", "10.2.7.99"), False), (("10.2.7.202", "10.2.7.202", "x", "x"), False),
        (("10.2.7.202", "10.2.7.202", "10.2.7.99/24", "10.2.7.99/24"), False), (("10.2.7.202", "10.2.7.202", "fd00::1", "fd00::1"), False),
    ],
)  # fmt: skip
def test_only_addresses_of_flannel_are_taken_back(values: tuple[str, ...], known: bool) -> None:
    pointers = [f"/metadata/annotations/{key.replace('/', '~1')}" for key in (*FLANNEL_KEYS, *FLANNEL_KEYS)]
    body = [{"op": op, "path": path, "value": value} for op, path, value in zip(("test", "test", "replace", "replace"), pointers, values)]
    assert _objects._is_way_back({"patch": NODE, "body": body}) is known


# ---- what a dead Node announces

DEAD = {"node": "old02", "annotation": KEY, "was": "10.2.7.202/24", "twin": "k8s02"}


def renamed(ready: tuple[str | None, str | None] = ("Unknown", "True"), announced: str = "10.2.7.202/24", own: str = "10.2.7.202") -> t.Any:
    made = Patched()
    for name, status, address in (("old02", ready[0], "10.2.7.202/24"), ("k8s02", ready[1], announced)):
        made.objects[f"/api/v1/nodes/{name}"] = {
            "metadata": {"annotations": {KEY: address}},
            "status": {"addresses": [{"type": "InternalIP", "address": own}], "conditions": [{"type": "Ready", "status": status}] if status else []},
        }
    return made


def test_a_dead_node_announces_nothing_and_its_address_comes_back() -> None:
    api = renamed()
    before = json.dumps(api.objects["/api/v1/nodes/old02"]["metadata"]["annotations"])
    done = _objects.carry_out(api, "clear_node_address", DEAD, check_mode=False)
    assert done["changed"] and api.objects["/api/v1/nodes/old02"]["metadata"]["annotations"] == {}
    assert not _objects.carry_out(api, "clear_node_address", DEAD, check_mode=False)["changed"]
    steps = json.loads(json.dumps(done["back"]))
    _objects.take_back(api, {"steps": steps}, check_mode=False)
    assert json.dumps(api.objects["/api/v1/nodes/old02"]["metadata"]["annotations"]) == before
    with pytest.raises(Refused, match="changed meanwhile"):
        _objects.take_back(api, {"steps": steps}, check_mode=False)
    steps[0]["body"][0].pop("value")
    assert not _objects._is_way_back(steps[0])


@pytest.mark.parametrize(
    ("api", "params", "sentence"),
    [
        (renamed(("True", "True")), {}, "Node old02 is not known to be dead"), (renamed((None, "True")), {}, "Node old02 is not known to be dead"),
        (renamed(("False", "Unknown")), {}, "or Node k8s02 to be well"), (renamed(announced="10.2.7.9/24"), {}, "10.2.7.202 is not the address of Node k8s02"),
        (renamed(own="10.2.7.9"), {}, "10.2.7.202 is not the address of Node k8s02"), (renamed(), {"was": "10.2.7.202/16"}, "is 10.2.7.202/24 by now"),
        (renamed(), {"annotation": "projectcalico.org/Interfaces"}, "is not an annotation that a repair takes away"),
        (renamed(), {"was": "x"}, "is not an annotation that a repair takes away"),
    ],
)  # fmt: skip
def test_what_a_node_announces_stays(api: t.Any, params: dict[str, str], sentence: str) -> None:
    before = json.dumps(api.objects)
    with pytest.raises(Refused) as refused:
        _objects.carry_out(api, "clear_node_address", {**DEAD, **params}, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


# ---- whatever is given

STEPS = st.fixed_dictionaries(
    {},
    optional={
        "patch": st.sampled_from([NODE, DAEMONSET, INSTALLATION]) | JSON, "create": st.just(FOLDER) | JSON, "delete": st.just(NAME) | JSON,
        "rollout": st.just(BACK["rollout"]) | JSON,
        "body": JSON | st.lists(st.fixed_dictionaries({}, optional={"op": st.sampled_from(["test", "add", "remove", "replace"]), "path": JSON, "value": JSON})),
    },
)  # fmt: skip


@given(STEPS | JSON)
def test_property_a_way_back_is_known_by_what_it_writes(step: t.Any) -> None:
    """Anything is judged; of what is made at random only a BlockAffinity that is created again, or an own pool that is deleted, can be one."""
    if _objects._is_way_back(step):
        assert step.get("create") == FOLDER or step.get("delete") == NAME


PARTS = JSON | st.lists(st.integers(-2, 3) | JSON) | st.lists(st.fixed_dictionaries({"secondary": JSON}))


@given(st.dictionaries(st.sampled_from(["allocations", "attributes"]), PARTS))
def test_property_holders_of_a_block(block: dict[str, t.Any]) -> None:
    assert all(isinstance(node, str) for node in _objects.holders(block))
