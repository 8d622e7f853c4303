# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A diagnosis leaves a node as it found it: configured state is compared before and after, and a dirty collector is caught by the same comparison."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import time

import pytest

from lab.processes import wait_for

COMMANDS = {
    "routes": ["ip", "-d", "route", "show", "table", "all"],
    "routes6": ["ip", "-6", "-d", "route", "show", "table", "all"],
    "rules": ["ip", "rule"],
    "links": ["ip", "-o", "-d", "link"],
    "addresses": ["ip", "-o", "addr"],
    "neighbours": ["ip", "-o", "neigh", "show", "nud", "permanent"],
    "ruleset": ["nft", "-s", "list", "ruleset"],
    "sysctls": ["sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6)\.(conf|ip_forward|neigh)"],
    "modules": ["cat", "/proc/modules"],
    "sockets": ["cat", "/proc/net/packet"],
    # /tmp is the machine's own in this lab, so only what Ansible and this collection would name so counts there
    "files": ["find", "/run", "/var", "/etc", "/root", "-xdev", "-newer", "MARKER", "-not", "-type", "d"],
    "temporary": ["find", "/tmp", "-maxdepth", "1", "-newer", "MARKER", "(", "-name", "ansible_*", "-o", "-name", "podnet-left*", ")"],
}
# written all the time by what runs there, and by other controllers on this machine
OWN = ("/.ansible/tmp/ansible-local-", "/log/", "/run/calico/", "/var/lib/calico/", "/.kube/", "/.cache/", "/.config/",
       "/AnsiballZ_component_restart.py", "/AnsiballZ_object_repair.py")  # fmt: skip
VOLATILE = ("stable_secret", "mtu_expires", "forwarding_expires")
TIMER = re.compile(r"\b\w+_timer +[0-9.]+")  # of a bridge and its ports: they run by themselves


def processes(lab, node):
    """Names of the node's long-lived processes; those of this very connection come and go."""
    lines = lab.run(node, "ps", "-eo", "comm=,args=").splitlines()
    return sorted({line for line in lines if not any(word in line for word in ("ps -eo", "sshd", "nsenter", "sh -c"))})


def state(lab, node, marker):
    found = {}
    for name, command in COMMANDS.items():
        text = lab.run(node, *[marker if word == "MARKER" else word for word in command], check=False)
        lines = [TIMER.sub("", line) for line in text.splitlines() if not any(word in line for word in VOLATILE)]
        if name == "files":
            lines = [line for line in lines if not any(word in line for word in OWN)]
        found[name] = sorted(lines)
    found["processes"] = processes(lab, node)
    return found


@pytest.fixture
def marker(site):
    path = pathlib.Path("/tmp") / f"podnet-marker-{site.folder.name}"
    path.write_text("")
    yield str(path)
    path.unlink()


def differences(before, after):
    """What has come or gone; of this machine's own folder only what has come, for others' files go, too."""
    found = {name: set(before[name]) ^ set(after[name]) for name in before}
    found["temporary"] = set(after["temporary"]) - set(before["temporary"])
    return {name: sorted(lines) for name, lines in found.items() if lines}


def what_stays(lab, node, marker, before, patience=15):
    """Differences that do not go away: what others do on this machine at the same time comes and goes, what is left behind stays."""
    end = time.monotonic() + patience
    stays = differences(before, state(lab, node, marker))
    while stays and time.monotonic() < end:
        found = differences(before, state(lab, node, marker))
        both = {name: sorted(set(lines) & set(found.get(name, ()))) for name, lines in stays.items()}
        stays = {name: lines for name, lines in both.items() if lines}
    return stays


def settle(site):
    site.diagnose()  # the first contact leaves Ansible's own ~/.ansible/tmp folder, which is Ansible's and empty


def test_a_diagnosis_changes_nothing(site, lab, marker):
    settle(site)
    before = {node.name: state(lab, node.name, marker) for node in lab.nodes}
    assert site.diagnose("shop/web-0", "shop/api-0:8080").code == 0
    for node in lab.nodes:
        assert what_stays(lab, node.name, marker, before[node.name]) == {}


PROBE = """
- hosts: k8s01,k8s02
  gather_facts: false
  tasks:
    - name: arm
      podnet.doctor.path_probe: {phase: arm, id: ID, limit: 12, trace: [{dst: 203.0.113.9}]}
    - name: fire
      podnet.doctor.path_probe: {phase: fire, id: ID, dst: 203.0.113.9, wait: 4, timeout: 8}
    - name: collect
      podnet.doctor.path_probe: {phase: collect, id: ID}
"""


def captures(lab, node):
    return lab.run(node, "ps", "-eo", "comm=").split().count("podnet-capture")


@pytest.mark.parametrize("stage", ["arm", *(pytest.param(stage, marks=pytest.mark.thorough) for stage in ("fire", "collect"))])
def test_a_probe_that_is_cut_off_leaves_nothing(site, lab, marker, stage):
    """The controller dies at every stage: the captures end by themselves."""
    settle(site)
    before = {node.name: state(lab, node.name, marker) for node in lab.nodes}
    play = site.folder / "probe.yml"
    play.write_text(PROBE.replace("ID", os.urandom(16).hex()))
    with site.started(play) as process:
        for line in process.stdout:
            if line.startswith(f"TASK [{stage}]"):
                break
        else:
            pytest.fail("the play ended before that")
        if stage == "arm":
            wait_for(lambda: captures(lab, "k8s02"), "k8s02 captures", 60)
        os.killpg(process.pid, signal.SIGKILL)
    for node in lab.nodes:
        wait_for(lambda name=node.name: not captures(lab, name), f"the capture on {node.name} has ended", 60)
        left = what_stays(lab, node.name, marker, before[node.name], 30)
        left.pop("temporary", None)  # Ansible's own, where it was cut off
        assert left == {}


DIRT = {
    "routes": (["ip", "route", "add", "203.0.113.0/24", "dev", "eth0"], ["ip", "route", "del", "203.0.113.0/24"]),
    "sysctls": (["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=2"], ["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=0"]),
    "files": (["touch", "/var/tmp/left-behind"], ["rm", "/var/tmp/left-behind"]),
    "temporary": (["touch", "/tmp/podnet-left-behind"], ["rm", "/tmp/podnet-left-behind"]),
    "ruleset": (["nft", "add", "table", "inet", "left"], ["nft", "delete", "table", "inet", "left"]),
    "processes": (["sh", "-c", "setsid sleep 77 >/dev/null 2>&1 &"], ["pkill", "-f", "^sleep 77"]),
}


def test_a_dirty_collector_is_caught(lab, marker):
    before = state(lab, "k8s01", marker)
    try:
        for dirt, _clean in DIRT.values():
            lab.run("k8s01", *dirt)
        assert set(DIRT) <= set(differences(before, state(lab, "k8s01", marker)))
    finally:
        for _dirt, clean in DIRT.values():
            lab.run("k8s01", *clean, check=False)
