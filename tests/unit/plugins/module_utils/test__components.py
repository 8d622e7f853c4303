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


def restart(api: Pods, node: str | None = "k8s01", component: str = "calico-node", check: bool = False, timeout: float = 5.0) -> dict[str, t.Any]:
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
    with pytest.raises(_components.Refused, match=r"kube-system/calico-node-a was deleted, but no successor was ready within 0\.6 s"):
        restart(api, timeout=0.6)
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


def test_forbidden(api: Pods) -> None:
    api.fake.refused["/api/v1/namespaces/kube-system/pods/calico-node-a"] = 403
    with pytest.raises(ApiError, match="the API forbids it"):
        restart(api)
