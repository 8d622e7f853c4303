"""The emulated API server, over HTTP."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from lab.api.crds import crd
from lab.api.emulator import fields_match, json_patch, labels_match, make_server, merge, strategic

Json = dict[str, Any]
PODS = "/api/v1/namespaces/shop/pods"


@pytest.fixture
def api() -> Iterator[str]:
    server = make_server(0, None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def call(api: str, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(api + path, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        result: Json = json.load(answer)
    return result


def refused(api: str, method: str, path: str, body: object = None) -> int:
    with pytest.raises(urllib.error.HTTPError) as error:
        call(api, method, path, body)
    assert json.load(error.value)["kind"] == "Status"
    return error.value.code


def pod(name: str, node: str = "k8s01", **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node}}


def test_life_of_an_object(api: str) -> None:
    made = call(api, "POST", PODS, pod("web-0", app="web"))
    assert made["kind"] == "Pod"
    assert made["metadata"]["namespace"] == "shop"
    assert made["metadata"]["uid"]
    assert refused(api, "POST", PODS, pod("web-0")) == 409
    patched = call(api, "PATCH", f"{PODS}/web-0/status", {"status": {"phase": "Running"}}, "application/merge-patch+json")
    assert patched["status"] == {"phase": "Running"}
    assert patched["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert refused(api, "PUT", f"{PODS}/web-0", made) == 409
    assert refused(api, "DELETE", f"{PODS}/web-0", {"preconditions": {"uid": "another"}}) == 409
    call(api, "DELETE", f"{PODS}/web-0", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert refused(api, "GET", f"{PODS}/web-0") == 404


def test_status_patch_cannot_change_the_rest(api: str) -> None:
    call(api, "POST", PODS, pod("web-0"))
    body = {"spec": {"nodeName": "k8s02"}, "status": {"phase": "Running"}}
    call(api, "PATCH", f"{PODS}/web-0/status", body, "application/merge-patch+json")
    assert call(api, "GET", f"{PODS}/web-0")["spec"]["nodeName"] == "k8s01"


def test_lists_pages_and_selectors(api: str) -> None:
    for number in range(5):
        call(api, "POST", PODS, pod(f"web-{number}", f"k8s0{number % 2}", app="web", number=str(number)))
    first = call(api, "GET", "/api/v1/pods?limit=2")
    assert [item["metadata"]["name"] for item in first["items"]] == ["web-0", "web-1"]
    token = first["metadata"]["continue"]
    last = call(api, "GET", f"/api/v1/pods?limit=3&continue={token}")
    assert [item["metadata"]["name"] for item in last["items"]] == ["web-2", "web-3", "web-4"]
    assert "continue" not in last["metadata"]
    found = call(api, "GET", f"{PODS}?fieldSelector=spec.nodeName%3Dk8s00&labelSelector=number%20in%20(0,1,2)")
    assert [item["metadata"]["name"] for item in found["items"]] == ["web-0", "web-2"]
    assert call(api, "GET", "/api/v1/namespaces/other/pods")["items"] == []


def test_watch(api: str) -> None:
    version = call(api, "GET", PODS)["metadata"]["resourceVersion"]
    call(api, "POST", PODS, pod("web-0"))
    call(api, "DELETE", f"{PODS}/web-0")
    path = f"{api}{PODS}?watch=true&resourceVersion={version}&timeoutSeconds=1"
    with urllib.request.urlopen(path, timeout=5) as answer:
        assert [json.loads(line)["type"] for line in answer] == ["ADDED", "DELETED"]


def test_discovery(api: str) -> None:
    before = [group["name"] for group in call(api, "GET", "/apis")["groups"]]
    assert "crd.projectcalico.org" not in before  # as long as there are no CRDs
    call(api, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd("ippools", "IPPool"))
    groups = [group["name"] for group in call(api, "GET", "/apis")["groups"]]
    assert "crd.projectcalico.org" in groups
    found = {item["name"]: item for item in call(api, "GET", "/apis/crd.projectcalico.org/v1")["resources"]}
    assert found["ippools"]["kind"] == "IPPool"
    assert not found["ippools"]["namespaced"]
    assert found["networkpolicies"]["namespaced"]
    assert call(api, "GET", "/version")["gitVersion"].startswith("v1.")
    assert refused(api, "GET", "/apis/projectcalico.org/v3") == 404
    review = call(api, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}})
    assert review["status"]["allowed"]


def test_bad_requests_are_answered(api: str) -> None:
    assert refused(api, "POST", PODS, "text") == 400
    assert refused(api, "GET", "/api/v1/nothing") == 404


def test_patches() -> None:
    assert merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}) == {"b": {"c": 2, "d": 3}}
    env = {"env": [{"name": "IP", "value": "autodetect"}, {"name": "B", "value": "b"}]}
    assert strategic(env, {"env": [{"name": "IP", "value": "none"}]})["env"][0]["value"] == "none"
    assert len(strategic(env, {"env": [{"name": "C", "value": "c"}]})["env"]) == 3
    operations: list[Json] = [{"op": "add", "path": "/m/a~1b", "value": 1}, {"op": "remove", "path": "/x"}]
    assert json_patch({"m": {}, "x": 1}, operations) == {"m": {"a/b": 1}}


def test_selectors() -> None:
    labels = {"app": "web", "tier": "front"}
    for selector in ("app=web", "app==web,tier", "!other", "app in (web, api)", "app notin (db)", "app!=db"):
        assert labels_match(labels, selector)
    for selector in ("app=api", "other", "!app", "app in (db)"):
        assert not labels_match(labels, selector)
    assert fields_match({"status": {"podIP": "10.0.0.1"}}, "status.podIP=10.0.0.1")
    assert not fields_match({"status": {}}, "status.podIP=10.0.0.1")
