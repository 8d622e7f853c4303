# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The incident of the stray interface, seen by halves: the API stopped, hanging, refusing, slow, cut off; nodes without SSH."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal

import pytest
import yaml

from lab import processes
from lab.faults import find
from tests.integration.broken_api import through
from tests.integration.conftest import Site

CAUSE = ("node_ip_wrong_nic", "k8s02")
PATIENCE = {"podnet_timeout": 6, "podnet_patience": 9}


@pytest.fixture(scope="module")
def broken(running, tmp_path_factory):
    lab = running.healthy()
    fault = find("node_ip_wrong_nic")
    fault.inject(lab)
    yield Site(lab, tmp_path_factory.mktemp("half"))
    if running.up:
        fault.heal(lab)


def named(report):
    return [(cause["id"], cause["node"]) for cause in report["verdict"]["causes"]]


def alone(run):
    """Named from the nodes alone, and nothing that only the API could prove."""
    assert run.code == 0, run.screen
    assert named(run.report)[:1] == [CAUSE], run.screen
    assert run.report["verdict"]["outcome"] == "broken"
    assert run.report["verdict"]["causes"][0]["confidence"] != "certain"
    assert {remedy["class"] for remedy in run.report["verdict"]["causes"][0]["remedies"]} == {"R0"}
    assert run.report["api"]["error"] and "Judged from the nodes alone" in " ".join(run.screen.split())
    assert "kubernetes.api" in {entry["check"] for entry in run.report["not_checked"]}


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def daemons(lab, node):
    """All of a node's sshd: the one that listens and those of open connections."""
    return [p.pid for p in processes.of_node(lab.node(node).pid) if p.arguments[0].startswith(("/usr/sbin/sshd", "sshd:"))]


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("401", "Renew the credentials"), pytest.param("403", "docs/clusterrole.yml", marks=pytest.mark.thorough),
        ("cut", "See whether its address is reached"),
    ],
)  # fmt: skip
def test_an_api_that_refuses_or_cuts_its_lists_off(broken, way, said):
    with through(broken.lab, way, broken.folder) as kubeconfig:
        run = broken.diagnose(kubeconfig=str(kubeconfig))
    alone(run)
    assert said in run.screen


def test_a_pair_as_addresses(broken):
    ends = [broken.lab.pod(name).address for name in ("shop/web-0", "shop/api-0")]
    with through(broken.lab, "403", broken.folder) as kubeconfig:
        run = broken.diagnose(*ends, kubeconfig=str(kubeconfig))
    alone(run)
    assert [run.report["question"][end]["name"] for end in ("source", "destination")] == ["web-0", "api-0"]


def test_a_pod_that_nobody_knows(broken):
    with through(broken.lab, "403", broken.folder) as kubeconfig:
        run = broken.diagnose("shop/web-9", kubeconfig=str(kubeconfig))
    assert run.code == 2 and not run.reports
    assert "is silent" in run.screen and "the nodes that answered do not tell" in run.screen


def test_an_audit_without_the_api(broken):
    with through(broken.lab, "401", broken.folder) as kubeconfig:
        run = broken.play("podnet.doctor.audit", kubeconfig=str(kubeconfig))
    alone(run)
    assert run.report["question"] is None


def test_a_slow_api(broken):
    """5 s a call: what came in time counts, whatever did not is said."""
    with through(broken.lab, "slow", broken.folder) as kubeconfig:
        run = broken.diagnose(kubeconfig=str(kubeconfig), podnet_timeout=20)
    assert run.code == 0, run.screen
    assert named(run.report)[:1] == [CAUSE] and run.report["verdict"]["outcome"] == "broken"


def test_an_api_that_hangs(broken):
    with stopped(broken.lab.description.pids["api"]):
        run = broken.diagnose(**PATIENCE)
    alone(run)


def switched_off(lab, node):
    """No process is left there, and its NIC answers nobody."""
    lab.run(node, "ip", "link", "set", "eth0", "down")
    processes.end([process.pid for process in processes.of_node(lab.node(node).pid)])


def missing(run, sentence):
    """k8s03 was not seen, which one sentence says; the cause is named from the others."""
    assert run.code == 0, run.screen
    assert named(run.report)[:1] == [CAUSE] and run.report["verdict"]["outcome"] == "broken"
    (entry,) = (one for one in run.report["not_checked"] if one["node"] == "k8s03" and one["check"] == "everything")
    assert entry["reason"].startswith("k8s03 ") and sentence in entry["reason"]
    assert {row["node"]: row["seen"] for row in run.report["audit"]["nodes"]} == {"k8s01": True, "k8s02": True, "k8s03": False}


def test_a_hung_sshd(broken):
    with stopped(*daemons(broken.lab, "k8s03")):
        run = broken.play("podnet.doctor.audit", podnet_exec=False, **PATIENCE)
    missing(run, "k8s03 ")


def indirect(run, by):
    """The broken node was not asked itself, and its cause is named all the same, not for certain and with nothing that could be done from here."""
    assert run.code == 0, run.screen
    assert named(run.report)[:1] == [CAUSE] and run.report["verdict"]["outcome"] != "healthy", run.screen
    cause = run.report["verdict"]["causes"][0]
    assert cause["confidence"] != "certain" and {remedy["class"] for remedy in cause["remedies"]} == {"R0"}
    (entry,) = (one for one in run.report["collected"] if one.get("via"))
    assert entry["node"] == "k8s02" and entry["via"]["by"] == by and entry["via"]["because"]
    assert "INDIRECT" in run.screen and "nothing of it is certain" in " ".join(run.screen.split())


@pytest.mark.parametrize("play", ["podnet.doctor.diagnose", pytest.param("podnet.doctor.audit", marks=pytest.mark.thorough)])
def test_a_node_without_ssh_is_read_through_its_container(broken, play):
    if broken.lab.description.api != "real":
        pytest.skip("needs the real API server: the emulator runs no commands")
    ends = {"source": "shop/web-0", "destination": "shop/api-0:8080"} if play.endswith("diagnose") else {}
    with stopped(*daemons(broken.lab, "k8s02")):
        run = broken.play(play, **ends, **PATIENCE)
    indirect(run, "calico-node")
    assert [link for link in run.report["findings"] if link["node"] == "k8s02" and link["check"] == "node.address.wrong"]


def test_a_node_without_ssh_of_which_a_calico_node_status_tells(broken):
    """The lab's calico-node fills in no status, so the test does, in the form of its documentation."""
    moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    peers = [{"peerIP": f"10.2.7.20{number}", "type": "NodeMesh", "state": "Connect", "since": moment} for number in (1, 3)]
    status = {"lastUpdated": moment, "agent": {"birdV4": {"state": "Ready", "version": "v1", "routerID": "192.188.1.1"}}, "bgp": {"peersV4": peers}}
    body = {
        "apiVersion": "crd.projectcalico.org/v1", "kind": "CalicoNodeStatus", "metadata": {"name": "k8s02"},
        "spec": {"node": "k8s02", "classes": ["Agent", "BGP"], "updatePeriodSeconds": 60}, "status": status,
    }  # fmt: skip
    broken.lab.client.create("caliconodestatuses", body)
    try:
        with stopped(*daemons(broken.lab, "k8s02")):
            run = broken.play("podnet.doctor.audit", podnet_exec=False, **PATIENCE)
    finally:
        broken.lab.client.delete("caliconodestatuses", "k8s02")
    indirect(run, "CalicoNodeStatus")
    assert [f for f in run.report["findings"] if f["node"] == "k8s02" and f["check"] == "bgp.session.down"]


def test_a_refused_key(broken):
    key = broken.folder / "other_key"
    broken.lab.run("k8s01", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    inventory = yaml.safe_load(broken.inventory.read_text())
    other = {"ansible_ssh_private_key_file": str(key), "ansible_control_path_dir": str(broken.folder / "cp")}
    inventory["nodes"]["hosts"]["k8s03"].update(other)
    partial = Site(broken.lab, broken.folder)
    partial.inventory = broken.folder / "inventory.yml"
    partial.inventory.write_text(yaml.safe_dump(inventory))
    missing(partial.play("podnet.doctor.audit", podnet_exec=False), "is unreachable")


def test_sshd_stopped_and_at_last_the_api(broken, running):
    """What cannot be started again comes last."""
    processes.end(daemons(broken.lab, "k8s03"))
    missing(broken.play("podnet.doctor.audit", podnet_exec=False), "is unreachable")
    switched_off(broken.lab, "k8s03")
    run = broken.play("podnet.doctor.audit", **PATIENCE)
    missing(run, "could not be read through" if broken.lab.description.api == "real" else "is unreachable")
    processes.end([broken.lab.description.pids["api"]])
    try:
        run = broken.diagnose()
        assert "kube-apiserver runs there" in run.screen
        alone(run)
        assert "k8s03 is unreachable" in " ".join(error["error"] for entry in run.report["collected"] for error in entry["errors"])
    finally:
        running.take_down()
