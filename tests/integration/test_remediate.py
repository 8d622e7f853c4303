# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repairs on the real kernel: nothing without approval, the smallest step, the proof, and a second run that changes nothing."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import select
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from lab.api.client import ApiError
from lab.errors import LabError
from lab.faults.steps import switch_drops
from lab.plan import GATEWAY
from tests.integration.broken_api import through
from tests.remedies import object_repair

ROOT = pathlib.Path(__file__).resolve().parents[2]


@contextmanager
def broken(lab, name):
    from lab.faults import find

    fault = find(name)
    fault.inject(lab)
    try:
        yield fault
    finally:
        fault.heal(lab)


def ends(fault):
    source, destination, port = fault.question
    return source, f"{destination}:{port}"


def plan_of(site):
    plans = sorted((site.folder / "reports").glob("plan-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(plans[-1].read_text())


def trail_of(site):
    trails = sorted((site.folder / "reports").glob("trail-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line) for line in trails[-1].read_text().splitlines()]


def test_a_policy_approves_or_says_why_not(site, lab):
    """And while the first cause is repaired another one comes: partly repaired, named, and repaired by the next run."""
    with broken(lab, "proxy_arp_or_forwarding_cleared.ip_forward") as fault:
        refused = site.remediate(*ends(fault), podnet_auto_approve={"classes": ["R1"], "not_nodes": ["k8s01", "k8s02", "k8s03"]})
        assert refused.code == 2 and "does not approve repairs on" in " ".join(refused.screen.split())
        assert [event["event"] for event in trail_of(site)] == ["plan"]
        hardening = "/etc/sysctl.d/99-hardening.conf"
        (here,) = {lab.pod(pod).node for pod in fault.question[:2]} - {fault.node}
        alien = [lab.node(fault.node).block, "via", GATEWAY, "dev", "eth0", "proto", "static", "metric", "1024"]
        lab.run(fault.node, "sh", "-c", f"mkdir -p /etc/sysctl.d; echo net.ipv4.ip_forward=0 > {hardening}")

        def another(over):
            while lab.run(fault.node, "cat", "/proc/sys/net/ipv4/ip_forward").strip() != "1" and not over.wait(0.05):
                pass
            lab.run(here, "ip", "route", "replace", *alien)

        try:
            with beside(another):
                approved = site.remediate(*ends(fault), podnet_auto_approve=["R1"])
            assert "OUTCOME  PARTLY" in approved.screen and "now named: " in approved.screen, approved.screen
            assert f"it may come back: on {fault.node}, see {hardening}:1" in " ".join(approved.screen.split())
            assert trail_of(site)[1]["by"]["how"] == "policy"
            again = site.remediate(*ends(fault), podnet_auto_approve=["R1"])
            assert again.code == 0 and "OUTCOME  REPAIRED" in again.screen, again.screen
        finally:
            lab.run(fault.node, "rm", hardening)
            lab.run(here, "ip", "route", "del", *alien, check=False)
        wrong = site.remediate(*ends(fault), podnet_auto_approve=["R3"])
        assert "can be approved by nobody beforehand" in wrong.screen


def test_two_at_once_are_kept_apart(site, lab):
    if lab.description.api != "real":
        pytest.skip("needs the real API server: the emulator has no leases")
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    spec = {"holderIdentity": "ann at ops01, plan 0123456789ab", "leaseDurationSeconds": 900, "renewTime": moment}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "podnet-doctor"}, "spec": spec}
    with broken(lab, "proxy_arp_or_forwarding_cleared.ip_forward") as fault:
        with suppress(ApiError):  # what an earlier remediation gave back
            lab.client.request("DELETE", f"{path}/podnet-doctor")
        lab.client.request("POST", path, lease)
        try:
            second = site.remediate(*ends(fault), podnet_auto_approve=["R1"])
            assert second.code == 2 and "ann at ops01, plan 0123456789ab repairs this cluster now" in " ".join(second.screen.split())
            assert [event["event"] for event in trail_of(site)] == ["plan", "approval"], "nothing was done"
        finally:
            lab.client.request("DELETE", f"{path}/podnet-doctor")
        alone = site.remediate(*ends(fault), podnet_auto_approve=["R1"])
        assert alone.code == 0 and "OUTCOME  REPAIRED" in alone.screen
        assert lab.client.request("GET", f"{path}/podnet-doctor")["spec"]["holderIdentity"] == "", "it was given back"


def test_check_mode_shows_the_change_and_an_approval_is_for_one_plan(site, lab):
    """tests/integration/test_incident.py carries this plan out."""
    with broken(lab, "node_ip_wrong_nic") as fault:
        checked = site.remediate(*ends(fault), "--check", "--diff")
        assert checked.code == 0
        assert "nothing will be changed" in checked.screen
        assert "-192.188.1.1/24 dev br0" in checked.screen
        plan = plan_of(site)
        assert [action["remedy"] for action in plan["actions"]] == ["delete_address", "restart_calico_node"]
        assert plan["actions"][0]["class"] == "R1"
        assert plan["actions"][0]["way_back"]

        another = site.remediate(*ends(fault), podnet_approve="0123456789ab")
        assert another.code == 2
        assert "the approval is for plan 0123456789ab" in another.screen and plan_of(site)["id"] == plan["id"]
        assert lab.address("k8s02") == "192.188.1.1/24" and "192.188.1.1" in lab.run("k8s02", "ip", "addr")


def test_calico_node_is_restarted_only_if_its_monitor_does_not_help(site, lab):
    """The address monitor hangs: the address is gone, nobody corrects the annotation, and the second step comes."""
    with broken(lab, "node_ip_wrong_nic") as fault:
        calico_node = lab.calico_pod("k8s02")
        os.kill(lab.process("k8s02", "calico-node -node-services"), signal.SIGSTOP)
        site.remediate(*ends(fault), "--check")
        run = site.remediate(*ends(fault), podnet_approve=plan_of(site)["id"])
        assert run.code == 0, run.screen
        assert lab.calico_pod("k8s02") != calico_node
        assert run.last["verdict"]["outcome"] == "healthy"


@pytest.mark.thorough
def test_at_once_does_not_wait_for_the_monitor(site, lab):
    """Only the plan: tests/remedies.py carries such plans out."""
    with broken(lab, "node_ip_wrong_nic") as fault:
        site.remediate(*ends(fault), "--check", podnet_at_once=True)
        plan = plan_of(site)
        assert [action["wait_seconds"] for action in plan["actions"]] == [0, 120]


@contextmanager
def beside(act):
    """Something that goes on while a playbook runs."""
    over = threading.Event()
    thread = threading.Thread(target=act, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def guards(lab, node):
    return [line for line in lab.run(node, "cat", "/proc/net/unix").splitlines() if "@podnet-doctor-" in line]


def test_a_node_that_is_cut_off_takes_the_change_back(site, lab):
    """SSH breaks right after the change: nobody confirms it, and the node undoes it by itself."""
    seen = []
    with broken(lab, "proxy_arp_or_forwarding_cleared.ip_forward") as fault:
        value = ["cat", "/proc/sys/net/ipv4/ip_forward"]

        def cut(over):
            for wanted in ("1", "0"):
                while lab.run(fault.node, *value).strip() != wanted and not over.wait(0.05):
                    pass
                seen.append(lab.run(fault.node, *value).strip())
                if wanted == "1":
                    lab.run(fault.node, "pkill", "-KILL", "sshd")  # in the node's own namespaces
            lab.run(fault.node, "/usr/sbin/sshd", "-f", str(lab.folder / "ssh" / f"{fault.node}_sshd"))

        with beside(cut):
            run = site.remediate(*ends(fault), podnet_auto_approve=["R1"], podnet_guard=1)
        assert seen == ["1", "0"], run.screen
        assert run.code == 2 and "STOPPED" in run.screen and "it takes back by itself within" in " ".join(run.screen.split()), run.screen
        assert "OUTCOME  NOT REPAIRED" in run.screen
        assert not guards(lab, fault.node), "nothing is left"
        assert trail_of(site)[-1]["trouble"]


def test_what_did_not_help_is_taken_back(site, lab):
    """Somebody adds the route again as soon as it is deleted: the cause is still there, and everything is as before."""
    with broken(lab, "remote_block_route_missing_bird_has_it.alien") as fault:
        before = routes_of(lab, fault.node)
        (line,) = [route for route in before if "proto static" in route]

        def again(over):
            while not over.wait(0.02):
                if line not in routes_of(lab, fault.node):
                    lab.run(fault.node, "ip", "route", "replace", *line.split(), check=False)

        with beside(again):
            run = site.remediate(*ends(fault), podnet_auto_approve=["R1"])
        assert run.code == 2 and "OUTCOME  NOT REPAIRED" in run.screen, run.screen
        assert f"taken on {fault.node}: ip route add" in " ".join(run.screen.split())
        assert routes_of(lab, fault.node) == before and not guards(lab, fault.node)
        assert [event["event"] for event in trail_of(site)][-2:] == ["outcome", "back"]


def planned(site):
    return list((site.folder / "reports").glob("plan-*.json"))


def test_nothing_is_restarted_that_would_come_back_wrong_by_now(site, lab):
    """A stray address comes after the plan was made: the step looks again, and leaves calico-node alone."""
    with broken(lab, "bird_down_or_config_rejected.killed") as fault:
        calico_node = lab.calico_pod(fault.node)

        def stray(over):
            while not planned(site) and not over.wait(0.05):
                pass
            lab.run(fault.node, "ip", "link", "add", "br7", "type", "bridge")
            lab.run(fault.node, "ip", "addr", "add", "192.188.7.1/24", "dev", "br7")

        try:
            with beside(stray):
                run = site.remediate(*ends(fault), podnet_auto_approve=["R2"])
        finally:
            lab.run(fault.node, "ip", "link", "del", "br7")
        said = " ".join(run.screen.split())
        assert run.code == 2 and "STOPPED" in run.screen and "would choose 192.188.7.1" in said, run.screen
        assert lab.calico_pod(fault.node) == calico_node


def test_an_interface_that_comes_back(site, lab):
    """Somebody makes br0 and its address again as soon as they are gone: nothing is restarted into the wrong address, and the screen says so."""
    with broken(lab, "node_ip_wrong_nic") as fault:
        calico_node = lab.calico_pod(fault.node)

        def again(over):
            while not over.wait(0.02):
                if "br0" not in lab.run(fault.node, "ip", "-br", "link"):
                    lab.run(fault.node, "ip", "link", "add", "br0", "type", "bridge", check=False)
                    lab.run(fault.node, "ip", "addr", "add", "192.188.1.1/24", "dev", "br0", check=False)
                    made.append("br0")

        made = []
        with beside(again):
            run = site.remediate(*ends(fault), podnet_auto_approve=["R2"], podnet_delete_interface=True, podnet_at_once=True)
        said = " ".join(run.screen.split())
        assert made and run.code == 2, run.screen
        assert "STOPPED" in run.screen and "would choose 192.188.1.1" in said and "OUTCOME  NOT REPAIRED" in run.screen, run.screen
        assert run.last["verdict"]["causes"][0]["id"] == "node_ip_wrong_nic"
        assert lab.calico_pod(fault.node) == calico_node, "it was not restarted"


def test_calico_node_that_comes_back_with_another_address(site, lab):
    """A stray address comes while calico-node restarts, after all that could be looked at: the outcome names it, and the next run repairs that, too."""
    with broken(lab, "bird_down_or_config_rejected.killed") as fault:
        calico_node = lab.process(fault.node, "runsvdir")

        def stray(over):
            while lab.process(fault.node, "runsvdir") == calico_node and not over.wait(0.01):
                pass
            lab.run(fault.node, "ip", "link", "add", "br7", "type", "bridge", check=False)
            lab.run(fault.node, "ip", "addr", "add", "192.188.7.1/24", "dev", "br7", check=False)

        try:
            with beside(stray):
                run = site.remediate(*ends(fault), podnet_auto_approve=["R2"], podnet_restart_wait=10)
            said = " ".join(run.screen.split())
            assert lab.address(fault.node) == "192.188.7.1/24", run.screen
            assert run.code == 2 and "OUTCOME  PARTLY" in run.screen and f"now named: node_ip_wrong_nic on {fault.node}" in said, run.screen
            again = site.remediate(*ends(fault), podnet_auto_approve=["R1", "R2"], podnet_at_once=True)
            assert again.code == 0 and "OUTCOME  REPAIRED" in again.screen, again.screen
        finally:
            lab.run(fault.node, "ip", "link", "del", "br7", check=False)


def test_node_by_node_ends_at_the_first_that_does_not_come_back(site, lab):
    """BIRD of k8s02 does not start any more: k8s01 was restarted, k8s02 is named, k8s03 is left alone."""
    before = {node.name: lab.calico_pod(node.name) for node in lab.nodes}

    program = os.path.realpath(shutil.which("bird", path="/usr/sbin:/usr/bin"))
    lab.run("k8s02", "mount", "--bind", "/bin/false", program)  # what runs goes on
    try:
        run = site.remediate("shop/web-0", "shop/web-1:8080", podnet_auto_approve=["R2"], podnet_restart_all=True, podnet_restart_wait=30)
        changed = [node.name for node in lab.nodes if lab.calico_pod(node.name) != before[node.name]]
        said = " ".join(run.screen.split())
        assert run.code == 2 and changed == ["k8s01", "k8s02"], run.screen
        assert "STOPPED" in run.screen and "restart calico-node on k8s02: k8s02 did not come back as it must within 30 s" in said, run.screen
        assert "OUTCOME  NOT REPAIRED" in run.screen
    finally:
        lab.run("k8s02", "umount", program)
        lab.restart_calico("k8s02")


def test_node_by_node_ends_where_only_packets_show_that_a_node_is_not_back(site, lab):
    """The network drops IP-in-IP of k8s02 from its restart on: its sessions, routes and settings are all right."""
    before = {node.name: lab.calico_pod(node.name) for node in lab.nodes}
    restarted, over = threading.Event(), threading.Event()

    def without_tunnel(ended):
        while not ended.wait(0.05):
            with suppress(LabError, ApiError):
                if lab.calico_pod("k8s02") != before["k8s02"]:
                    break
        else:
            return
        with switch_drops(lab, f"ip saddr {lab.node('k8s02').address} ip protocol 4"):
            restarted.set()
            over.wait()

    dropping = threading.Thread(target=without_tunnel, args=(over,))
    dropping.start()
    try:
        run = site.remediate("shop/web-0", "shop/web-2:8080", podnet_auto_approve=["R2"], podnet_restart_all=True, podnet_restart_wait=30)
    finally:
        over.set()
        dropping.join()
    changed = [node.name for node in lab.nodes if lab.calico_pod(node.name) != before[node.name]]
    said = " ".join(run.screen.split())
    assert restarted.is_set() and run.code == 2 and changed == ["k8s01", "k8s02"], run.screen
    assert "STOPPED" in run.screen and "k8s02 did not come back as it must within 30 s: no answer any more: node/k8s02 > " in said, run.screen
    steps = [event for event in trail_of(site) if event["event"] == "step"]
    assert "shop/web-0 > shop/web-2 tcp/8080" in steps[0]["results"]["before"]["answered"]


def routes_of(lab, node):
    return sorted(" ".join(line.split()) for line in lab.run(node, "ip", "-4", "route", "show").splitlines())


def test_a_setting_is_repaired_without_the_api(site, lab):
    """Nobody answers where the kubeconfig says: one kernel alone shows what is wrong, and takes it back if that is not confirmed."""
    with broken(lab, "proxy_arp_or_forwarding_cleared.ip_forward") as fault, through(lab, "cut", site.folder) as kubeconfig:
        run = site.remediate(*ends(fault), podnet_auto_approve=["R1"], kubeconfig=str(kubeconfig), podnet_timeout=6)
        said = " ".join(run.screen.split())
        assert lab.run(fault.node, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1", run.screen
        assert "only because: net.ipv4.ip_forward is 0; the Kubernetes API is silent" in said, run.screen
        assert "cannot be kept apart, as the Kubernetes API is silent" in said, run.screen
        assert "not verified: what only the Kubernetes API knows, as it is silent" in said, run.screen
        assert trail_of(site)[-1]["event"] == "outcome" and trail_of(site)[-1]["left"] == []
        assert not guards(lab, fault.node)


def test_a_bird_that_hangs_is_restarted_without_the_api(site, lab):
    with broken(lab, "bird_down_or_config_rejected.hung") as fault, through(lab, "cut", site.folder) as kubeconfig:
        before = lab.process(fault.node, "bird -R")
        calico_node = lab.calico_pod(fault.node)
        run = site.remediate(*ends(fault), podnet_auto_approve=["R2"], kubeconfig=str(kubeconfig), podnet_timeout=12)
        assert [action["remedy"] for action in plan_of(site)["actions"]] == ["restart_bird"], run.screen
        assert "does not answer; runit started bird; the Kubernetes API is silent" in " ".join(run.screen.split()), run.screen
        assert lab.process(fault.node, "bird -R") not in (0, before) and lab.calico_pod(fault.node) == calico_node, run.screen
        assert all(session.established for session in lab.sessions(fault.node)) and lab.sessions(fault.node), run.screen
        assert trail_of(site)[-1]["event"] == "outcome" and trail_of(site)[-1]["left"] == []


def test_it_asks_on_a_terminal(site, lab):
    with broken(lab, "proxy_arp_or_forwarding_cleared.ip_forward") as fault:
        source, destination = ends(fault)
        for answer, code, value in (("no", 2, "0"), ("yes", 0, "1")):
            ended, screen = on_a_terminal(site, source, destination, answer)
            assert ended == code, screen
            assert "Carry out plan" in screen
            assert lab.run(fault.node, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == value


def on_a_terminal(site, source, destination, answer):
    """The playbook with a terminal of its own, and somebody who types."""
    command = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "podnet.doctor.remediate", "-i", str(site.inventory), "-e",
        json.dumps({"source": source, "destination": destination, "podnet_report_dir": str(site.folder / "reports")}),
    ]  # fmt: skip
    environment = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
        "KUBECONFIG": str(site.kubeconfig),
    }  # fmt: skip
    child, terminal = pty.fork()
    if child == 0:
        os.execve(command[0], command, environment)
    seen, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        ready = select.select([terminal], [], [], 1.0)[0]
        if not ready and b"Carry out plan" in seen:
            os.write(terminal, answer.encode() + b"\r")  # again if need be: the prompt throws away what was typed before it
        try:
            part = os.read(terminal, 4096) if ready else b" "
        except OSError:
            break
        if not part:
            break
        seen += part
    else:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode(errors="replace")


@pytest.mark.thorough
def test_the_interface_is_deleted_only_with_its_own_flag(site, lab):
    """That it is, and that packets cross then, tests/remedies.py proves."""
    with broken(lab, "node_ip_wrong_nic") as fault:
        site.remediate(*ends(fault), "--check", podnet_delete_interface=True)
        action = plan_of(site)["actions"][0]
        assert (action["remedy"], action["class"]) == ("delete_link", "R2")
        assert "br0" in lab.run("k8s02", "ip", "-br", "link")


def test_what_cannot_be_repaired_safely_is_advice(site, lab):
    with broken(lab, "bgp_tcp179_blocked") as fault:
        run = site.remediate(*ends(fault), podnet_auto_approve=["R1", "R2"])
        assert run.code == 0
        assert "nothing to do by itself" in run.screen
        assert "TCP 179" in run.screen


def test_a_restart_that_would_come_back_wrong_is_refused(site, lab):
    """BIRD is dead and a stray address waits for the next autodetection: restarting would take it."""
    with broken(lab, "bird_down_or_config_rejected.killed") as fault:
        lab.run("k8s02", "ip", "link", "add", "br7", "type", "bridge")
        try:
            lab.run("k8s02", "ip", "addr", "add", "192.188.7.1/24", "dev", "br7")
            run = site.remediate(*ends(fault), "--check")
            refused = [entry["reason"] for entry in plan_of(site)["refused"]]
            named = [cause["id"] for cause in run.last["verdict"]["causes"]]
            assert named[0] == "node_ip_wrong_nic" or any("would choose 192.188.7.1" in reason for reason in refused), (named, refused)
        finally:
            lab.run("k8s02", "ip", "link", "del", "br7")
            lab.restart_calico("k8s02")


@pytest.mark.thorough
def test_kube_controllers_are_restarted(site, lab):
    old = [pod["metadata"]["uid"] for pod in lab.client.list("pods", "kube-system") if pod["metadata"]["name"].startswith("calico-kube-controllers")]
    play = site.folder / "restart.yml"
    play.write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - podnet.doctor.component_restart: {component: kube-controllers}\n      register: done\n"
        "    - ansible.builtin.assert: {that: done is changed}\n"
    )
    run = site.play(play, "-e", "ansible_connection=local")
    assert run.code == 0, run.screen
    new = [pod["metadata"]["uid"] for pod in lab.client.list("pods", "kube-system") if pod["metadata"]["name"].startswith("calico-kube-controllers")]
    assert new and not set(new) & set(old)


def test_the_autodetection_is_set_for_all_nodes_and_taken_back(lab):
    """Every calico-node pod is made again, and is available when the module ends; a second run changes nothing."""
    agent = lab.description.calico.agent

    def environment():
        return lab.client.get("daemonsets", agent.name, agent.namespace)["spec"]["template"]["spec"]["containers"][0]["env"]

    def pods():
        return {lab.calico_pod(node.name) for node in lab.nodes}

    first, before, params = pods(), environment(), {"namespace": agent.namespace, "was": "first-found"}
    done = object_repair(lab, "set_autodetection", params)
    try:
        second = pods()
        assert done["changed"] and not first & second and {"name": "IP_AUTODETECTION_METHOD", "value": "kubernetes-internal-ip"} in environment()
        assert not object_repair(lab, "set_autodetection", params)["changed"] and pods() == second
    finally:
        object_repair(lab, "take_back", {"steps": done["back"]})
    assert environment() == before and not pods() & second


def test_an_update_of_calico_node_stops_at_a_node_that_does_not_come_back(lab):
    """BIRD of the first node does not start any more: the module says how far it is, the other nodes keep their pods, and the way back repairs the first."""
    before = {node.name: lab.calico_pod(node.name) for node in lab.nodes}
    params = {"namespace": lab.description.calico.agent.namespace, "was": "first-found"}

    def changed():
        return [name for name, pod in before.items() if lab.calico_pod(name) != pod]

    def without_bird(over):
        while not over.wait(0.05):
            with suppress(LabError, ApiError, ProcessLookupError):
                for name in changed()[:1]:
                    if lab.calico_pod(name) == failing.setdefault(name, lab.calico_pod(name)) and lab.process(name, "bird -R"):
                        os.kill(lab.process(name, "bird -R"), signal.SIGKILL)

    failing = {}
    with beside(without_bird):
        failed = object_repair(lab, "set_autodetection", params, fails=True, wait_seconds=10)
        stopped = changed()
        taken = object_repair(lab, "take_back", {"steps": failed["back"]})
    assert "it was changed, but after 10 s 1 of 3 pods are new, 2 of 3 are available" in failed["msg"], failed
    assert len(stopped) == 1 and taken["changed"] and changed() == stopped
    lab.wait_healthy(30)
