# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.podnet.doctor.plugins.action import preflight
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack

DAEMONSET = {
    "metadata": {"name": "calico-node", "namespace": "calico-system"},
    "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": []}]}}},
}
CLUSTER = {
    "schema": "podnet.doctor/cluster/1",
    "server": "https://10.0.0.1:6443",
    "calico_api": "crd.projectcalico.org/v1",
    "nodes": [{"metadata": {"name": "k8s01"}, "status": {"nodeInfo": {"machineID": "1" * 32}}}],
    "daemonsets": [DAEMONSET],
}
NODE = {
    "schema": "podnet.doctor/node/1",
    "identity": {"machine_id": "1" * 32, "python": "3.11.2", "hostname": "k8s01"},
    "bird": {"ipv4": {"version": "1.6.8"}},
}


class HostVars:
    """As Ansible's: templating is what must not happen."""

    def __init__(self, values: dict[str, dict[str, Any]]) -> None:
        self._values = values

    def raw_get(self, host: str) -> dict[str, Any]:
        return self._values[host]

    def __getitem__(self, host: str) -> dict[str, Any]:
        raise LookupError("would template what a node said")


def variables(**hosts: dict[str, Any]) -> dict[str, Any]:
    return {
        "hostvars": HostVars(hosts),
        "groups": {"all": list(hosts)},
        "ansible_play_hosts_all": list(hosts)[:2],
        "ansible_play_batch": list(hosts)[:1],
    }


ANSWERS = {"preflight_ssh": {"rc": 0}, "preflight_root": {"stdout": "0"}, "preflight_node": {"packed": pack(NODE)}}


def test_hosts_are_read_raw_and_unpacked() -> None:
    found = preflight.hosts(variables(k8s01=ANSWERS, k8s02={}, k8s03={}), CLUSTER, serial=False)
    first, second, third = found
    assert (first.name, first.node, first.asked) == ("k8s01", "k8s01", True)
    assert first.document is not None and first.document["identity"]["python"] == "3.11.2"
    assert (second.document, second.node, second.asked) == (None, None, True)
    assert third.asked is False


def test_with_serial_only_the_batch_counts() -> None:
    later = {**ANSWERS, "preflight_node": {"packed": "cut off"}}
    found = preflight.hosts(variables(k8s01=ANSWERS, k8s02={}, k8s03=later), CLUSTER, serial=True)
    assert [host.asked for host in found] == [True, False, True]  # the third was asked in an earlier batch
    assert found[2].document is None


def test_skipped_results_are_none_and_unreadable_nodes_are_no_names() -> None:
    found = preflight.hosts(variables(k8s01={"preflight_root": {"skipped": True}}), {**CLUSTER, "nodes": {"error": "Forbidden"}}, serial=False)
    assert found[0].become == {} and found[0].node is None


@pytest.mark.parametrize(
    ("calico", "groups"), [("crd.projectcalico.org/v1", "crd.projectcalico.org"), ("projectcalico.org/v3", "projectcalico.org"), (None, None)]
)
def test_rights_follow_what_is_read(calico: str | None, groups: str | None) -> None:
    rights = preflight.needed({**CLUSTER, "calico_api": calico})
    assert {"verb": "list", "resource": "daemonsets", "group": "apps"} in rights
    assert {"verb": "list", "resource": "nodes", "group": ""} in rights
    assert ({"verb": "list", "resource": "ippools", "group": groups} in rights) is (groups is not None)
    assert [right["namespace"] for right in rights if right.get("optional") == "restart calico-node"] == ["calico-system"]
    of_objects = [(right["verb"], right["resource"]) for right in rights if str(right.get("optional")).endswith("(R3)")]
    of_calico = [("delete", "blockaffinities"), ("create", "ippools"), ("patch", "felixconfigurations")]
    assert of_objects == [("patch", "nodes"), *(of_calico if calico else []), ("patch", "daemonsets")]
    operated = {**DAEMONSET, "metadata": {**DAEMONSET["metadata"], "ownerReferences": [{"kind": "Installation"}]}}
    made = preflight.needed({**CLUSTER, "daemonsets": [operated]})
    assert {"verb": "patch", "resource": "installations", "group": "operator.tigera.io", "optional": "change the address autodetection (R3)"} in made
    unread = preflight.needed({**CLUSTER, "calico_api": calico, "daemonsets": {"error": "Forbidden"}})
    assert not any(right.get("optional") == "restart calico-node" for right in unread)


@pytest.mark.parametrize(("answer", "needed"), [([], True), ({"error": "403: Forbidden"}, True), ({"error": "404", "reason": "absent"}, False), (None, False)])
def test_rights_for_policies_of_the_administrator_are_needed_where_they_are_served(answer: Any, needed: bool) -> None:
    rights = preflight.needed({**CLUSTER, **({} if answer is None else {"clusternetworkpolicies": answer})})
    assert ({"verb": "list", "resource": "clusternetworkpolicies", "group": "policy.networking.k8s.io"} in rights) is needed


def test_a_review_that_fails_is_not_a_missing_right() -> None:
    def review(verb: str, resource: str, group: str, namespace: str) -> tuple[bool, str]:
        if resource == "nodes":
            raise preflight._kube.ApiError("reviews are forbidden", 403)
        return resource == "pods", ""

    api: Any = SimpleNamespace(access_review=review)
    rights = {right["resource"]: right for right in preflight.rights_of(api, CLUSTER)}
    assert rights["nodes"]["allowed"] is None and rights["nodes"]["error"] == "reviews are forbidden"
    assert rights["pods"]["allowed"] is True and rights["ippools"]["allowed"] is False


def test_no_api_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K8S_AUTH_KUBECONFIG", raising=False)
    document, failure, rights = preflight.ask_api({"timeout": 1, "kubeconfig": "/nonexistent/config"})
    assert document is None and rights == [] and "/nonexistent/config" in failure["msg"]
    monkeypatch.setattr(preflight._kube, "read_cluster", lambda *args, **more: {"reachable": False, "error": "connection refused"})
    document, failure, rights = preflight.ask_api({"timeout": 1})
    assert document is None and failure == {"msg": "connection refused"}


def test_serial_is_found_in_the_play() -> None:
    play = SimpleNamespace(serial=[1])
    task = SimpleNamespace(_parent=SimpleNamespace(_play=None, _parent=SimpleNamespace(_play=play)))
    assert preflight.in_batches(task) is True
    play.serial = []
    assert preflight.in_batches(task) is False
    assert preflight.in_batches(SimpleNamespace()) is False
