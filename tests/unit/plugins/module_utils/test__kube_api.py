# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import socket
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi

KUBECONFIG: dict[str, t.Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}, {"name": "b", "cluster": {"server": "http://127.0.0.1:2"}}],
    "users": [{"name": "u", "user": {"token": "hunter2"}}],
    "contexts": [{"name": "one", "context": {"cluster": "a", "user": "u"}}, {"name": "two", "context": {"cluster": "b", "user": "u"}}],
    "current-context": "one",
}


@pytest.fixture
def api() -> t.Iterator[FakeApi]:
    made = FakeApi()
    yield made
    made.close()


def items(count: int) -> list[dict[str, t.Any]]:
    return [{"metadata": {"name": f"n{number}"}} for number in range(count)]


def test_pages(api: FakeApi) -> None:
    api.lists["/api/v1/nodes"], api.page = items(1100), 500
    with _kube.Api({"host": api.url}) as client:
        found = client.items("/api/v1/nodes")
    assert [item["metadata"]["name"] for item in found] == [f"n{number}" for number in range(1100)]
    assert "limit=500" in api.asked[0][1] and "continue=1000" in api.asked[2][1]


def test_list_that_expired_is_read_again(api: FakeApi) -> None:
    api.lists["/api/v1/nodes"], api.page, api.expired = items(9), 5, 1
    with _kube.Api({"host": api.url}) as client:
        assert len(client.items("/api/v1/nodes")) == 9
        api.expired = 9
        with pytest.raises(_kube.ApiError, match="changes faster than it can be read"):
            client.items("/api/v1/nodes")


@pytest.mark.parametrize(
    ("status", "text"), [(401, "refuses these credentials"), (403, "forbids it"), (404, "does not have it"), (500, "answers with status 500")]
)
def test_refusals(api: FakeApi, status: int, text: str) -> None:
    api.refused["/x"] = status
    with _kube.Api({"host": api.url}) as client, pytest.raises(_kube.ApiError, match=text) as caught:
        client.get_json("/x")
    assert caught.value.status == status and "/x is not for you" in str(caught.value)


def test_not_an_api(api: FakeApi) -> None:
    api.objects["/x"] = "<html>"
    with _kube.Api({"host": api.url}) as client, pytest.raises(_kube.ApiError, match="does not answer in JSON"):
        client.get_json("/x")


def test_hanging_api() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with _kube.Api({"host": f"http://127.0.0.1:{listener.getsockname()[1]}"}, deadline=Deadline(0.4)) as client:
            with pytest.raises(_kube.ApiError, match="does not answer"):
                client.get_json("/version")
        assert time.monotonic() - started < 3


def test_nobody_there() -> None:
    with _kube.Api({"host": "http://127.0.0.1:1"}) as client, pytest.raises(_kube.ApiError, match=r"http://127.0.0.1:1 does not answer: Connection refused$"):
        client.get_json("/version")


def test_headers(api: FakeApi) -> None:
    with _kube.Api({"host": api.url, "api_key": "tok", "impersonate_user": "jane", "impersonate_groups": ["a", "b"]}) as client:
        client.get_json("/version")
    headers = {name.lower(): value for name, value in api.asked[0][3].items()}
    assert headers["authorization"] == "Bearer tok" and headers["impersonate-user"] == "jane"
    with _kube.Api({"host": api.url, "username": "u", "password": "p"}) as client:
        client.get_json("/version")
    assert {name.lower(): value for name, value in api.asked[1][3].items()}["authorization"].startswith("Basic ")


def test_writing_helpers(api: FakeApi) -> None:
    api.objects["review"] = {"allowed": True, "reason": "RBAC"}
    with _kube.Api({"host": api.url}) as client:
        client.delete_pod("kube-system", "calico-node-x", uid="u", grace=0)
        client.patch("/api/v1/nodes/a", {"metadata": {}}, dry_run=True)
        assert client.access_review("delete", "pods", namespace="kube-system") == (True, "RBAC")
        client.access_review("patch", "nodes/status")
    delete, patch, review, sub = api.asked
    assert delete[0:2] == ("DELETE", "/api/v1/namespaces/kube-system/pods/calico-node-x")
    assert delete[2] == {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u"}, "gracePeriodSeconds": 0}
    assert patch[1] == "/api/v1/nodes/a?dryRun=All" and patch[3]["Content-Type"] == "application/merge-patch+json"
    assert review[2]["spec"]["resourceAttributes"] == {"verb": "delete", "resource": "pods", "namespace": "kube-system"}
    assert sub[2]["spec"]["resourceAttributes"] == {"verb": "patch", "resource": "nodes", "subresource": "status"}


def test_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(KUBECONFIG))
    assert _kube.Api({"kubeconfig": str(path)}).server == "http://127.0.0.1:1"
    assert _kube.Api({"kubeconfig": str(path), "context": "two"}).server == "http://127.0.0.1:2"
    assert _kube.Api({"kubeconfig": KUBECONFIG, "host": "http://other"}).server == "http://other"
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert _kube.Api({}).server == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (None, {}, "config does not exist; give its path with the option kubeconfig"),
        ("{", {}, "config cannot be used: it is not a kubeconfig"),
        ("[]", {}, "config cannot be used: "),
        (json.dumps(KUBECONFIG), {"context": "three"}, "config cannot be used: .*three"),
        (json.dumps({**KUBECONFIG, "users": []}), {"client_cert": "/nowhere"}, "client_cert: the file /nowhere does not exist"),
    ],
)
def test_bad_kubeconfig(tmp_path: Path, content: str | None, options: dict[str, t.Any], text: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(_kube.KubeError, match=text) as caught:
        _kube.Api({"kubeconfig": str(path), **options})
    assert "\n" not in str(caught.value)


def test_in_cluster_only_when_asked() -> None:
    with pytest.raises(_kube.KubeError, match="in_cluster: this is not a pod"):
        _kube.Api({"in_cluster": True})


def test_certificates_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = json.loads(json.dumps(KUBECONFIG))
    config["users"][0]["user"] = {"client-certificate-data": "eA==", "client-key-data": "eA=="}
    config["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:1", "certificate-authority-data": "eA=="}
    try:
        with _kube.Api({"kubeconfig": config}):
            pass
    except _kube.KubeError:
        pass
    assert list(tmp_path.iterdir()) == []


def test_options() -> None:
    environment = {"K8S_AUTH_HOST": "https://e", "K8S_AUTH_VERIFY_SSL": "no", "K8S_AUTH_IMPERSONATE_GROUPS": "a,b", "K8S_AUTH_API_KEY": "k"}
    assert _kube.options_of({"host": "", "api_key": "own", "other": 1, "in_cluster": False}, environment) == {
        "host": "https://e",
        "validate_certs": False,
        "impersonate_groups": ["a", "b"],
        "api_key": "own",
        "in_cluster": False,
    }
    assert _kube.secrets(KUBECONFIG) == {"hunter2"} and _kube.secrets("/path") == set()
