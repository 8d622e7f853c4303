# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.modules import component_restart
from ansible_collections.podnet.doctor.tests.unit.plugins.support import Pods, calico_pod


@pytest.fixture
def api() -> t.Iterator[Pods]:
    made = Pods([calico_pod("calico-node-a", "k8s01")])
    made.successor = calico_pod("calico-node-b", "k8s01")
    yield made
    made.close()


def test_restarted(run: t.Any, api: Pods) -> None:
    result = run(component_restart, {"host": api.fake.url, "component": "calico-node", "node": "k8s01", "_ansible_diff": True}, changes=True)
    assert (result["before"], result["after"]) == ("kube-system/calico-node-a", "kube-system/calico-node-b")
    assert result["diff"] == {"before": "kube-system/calico-node-a\n", "after": "kube-system/calico-node-b\n"}


def test_check_mode(run: t.Any, api: Pods) -> None:
    result = run(component_restart, {"host": api.fake.url, "component": "calico-node", "node": "k8s01"}, check=True, changes=True)
    assert result["after"] == "" and "diff" not in result
    assert api.deleted == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"node": None}, "component is calico-node but all of the following are missing: node"),
        ({"node": "k8s09"}, "there is no pod of calico-node on k8s09"),
        ({"component": "felix"}, "value of component must be one of: calico-node, coredns, flannel, kube-controllers, pod, typha, got: felix"),
        ({"host": "http://127.0.0.1:1"}, "the API at http://127.0.0.1:1 does not answer: Connection refused"),
        ({"host": None, "kubeconfig": "/nowhere"}, "the kubeconfig /nowhere does not exist"),
    ],
)
def test_errors(run: t.Any, api: Pods, arguments: dict[str, t.Any], sentence: str) -> None:
    given = {"host": api.fake.url, "component": "calico-node", "node": "k8s01", "timeout": 3, **arguments}
    result = run(component_restart, {name: value for name, value in given.items() if value is not None})
    assert result["failed"] is True and result["msg"].startswith(sentence)
    assert api.deleted == []
