# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collectors over SSH against real nodes, and the API reader with the rights of the documented ClusterRole."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import jsonschema
import pytest
import yaml

from ansible_collections.podnet.doctor.plugins.module_utils import _kube, _node
from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import Endpoint, Question

ROOT = pathlib.Path(__file__).resolve().parents[2]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def valid(name: str, document: t.Any) -> None:
    jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / f"{name}-1.json").read_text())).validate(document)


@pytest.fixture
def task(site: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    """Runs one module on one node, as `ansible -m` does."""

    def run(host: str, module: str, **arguments: t.Any) -> dict[str, t.Any]:
        command = [
            str(pathlib.Path(sys.executable).parent / "ansible"),
            "-i",
            str(site.inventory),
            host,
            "-m",
            f"podnet.doctor.{module}",
            "-a",
            json.dumps(arguments),
        ]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        status, _arrow, text = done.stdout.partition("=>")
        assert "SUCCESS" in status, done.stdout + done.stderr
        return t.cast("dict[str, t.Any]", json.loads(text))

    return run


def pod_of(api: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    return next(pod for pod in api["pods"] if pod["metadata"]["name"] == name)


@pytest.fixture
def api(site: t.Any) -> dict[str, t.Any]:
    return _kube.read_cluster({"kubeconfig": str(site.kubeconfig)})


def test_cluster_document(api: dict[str, t.Any]) -> None:
    valid("cluster", api)
    assert api["reachable"] is True and api["calico_api"] and len(api["nodes"]) >= 2 and api["ipamblocks"]


def test_node_document(task: t.Callable[..., dict[str, t.Any]], api: dict[str, t.Any]) -> None:
    pod = pod_of(api, "web-0")
    node = pod["spec"]["nodeName"]
    result = task(node, "node_info", node=node, pods=[{"uid": pod["metadata"]["uid"]}], flows=[{"dst": pod["status"]["podIP"]}])
    document = result["node"]
    valid("node", document)
    assert result["errors"] == {} and result["sections"] == list(_node.SECTIONS)
    assert document["bird"]["ipv4"]["status"]["message"] == "Daemon is up and running"
    assert document["calico"]["felix"]["running"] is True and document["calico"]["nodename"] == node
    (inside,) = [sandbox for sandbox in document["sandboxes"] if "network" in sandbox]
    assert inside["pod_uid"] == pod["metadata"]["uid"] and inside["ifname"] == document["lookups"][0]["route"]["dev"]
    assert pod["status"]["podIP"] in {address["local"] for address in inside["network"]["addresses"]}
    machine = next(one for one in api["nodes"] if one["metadata"]["name"] == node)["status"]["nodeInfo"]["machineID"]
    assert document["identity"]["machine_id"] == machine


def test_doors(task: t.Callable[..., dict[str, t.Any]], api: dict[str, t.Any]) -> None:
    node = pod_of(api, "web-0")["spec"]["nodeName"]
    assert task(node, "route_info", protocol="bird")["routes"]
    assert task(node, "neighbor_info", fdb=True)["neighbours"]
    assert task(node, "netfilter_info", timeout=20)["errors"] == []
    assert any("pod_uid" in veth.get("sandbox", {}) for veth in task(node, "veth_info", timeout=20)["veths"])
    assert task(node, "calico_node_info", timeout=20)["bird"]["ipv4"]["protocols"]


@pytest.mark.parametrize(("source", "destination"), [("web-0", "api-0"), pytest.param("api-0", "web-0", marks=pytest.mark.thorough)])
def test_probe(task: t.Callable[..., dict[str, t.Any]], api: dict[str, t.Any], source: str, destination: str) -> None:
    one, two = pod_of(api, source), pod_of(api, destination)
    near, far = one["spec"]["nodeName"], two["spec"]["nodeName"]
    probe = os.urandom(16).hex()
    pods = {near: one, far: two}
    uids = {node: {"uid": pod["metadata"]["uid"]} for node, pod in pods.items()}
    armed = {node: task(node, "path_probe", phase="arm", id=probe, pods=[uids[node]]) for node in pods}
    fired = task(near, "path_probe", phase="fire", id=probe, pod=uids[near], dst=two["status"]["podIP"], port=8080)
    collected = {node: task(node, "path_probe", phase="collect", id=probe) for node in pods}
    ends = [Endpoint(f"shop/{name}", "pod", pod["status"]["podIP"], node, "shop", name) for name, (node, pod) in zip((source, destination), pods.items())]
    found = _evidence.Registered({"forward": fired}, armed, collected)
    document = _evidence.document(Cluster({}), Question(ends[0], ends[1], "tcp", 8080), found, "2026-11-21T09:30:42Z")
    valid("evidence", document)
    assert [(entry["protocol"], entry["arrived"], entry["replied"]) for entry in document["probes"]] == [("icmp", True, 3), ("tcp", True, 3)]


def test_cluster_role(site: t.Any) -> None:
    """The documented rights are enough, and allow nothing else."""
    options = {"kubeconfig": str(site.kubeconfig)}
    role = yaml.safe_load((ROOT / "docs" / "clusterrole.yml").read_text())
    name = role["metadata"]["name"]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    reader = {**options, "impersonate_user": "reader", "impersonate_groups": ["system:authenticated"]}
    with _kube.Api(options) as admin:
        if "rbac.authorization.k8s.io" not in str(admin.get_json("/apis")):
            pytest.skip("this API is not a real one: it has no roles")
        admin.request("POST", f"{RBAC}/clusterroles", body=role)
        admin.request("POST", f"{RBAC}/clusterrolebindings", body=binding)
        try:
            document = _kube.read_cluster(reader)
            refused = {section: value["error"] for section, value in document.items() if isinstance(value, dict) and "forbids" in value.get("error", "")}
            assert refused == {}
            with _kube.Api(reader) as api:
                assert not any(api.access_review(verb, "pods", namespace="shop")[0] for verb in ("create", "delete", "patch", "update"))
                assert not api.access_review("list", "secrets")[0]
                with pytest.raises(_kube.ApiError, match="forbids it"):
                    api.delete_pod("shop", "web-0")
        finally:
            admin.request("DELETE", f"{RBAC}/clusterrolebindings/{name}")
            admin.request("DELETE", f"{RBAC}/clusterroles/{name}")
