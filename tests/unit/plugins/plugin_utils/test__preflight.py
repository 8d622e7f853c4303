# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _preflight
from ansible_collections.podnet.doctor.plugins.plugin_utils._preflight import Host

UUID = "11111111-2222-3333-4444-55555555555"


def document(number: int, **more: Any) -> dict[str, Any]:
    identity = {"hostname": f"k8s0{number}", "machine_id": f"{number}" * 32, "system_uuid": f"{UUID}{number}", "python": "3.11.2"}
    return {"identity": identity, "bird": {"ipv4": {"version": "1.6.8"}, "ipv6": {"error": "no socket"}}, **more}


def host(number: int, **more: Any) -> Host:
    settings: dict[str, Any] = {"ssh": {"rc": 0}, "become": {"rc": 0, "stdout": "0\r\n"}, "document": document(number), "node": f"k8s0{number}", **more}
    return Host(f"k8s0{number}", **settings)


def node(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"k8s0{number}"}, "status": {"nodeInfo": {"machineID": f"{number}" * 32, "systemUUID": f"{UUID}{number}".upper()}}}


def cluster(*numbers: int, **more: Any) -> dict[str, Any]:
    daemonset = {
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": []}]}}},
    }
    return {
        "schema": "podnet.doctor/cluster/1",
        "server": "https://10.0.0.1:6443",
        "version": {"gitVersion": "v1.34.4"},
        "calico_api": "crd.projectcalico.org/v1",
        "nodes": [node(number) for number in numbers],
        "daemonsets": [daemonset],
        **more,
    }


RIGHTS = [{"verb": "list", "group": "", "resource": "nodes", "allowed": True}]


def problems(result: _preflight.Result, name: str) -> list[str]:
    return [problem for line in result.lines if line.name == name for problem, _fix in line.problems]


def test_all_is_well() -> None:
    result = _preflight.check([host(2), host(1)], cluster(1, 2), {}, RIGHTS)
    assert result.ready
    assert result.screen == [
        "PREFLIGHT: 2 nodes and the API".ljust(75) + "READY",
        "API    ok      https://10.0.0.1:6443 v1.34.4, crd.projectcalico.org/v1, all 1",
        "               rights that a diagnosis needs",
        "k8s01  ok      ssh, root, python 3.11.2, bird 1.6.8, node k8s01",
        "k8s02  ok      ssh, root, python 3.11.2, bird 1.6.8, node k8s02",
    ]


@pytest.mark.parametrize(
    ("more", "problem", "fix"),
    [
        ({"ssh": {}}, "ssh: was not asked", "by hand"),
        ({"ssh": {"unreachable": True, "msg": "Failed to connect to the host via ssh: Hm\nssh: x port 22: Connection refused"}}, "refused", "sshd"),
        ({"ssh": {"unreachable": True, "msg": "root@x: Permission denied (publickey)."}}, "Permission denied", "key"),
        ({"ssh": {"unreachable": True, "msg": "Host key verification failed."}}, "Host key", "known_hosts"),
        ({"ssh": {"unreachable": True, "msg": "Could not resolve hostname x"}}, "resolve", "ansible_host"),
        ({"ssh": {"unreachable": True, "msg": "timed out"}}, "timed out", "firewall"),
        ({"ssh": {"unreachable": True}}, "no answer", "by hand"),
        ({"become": {"failed": True, "msg": "Missing sudo password"}}, "become: Missing sudo password", "--ask-become-pass"),
        ({"become": {"failed": True, "stderr": "admin is not in the sudoers file"}}, "sudoers", "sudoers"),
        ({"become": {"failed": True, "msg": "sudo: not found"}}, "not found", "install sudo"),
        ({"become": {"stdout": "1000"}}, "become: tasks run as uid 1000, not as root", "ansible_become: true"),
        ({"become": {}}, "become: no answer", "ansible_become"),
        ({"document": None, "facts": {"failed": True, "module_stderr": "/bin/sh: 1: python3: not found"}}, "python: there is none", "3.9"),
        ({"document": None, "facts": {"failed": True, "msg": "something else"}}, "node_info: something else", "-vvv"),
        ({"document": {**document(1), "identity": {"python": "3.8.1", "machine_id": "1" * 32}}}, "python: 3.8.1", "3.9"),
        ({"document": {**document(1), "identity": {"error": "denied"}}}, "identity: denied", "-v"),
        ({"document": {**document(1), "bird": {"ipv4": {"error": "no BIRD runs"}}}}, "bird: no BIRD runs", "calico-node"),
        ({"document": {**document(1), "bird": {"error": "deadline"}}}, "bird: deadline", "calico-node"),
        ({"document": document(9)}, "name: taken for node k8s01, which is another machine", "ansible_host"),
        ({"document": document(2)}, "name: taken for node k8s01, but its machine-id is that of k8s02", "podnet_node_name=k8s02"),
        ({"node": None}, "name: this is node k8s01, and nothing in the inventory says so", "podnet_node_name=k8s01"),
        ({"node": None, "document": document(9)}, "name: no node of the API is this host", "--limit"),
    ],
)
def test_each_trouble_has_its_sentence_and_its_fix(more: dict[str, Any], problem: str, fix: str) -> None:
    broken = host(1, **more)
    result = _preflight.check([broken, host(2)], cluster(1, 2), {}, RIGHTS)
    assert not result.ready
    line = next(line for line in result.lines if line.name == "k8s01")
    assert any(problem in what and fix in how for what, how in line.problems), line.problems
    assert problems(result, "k8s02") == []
    assert result.screen[0].endswith("NOT READY")
    assert result.screen[-1] == "1 of 3 not ready: k8s01"


def test_a_cluster_without_bgp_needs_no_bird() -> None:
    without = cluster(1)
    without["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"}]
    facts = document(1, bird={"ipv4": {"error": "no BIRD runs"}})
    assert _preflight.check([host(1, document=facts)], without, {}, RIGHTS).ready


def test_a_node_that_nobody_could_ask() -> None:
    result = _preflight.check([host(1)], cluster(1, 2), {}, RIGHTS)
    assert problems(result, "k8s02") == ["node of the API that no inventory host stands for"]


def test_cloned_machines_are_told_apart_by_the_inventory() -> None:
    both = cluster(1, 2)
    facts = [document(1), document(2)]
    for item in both["nodes"]:
        item["status"]["nodeInfo"] = {"machineID": "a" * 32}
    for fact in facts:
        fact["identity"].update(machine_id="a" * 32, system_uuid=None)
    result = _preflight.check([host(1, document=facts[0]), host(2, document=facts[1])], both, {}, RIGHTS)
    assert [line.node for line in result.lines] == [None, "k8s01", "k8s02"] and result.ready
    stranger = Host("stranger", {"rc": 0}, {"stdout": "0"}, document=facts[1])
    assert "no node of the API" in problems(_preflight.check([stranger], both, {}, RIGHTS), "stranger")[0]


def test_one_node_twice_in_the_inventory() -> None:
    twin = host(1, node=None)
    twin.name = "twin"
    result = _preflight.check([host(1), twin], cluster(1), {}, RIGHTS)
    assert any("twin are the same node k8s01" in problem for problem in problems(result, "k8s01"))


def test_what_limit_left_out_is_said_and_is_no_problem() -> None:
    result = _preflight.check([host(1), host(2, asked=False, ssh={})], cluster(1, 2), {}, RIGHTS)
    assert result.ready
    assert result.screen[0].startswith("PREFLIGHT: 1 node and the API")
    assert result.screen[-1] == "NOT CHECKED, outside of --limit or of this batch: k8s02"


def test_a_system_uuid_is_enough() -> None:
    facts = document(1)
    facts["identity"]["machine_id"] = None
    assert _preflight.check([host(1, document=facts)], cluster(1), {}, RIGHTS).ready


def test_a_node_without_identity_is_known_by_name_only() -> None:
    facts = document(1, identity={"python": "3.12.0", "hostname": "k8s01"})
    result = _preflight.check([host(1, document=facts)], cluster(1), {}, RIGHTS)
    assert result.ready and "node k8s01 (by name only)" in result.lines[1].well


def test_no_api() -> None:
    result = _preflight.check([host(1)], None, {"failed": True, "msg": "no kubeconfig"}, [])
    assert problems(result, "API") == ["no kubeconfig"]
    assert "name not checked" in result.lines[1].well
    assert problems(_preflight.check([], None, {}, []), "API") == ["was not asked"]


def test_missing_rights_are_named_once() -> None:
    rights = [
        *RIGHTS,
        {"verb": "list", "group": "crd.projectcalico.org", "resource": "ippools", "allowed": False},
        {"verb": "list", "group": "", "resource": "pods", "allowed": None, "error": "review forbidden"},
    ]
    document = cluster(1, ippools={"error": "Forbidden: ippools"}, tiers={"error": "boom"}, namespaces={"error": "not asked for"})
    result = _preflight.check([host(1)], document, {}, rights)
    assert problems(result, "API") == ["MISSING rights: list ippools.crd.projectcalico.org", "rights not checked: review forbidden", "tiers: boom"]


def test_what_an_api_does_not_serve_at_all_is_no_trouble() -> None:
    absent = {"error": "the API serves no clusternetworkpolicies (policy.networking.k8s.io)", "reason": "absent"}
    assert problems(_preflight.check([host(1)], cluster(1, clusternetworkpolicies=absent), {}, []), "API") == []
    broken = {"error": "the API answers with status 500"}
    assert problems(_preflight.check([host(1)], cluster(1, clusternetworkpolicies=broken), {}, []), "API")


def test_a_repair_is_optional() -> None:
    optional = {"verb": "delete", "group": "", "resource": "pods", "allowed": False, "optional": "restart calico-node"}
    result = _preflight.check([host(1)], cluster(1), {}, [*RIGHTS, optional])
    assert result.ready and result.lines[0].well[-1] == "may not restart calico-node"


def test_unreadable_nodes_are_not_a_mismatch() -> None:
    result = _preflight.check([host(1)], cluster(1, nodes={"error": "Forbidden"}), {}, RIGHTS)
    assert problems(result, "API") == ["nodes: Forbidden"] and problems(result, "k8s01") == []
