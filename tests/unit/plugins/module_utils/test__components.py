# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _components
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import ApiError
from ansible_collections.podnet.doctor.tests.unit.plugins.support import Pods, calico_pod


@pytest.fixture
def api() -> t.Iterator[Pods]:
    made = Pods([calico_pod("calico-node-a", "k8s01"), calico_pod("calico-node-b", "k8s02")])
    yield made
    made.close()


def restart(api: Pods, node: str | None = "k8s01", component: str = "calico-node", check: bool = False, timeout: float = 30.0) -> dict[str, t.Any]:
    with api.client(timeout) as client:
        return _components.restart(client, component, node, check)


def test_the_pod_of_that_node_is_deleted_and_its_successor_awaited(api: Pods) -> None:
    api.successor = calico_pod("calico-node-c", "k8s01")
    assert restart(api) == {"changed": True, "before": "kube-system/calico-node-a", "after": "kube-system/calico-node-c"}
    (delete,) = api.deleted
    assert delete[0] == "/api/v1/namespaces/kube-system/pods/calico-node-a"
    assert delete[1]["preconditions"] == {"uid": "uid-calico-node-a"}


def test_check_mode_deletes_nothing(api: Pods) -> None:
    assert restart(api, check=True) == {"changed": True, "before": "kube-system/calico-node-a", "after": ""}
    assert api.deleted == []


def test_a_successor_counts_only_when_it_is_ready(api: Pods) -> None:
    late = calico_pod("calico-node-c", "k8s01", ready="False")
    api.successor = late
    threading.Timer(0.7, lambda: late["status"]["conditions"][0].update(status="True")).start()
    assert restart(api)["after"] == "kube-system/calico-node-c"
    assert late["status"]["conditions"][0]["status"] == "True"


@pytest.mark.parametrize("wrong", [{"ready": "False"}, {"node": "k8s02"}, {"phase": "Pending"}, {"leaving": True}, None])
def test_no_successor_in_time(api: Pods, wrong: t.Any) -> None:
    api.successor = None if wrong is None else calico_pod(**{"name": "c", "node": "k8s01", **wrong})
    api.left_after_deleting = 0.6
    with pytest.raises(_components.Refused, match=r"kube-system/calico-node-a was deleted, but no successor was ready within 30 s"):
        restart(api)
    assert len(api.deleted) == 1


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        ([], "there is no pod of calico-node on k8s01"),
        ([calico_pod("b", "k8s02")], "there is no pod of calico-node on k8s01"),
        ([calico_pod("a", "k8s01"), calico_pod("a2", "k8s01")], "there are 2 pods of calico-node on k8s01: .* one restart is under way already"),
        ([calico_pod("a", "k8s01", owner=False)], "pod kube-system/a has no owner that would make it again"),
        ([calico_pod("a", "k8s01"), calico_pod("b", "k8s02", phase="Pending")], "another node's calico-node does not run: kube-system/b"),
        ([calico_pod("a", "k8s01"), calico_pod("b", "k8s02", leaving=True)], "another node's calico-node does not run: kube-system/b"),
    ],
)
def test_refusals_delete_nothing(api: Pods, pods: t.Any, sentence: str) -> None:
    api.pods[:] = pods
    with pytest.raises(_components.Refused, match=sentence):
        restart(api)
    assert api.deleted == []


def test_kube_controllers_need_no_node(api: Pods) -> None:
    api.pods[:] = [calico_pod("kc-a", "k8s01", app="calico-kube-controllers")]
    api.successor = calico_pod("kc-b", "k8s02", app="calico-kube-controllers")
    assert restart(api, None, "kube-controllers")["after"] == "kube-system/kc-b"


def of_deployment(name: str, **more: t.Any) -> t.Any:
    pod = calico_pod(name, "k8s01", app="calico-typha", **more)
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "typha", "uid": "rs", "controller": True}]
    return pod


def test_pods_of_a_deployment_are_restarted_one_by_one_those_first_that_are_not_ready(api: Pods) -> None:
    api.pods[:] = [of_deployment("a"), of_deployment("b", ready="False")]
    api.successor = [of_deployment("c"), of_deployment("d")]
    assert restart(api, None, "typha", check=True) == {"changed": True, "before": "kube-system/b, kube-system/a", "after": ""} and api.deleted == []
    assert restart(api, None, "typha")["after"] == "kube-system/c, kube-system/d"
    assert [target.rpartition("/")[2] for target, _body in api.deleted] == ["b", "a"]


def test_where_one_does_not_come_back_the_next_is_not_touched(api: Pods) -> None:
    api.pods[:] = [of_deployment("a"), of_deployment("b")]
    api.successor = [of_deployment("c", ready="False"), of_deployment("d")]
    api.left_after_deleting = 0.6
    with pytest.raises(_components.Refused, match="kube-system/a was deleted, but no successor was ready"):
        restart(api, None, "typha")
    assert len(api.deleted) == 1


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        ([], "there is no pod of coredns"),
        ([of_deployment("a"), calico_pod("b", "k8s01")], "no controller owns pod kube-system/b"),
        ([of_deployment("a"), of_deployment("b", leaving=True)], "pod kube-system/b is on its way out already"),
    ],
)
def test_a_deployment_that_is_left_alone(api: Pods, pods: t.Any, sentence: str) -> None:
    api.pods[:] = pods
    with pytest.raises(_components.Refused, match=sentence):
        restart(api, None, "coredns")
    assert api.deleted == []


def test_a_budget_keeps_pods_of_a_deployment(api: Pods) -> None:
    api.pods[:] = [of_deployment("a")]
    api.fake.lists["/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets"] = [budget(0, **{"k8s-app": "calico-typha"})]
    with pytest.raises(_components.Refused, match="the PodDisruptionBudget keep"):
        restart(api, None, "typha")
    assert api.deleted == []


def test_a_budget_keeps_no_pod_that_is_not_ready_and_the_others_may_be_left_alone(api: Pods) -> None:
    sick = of_deployment("calico-typha-a")
    sick["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    api.pods[:] = [of_deployment("calico-typha-b"), sick]
    api.successor = of_deployment("calico-typha-c")
    api.fake.lists["/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets"] = [budget(0)]
    with api.client(5.0) as client:
        done = _components.restart(client, "typha", None, False, only_not_ready=True)
    assert (done["before"], done["after"]) == ("kube-system/calico-typha-a", "kube-system/calico-typha-c")
    with api.client(5.0) as client, pytest.raises(_components.Refused, match="no pod of typha that is not ready"):
        _components.restart(client, "typha", None, False, only_not_ready=True)


def test_forbidden(api: Pods) -> None:
    api.fake.refused["/api/v1/namespaces/kube-system/pods/calico-node-a"] = 403
    with pytest.raises(ApiError, match="the API forbids it"):
        restart(api)


def shop_pod(name: str, uid: str, owner: bool = True, **more: t.Any) -> t.Any:
    pod = calico_pod(name, "k8s01", app="web")
    pod["metadata"].update(namespace="shop", uid=uid, labels={"app": "web"}, **more)
    pod["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "web", "uid": "uid-of-web", "controller": True}] if owner else []
    return pod


BUDGETS = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"


def recreate(
    api: Pods, pods: list[t.Any], budgets: list[t.Any] | None = None, node: str = "k8s01", key: str = "shop/web-1", timeout: float = 30.0
) -> dict[str, t.Any]:
    api.pods[:] = pods
    api.fake.lists["/api/v1/namespaces/shop/pods"] = api.pods
    api.fake.lists[BUDGETS] = budgets or []
    with api.client(timeout) as client:
        return _components.restart(client, "pod", node, False, key)


def budget(allowed: int, **labels: str) -> dict[str, t.Any]:
    return {"metadata": {"name": "keep"}, "spec": {"selector": {"matchLabels": labels}}, "status": {"disruptionsAllowed": allowed}}


def test_a_pod_is_made_again_by_its_owner(api: Pods) -> None:
    api.successor = shop_pod("web-1", "new")
    done = recreate(api, [shop_pod("web-1", "old"), shop_pod("web-0", "other")], [budget(0, app="db"), budget(1, app="web")])
    assert done == {"changed": True, "before": "shop/web-1", "after": "shop/web-1"}
    (delete,) = api.deleted
    assert delete[1]["preconditions"] == {"uid": "old"}


def of_daemonset(name: str, uid: str, node: str) -> t.Any:
    pod = shop_pod(name, uid)
    pod["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet"
    return {**pod, "spec": {**pod["spec"], "nodeName": node}}


def test_the_successor_of_a_daemonset_s_pod_is_the_one_on_its_node(api: Pods) -> None:
    api.successor = of_daemonset("web-y", "new", "k8s02")
    api.left_after_deleting = 0.6
    with pytest.raises(_components.Refused, match="no successor was ready"):
        recreate(api, [of_daemonset("web-x", "old", "k8s01")], key="shop/web-x")
    api.deleted.clear()
    api.left_after_deleting = None
    api.successor = of_daemonset("web-z", "new", "k8s01")
    assert recreate(api, [of_daemonset("web-x", "old", "k8s01")], key="shop/web-x")["after"] == "shop/web-z"


@pytest.mark.parametrize(
    ("pods", "budgets", "node", "sentence"),
    [
        ([], [], "k8s01", "there is no pod shop/web-1"),
        ([shop_pod("web-1", "old", owner=False)], [], "k8s01", "no controller owns pod shop/web-1"),
        ([shop_pod("web-1", "old")], [], "k8s02", "pod shop/web-1 is not on k8s02 any more"),
        ([shop_pod("web-1", "old", deletionTimestamp="2026-11-21T10:00:00Z")], [], "k8s01", "is on its way out already"),
        ([shop_pod("web-1", "old")], [budget(0, app="web")], "k8s01", "the PodDisruptionBudget keep lets no pod like shop/web-1 go now"),
        ([shop_pod("web-1", "old")], [budget(0)], "k8s01", "the PodDisruptionBudget keep"),
    ],
)
def test_a_pod_that_stays(api: Pods, pods: t.Any, budgets: t.Any, node: str, sentence: str) -> None:
    with pytest.raises(_components.Refused, match=sentence):
        recreate(api, pods, budgets, node)
    assert api.deleted == []


def test_the_successor_s_image_must_be_on_the_node(api: Pods) -> None:
    """A DaemonSet with OnDelete has a new image, which nobody has pulled yet."""
    for pod in api.pods:
        pod["metadata"]["ownerReferences"] = [{"kind": "DaemonSet", "name": "calico-node", "uid": "x", "controller": True}]
        pod["spec"]["containers"] = [{"name": "calico-node", "image": "calico/node:v3.27.0"}]
    template = {"spec": {"containers": [{"name": "calico-node", "image": "calico/node:v3.28.0"}]}}
    daemonset = {"metadata": {"name": "calico-node"}, "spec": {"updateStrategy": {"type": "OnDelete"}, "template": template}, "status": {}}
    api.fake.objects["/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"] = daemonset
    node: dict[str, t.Any] = {"metadata": {"name": "k8s01"}, "status": {"images": [{"names": ["docker.io/calico/node:v3.27.0"]}]}}
    api.fake.objects["/api/v1/nodes/k8s01"] = node
    with pytest.raises(_components.Refused, match=r"its successor needs calico/node:v3\.28\.0, which k8s01 does not list"):
        restart(api)
    assert api.deleted == []
    node["status"]["images"].append({"names": ["docker.io/calico/node:v3.28.0"]})
    assert restart(api, check=True)["changed"] is True
    template["spec"]["containers"][0]["image"] = "calico/node:v3.27.0"
    node["status"]["images"].clear()
    assert restart(api, check=True)["changed"] is True, "the pod that runs there has it"


def test_an_update_in_progress_is_not_disturbed(api: Pods) -> None:
    for pod in api.pods:
        pod["metadata"]["ownerReferences"] = [{"kind": "DaemonSet", "name": "calico-node", "uid": "x", "controller": True}]
    status = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"
    api.fake.objects[path] = {"metadata": {"name": "calico-node"}, "spec": {}, "status": status}
    with pytest.raises(_components.Refused, match="the DaemonSet calico-node is being updated: 1 of 2 pods are new"):
        restart(api)
    status["updatedNumberScheduled"] = 2
    assert restart(api, check=True)["changed"] is True
