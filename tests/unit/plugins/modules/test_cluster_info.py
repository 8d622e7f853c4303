# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _packing
from ansible_collections.podnet.doctor.plugins.modules import cluster_info
from ansible_collections.podnet.doctor.tests.unit.plugins import support
from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi


@pytest.fixture
def api() -> t.Iterator[FakeApi]:
    made = FakeApi()
    made.objects["/apis"] = {"groups": [{"name": "crd.projectcalico.org"}]}
    made.lists["/api/v1/nodes"] = [{"metadata": {"name": "a"}, "spec": {}, "status": {}}]
    yield made
    made.close()


def test_returned(run: t.Any, api: FakeApi) -> None:
    result = run(cluster_info, {"host": api.url, "sections": ["nodes", "ippools"]}, check=True)
    support.valid("cluster", result["cluster"])
    assert result["reachable"] is True and list(result["errors"]) == ["ippools"]
    assert result["cluster"]["nodes"][0]["metadata"] == {"name": "a"}


def test_written(run: t.Any, api: FakeApi, tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    result = run(cluster_info, {"host": api.url, "sections": ["nodes"], "dest": str(path)})
    assert result["dest"] == str(path) and "cluster" not in result
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and json.loads(path.read_text())["nodes"]
    assert [one.name for one in tmp_path.iterdir()] == ["cluster.json"]
    result = run(cluster_info, {"host": api.url, "sections": ["nodes"], "dest": str(tmp_path / "no" / "x.json")})
    assert result["failed"] is True and "cannot be written: No such file or directory" in result["msg"]


def test_packed(run: t.Any, api: FakeApi) -> None:
    result = run(cluster_info, {"host": api.url, "sections": ["nodes"], "packed": True})
    assert _packing.unpack(result["packed"])["nodes"]


def test_narrowed(run: t.Any, api: FakeApi) -> None:
    pod = {"metadata": {"name": "web-0", "namespace": "shop"}, "spec": {"nodeName": "a"}, "status": {"podIP": "10.0.0.1"}}
    api.lists["/api/v1/pods"] = [pod]
    api.objects["/api/v1/namespaces/shop/pods/web-0"] = pod
    for question in ({"pods": [{"namespace": "shop", "name": "web-0"}]}, {"pod_addresses": ["10.0.0.1"]}, {"nodes": ["a"]}, {"endpoints": ["shop/web-0"]}):
        result = run(cluster_info, {"host": api.url, "sections": ["pods"], **question})
        assert result["cluster"]["scope"] == "pair" and len(result["cluster"]["pods"]) == 1


def test_api_that_is_down(run: t.Any) -> None:
    result = run(cluster_info, {"host": "http://127.0.0.1:1", "sections": ["nodes"]})
    assert "failed" not in result and result["reachable"] is False
    assert result["cluster"]["error"] == "the API at http://127.0.0.1:1 does not answer: Connection refused"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kubeconfig": "/nowhere/config"}, "the kubeconfig /nowhere/config does not exist"),
        ({"host": "http://127.0.0.1:1", "sections": ["secrets"]}, "sections: there is no section secrets"),
        ({"host": "http://127.0.0.1:1", "timeout": -1}, "timeout: -1 is not a positive number"),
    ],
)
def test_bad_options(run: t.Any, arguments: dict[str, t.Any], text: str) -> None:
    result = run(cluster_info, arguments)
    assert result["failed"] is True and result["msg"].startswith(text)


def test_no_secret_is_returned(run: t.Any, api: FakeApi) -> None:
    config = {
        "clusters": [{"name": "a", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "hunter2token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "a", "user": "u"}}],
        "current-context": "c",
    }
    result = run(cluster_info, {"kubeconfig": config, "api_key": "hunter2key", "sections": ["nodes"]})
    assert result["reachable"] is True and "hunter2" not in json.dumps(result)
