# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.modules import object_repair
from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi

KEY = "projectcalico.org/IPv4Address"
MASK = {"node": "k8s02", "annotation": KEY, "value": "192.0.2.12/24", "was": "192.0.2.12/32"}


@pytest.fixture
def api() -> t.Iterator[FakeApi]:
    made = FakeApi()
    made.objects["/api/v1/nodes/k8s02"] = {
        "metadata": {"name": "k8s02", "annotations": {KEY: "192.0.2.12/32"}}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.12"}]},
    }  # fmt: skip
    yield made
    made.close()


def test_check_mode_shows_the_difference(run: t.Any, api: FakeApi) -> None:
    result = run(object_repair, {"host": api.url, "remedy": "set_node_address", "parameters": MASK, "_ansible_diff": True}, check=True, changes=True)
    assert result["diff"] == {"before": f"{KEY}: 192.0.2.12/32\n", "after": f"{KEY}: 192.0.2.12/24\n"} and result["back"] == []


def test_nothing_to_do(run: t.Any, api: FakeApi) -> None:
    result = run(object_repair, {"host": api.url, "remedy": "set_node_address", "parameters": {**MASK, "value": MASK["was"]}})
    assert result["changed"] is False and not result.get("failed")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"parameters": {**MASK, "was": "192.0.2.12/16"}}, "refused: projectcalico.org/IPv4Address of Node k8s02 is 192.0.2.12/32 by now"),
        ({"remedy": "take_back"}, "refused: the parameter steps is missing"),
        ({"remedy": "delete_node"}, "value of remedy must be one of: clear_node_address, create_pool, "),
        ({"host": "http://127.0.0.1:1"}, "the API at http://127.0.0.1:1 does not answer"),
    ],
)
def test_errors(run: t.Any, api: FakeApi, given: dict[str, t.Any], sentence: str) -> None:
    result = run(object_repair, {"host": api.url, "remedy": "set_node_address", "parameters": MASK, "timeout": 3, **given})
    assert result["failed"] is True and result["msg"].startswith(sentence)


def test_what_does_not_follow_in_time_fails_with_its_way_back(run: t.Any, api: FakeApi) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"
    api.objects[path] = {
        "metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": [{"name": "IP", "value": "autodetect"}]}]}}},
    }  # fmt: skip
    given = {"remedy": "set_autodetection", "parameters": {"namespace": "kube-system", "was": "first-found"}, "wait_seconds": 0.01}
    result = run(object_repair, {"host": api.url, **given}, changes=True)
    assert result["failed"] is True and result["msg"].startswith("it was changed, but after 0.01 s")
    assert result["changed"] and [step["patch"] for step in result["back"]] == [path] and "rollouts" not in result
