# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _objects
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import ApiError

NODE = "/api/v1/nodes/k8s02"
FOLDER = "/apis/crd.projectcalico.org/v1/blockaffinities"
KEY = "projectcalico.org/IPv4Address"
MASK = {"node": "k8s02", "annotation": KEY, "value": "10.2.7.202/24", "was": "10.2.7.202/32"}
AFFINITY = {"api": "crd.projectcalico.org/v1", "name": "k8s02-10-253-255-0-26", "node": "k8s02", "cidr": "10.253.255.0/26"}


class Store:
    """An API with a few objects; `busy` is the status that every change gets."""

    def __init__(self) -> None:
        self.busy = 0
        self.blocks: list[dict[str, t.Any]] = [{"spec": {"cidr": "10.253.2.0/26"}}]
        self.pods: list[dict[str, t.Any]] = []
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

    def request(self, method: str, path: str, body: dict[str, t.Any]) -> None:
        self._changed()
        if method == "DELETE":
            assert body["preconditions"] == {"uid": "u1", "resourceVersion": "7"}
            del self.objects[path]
        else:
            self.objects[f"{path}/{body['metadata']['name']}"] = body


@pytest.fixture
def api() -> t.Any:
    return Store()


@pytest.mark.parametrize(("remedy", "params"), [("set_node_address", MASK), ("delete_block_affinity", AFFINITY)])
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
        ("delete_block_affinity", {**AFFINITY, "node": "k8s01"}, "is of k8s02 for 10.253.255.0/26 by now, not of k8s01"),
        ("delete_block_affinity", {**AFFINITY, "api": "v1"}, "v1 is not an API of Calico"),
    ],
)
def test_refused(api: t.Any, remedy: str, params: dict[str, t.Any], sentence: str) -> None:
    before = json.dumps(api.objects)
    with pytest.raises(_objects.Refused) as refused:
        _objects.carry_out(api, remedy, params, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


def test_a_block_that_exists_by_now_keeps_its_affinity(api: t.Any) -> None:
    api.blocks.append({"spec": {"cidr": AFFINITY["cidr"]}})
    with pytest.raises(_objects.Refused, match=r"the block 10\.253.255\.0/26 exists by now"):
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
    with pytest.raises(_objects.Refused) as refused:
        _objects.carry_out(api, "delete_block_affinity", OTHERS, check_mode=False)
    assert sentence in str(refused.value) and json.dumps(api.objects) == before


def test_the_owner_is_another_node(api: t.Any) -> None:
    api.blocks = [block(owner="k8s02")]
    with pytest.raises(_objects.Refused):
        _objects.carry_out(api, "delete_block_affinity", {**AFFINITY, "owner": "k8s02"}, check_mode=False)


@pytest.mark.parametrize(("remedy", "params"), [("set_node_address", MASK), ("delete_block_affinity", AFFINITY)])
@pytest.mark.parametrize("status", [409, 422])
def test_somebody_was_quicker(api: t.Any, remedy: str, params: dict[str, t.Any], status: int) -> None:
    api.busy = status
    with pytest.raises(_objects.Refused, match="the object was changed meanwhile"):
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
    with pytest.raises(_objects.Refused):
        _objects.take_back(api, {"steps": [step]}, check_mode=False)
