# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ClusterRole that the README hands out is enough for a diagnosis, on the real API server, and gives no right to write."""

from __future__ import annotations

import pathlib

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RBAC = "rbac.authorization.k8s.io"
GROUP = f"{RBAC}/v1"


@pytest.fixture
def token(site, lab):
    if lab.description.api != "real":
        pytest.skip("needs the real API server: the emulator knows no rights")
    client = lab.client
    [role] = [d for d in yaml.safe_load_all((ROOT / "docs" / "clusterrole.yml").read_text()) if d["kind"] == "ClusterRole"]
    name = role["metadata"]["name"]
    client.create("clusterroles", role, GROUP)
    client.create("serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}})
    binding = {
        "apiVersion": GROUP, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }  # fmt: skip
    client.create("clusterrolebindings", binding, GROUP)
    path = f"/api/v1/namespaces/default/serviceaccounts/{name}/token"
    answer = client.request("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})
    yield answer["status"]["token"]
    client.delete("clusterrolebindings", name, group=GROUP)
    client.delete("clusterroles", name, group=GROUP)
    client.delete("serviceaccounts", name, "default")


def kubeconfig(site, token):
    config = yaml.safe_load(site.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path = site.folder / "least"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_minimal_role_is_enough(site, token):
    run = site.diagnose(kubeconfig=kubeconfig(site, token))
    assert run.code == 0, run.screen
    assert run.report["verdict"]["outcome"] == "healthy"
    assert all("policy" in entry["check"] for entry in run.report["not_checked"])
    assert token not in run.screen
    assert token not in str(run.report)


def test_it_may_not_write(site, token):
    play = site.folder / "restart.yml"
    play.write_text("- hosts: localhost\n  gather_facts: false\n  tasks:\n    - podnet.doctor.component_restart: {component: kube-controllers}\n")
    run = site.play(play, "-e", "ansible_connection=local", environment={"KUBECONFIG": kubeconfig(site, token)})
    assert run.code == 2
    assert "forbid" in run.screen.lower()
