# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook preflight on a lab: one line a node and one for the API, the fix for what is missing, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import cluster
from tests.integration.running import Running

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Answer:
    code: int
    lines: list[str]

    def of(self, name: str) -> str:
        return next((line for line in self.lines if line.startswith(f"{name} ")), "")


class Lab:
    def __init__(self, lab: cluster.Lab, work: Path) -> None:
        self.name, self.folder = lab.name, lab.folder
        self.work = work

    def play(self, *words: str, playbook: str = "podnet.doctor.preflight", kubeconfig: bool = True) -> Answer:
        command = [str(BIN / "ansible-playbook"), playbook, "-i", str(self.folder / "inventory.yml"), *words]
        if kubeconfig:
            command += ["-e", f"kubeconfig={self.folder / 'kubeconfig'}"]
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "KUBECONFIG": "/nonexistent",
        }
        done = subprocess.run(command, cwd=self.work, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=120)
        return Answer(done.returncode, done.stdout.splitlines())

    def inventory(self, name: str, text: str) -> str:
        path = self.work / name
        path.write_text(text)
        return str(path)

    def node(self, name: str, command: str) -> None:
        subprocess.run([sys.executable, "-m", "lab", "exec", "--name", self.name, name, "--", "sh", "-c", command], cwd=ROOT, check=True)


@pytest.fixture
def lab(running: Running, tmp_path: Path) -> Lab:
    return Lab(running.healthy(), tmp_path)


def test_ready(lab: Lab) -> None:
    answer = lab.play()
    assert answer.code == 0
    title = next(line for line in answer.lines if line.startswith("PREFLIGHT"))
    assert title.startswith("PREFLIGHT: 3 nodes and the API") and title.endswith("  READY")
    for node in ("k8s01", "k8s02", "k8s03"):
        assert "ok      ssh, root, python 3." in answer.of(node) and f"node {node}" in answer.of(node)
    assert "rights that a diagnosis needs" in " ".join(answer.lines)
    assert all(len(line) <= 80 for line in answer.lines)


def test_check_mode_and_become_in_the_inventory_change_nothing_about_it(lab: Lab) -> None:
    assert lab.play("--check", "-e", "ansible_become=true", "--forks", "1").code == 0


def test_each_trouble_on_its_line(lab: Lab) -> None:
    broken = lab.inventory(
        "broken.yml",
        """
nodes:
  hosts:
    k8s01: {ansible_ssh_common_args: "-o ControlPath=none -o 'ProxyCommand=false'"}
    k8s02: {ansible_python_interpreter: /usr/bin/python3.99}
    k8s03: {podnet_node_name: k8s02}
""",
    )
    answer = lab.play("-i", broken)
    assert answer.code == 2
    assert "FAILED  ssh:" in answer.of("k8s01")
    assert "FAILED  python: there is none" in answer.of("k8s02")
    assert "FAILED  name:" in answer.of("k8s03")
    text = " ".join(" ".join(answer.lines).split())
    assert "set podnet_node_name=k8s03" in text and "3 of 4 not ready: k8s01, k8s02, k8s03" in text
    assert lab.play("-i", broken, "-e", "podnet_fail_on=never").code == 0


def test_every_node_unreachable_under_an_outer_play_that_stops_at_errors(lab: Lab) -> None:
    outer = lab.inventory(
        "outer.yml",
        """
- name: Outer
  hosts: all
  any_errors_fatal: true
  gather_facts: false
  roles: [podnet.doctor.preflight]
""",
    )
    dead = lab.inventory("dead.yml", "nodes: {vars: {ansible_ssh_common_args: \"-o ControlPath=none -o 'ProxyCommand=false'\"}}\n")
    answer = lab.play("-i", dead, playbook=outer)
    assert answer.code == 2
    assert all("FAILED  ssh:" in answer.of(node) for node in ("k8s01", "k8s02", "k8s03"))
    assert answer.of("API").split()[1] == "ok"


def test_limit_says_whom_it_left_out(lab: Lab) -> None:
    answer = lab.play("--limit", "k8s02")
    assert answer.code == 0
    assert "NOT CHECKED, outside of --limit or of this batch: k8s01, k8s03" in answer.lines


def test_serial_ends_with_a_whole_answer(lab: Lab) -> None:
    serial = lab.inventory(
        "serial.yml",
        """
- name: One after the other
  hosts: all
  serial: 1
  gather_facts: false
  roles: [podnet.doctor.preflight]
""",
    )
    answer = lab.play(playbook=serial)
    assert answer.code == 0
    last = answer.lines[max(number for number, line in enumerate(answer.lines) if line.startswith("PREFLIGHT")) :]
    assert last[0].startswith("PREFLIGHT: 3 nodes") and not any("NOT CHECKED" in line for line in last)


def test_strategy_free_is_refused_in_one_sentence(lab: Lab) -> None:
    free = lab.inventory(
        "free.yml",
        """
- name: Free
  hosts: all
  strategy: free
  gather_facts: false
  roles: [podnet.doctor.preflight]
""",
    )
    answer = lab.play(playbook=free)
    assert answer.code == 2
    assert any("strategy free" in line and "strategy: linear" in line for line in answer.lines)


def test_no_kubeconfig(lab: Lab) -> None:
    answer = lab.play(kubeconfig=False)
    assert answer.code == 2
    assert "FAILED" in answer.of("API") and "kubeconfig" in " ".join(answer.lines)
    assert "ok" in answer.of("k8s01")


def test_a_node_whose_bird_is_gone(lab: Lab) -> None:
    lab.node("k8s03", "pkill -STOP -x bird")
    try:
        answer = lab.play("-e", "podnet_timeout=5")
    finally:
        lab.node("k8s03", "pkill -CONT -x bird")
    assert answer.code == 2
    assert "FAILED  bird:" in answer.of("k8s03")
    assert "bird 1.6" in answer.of("k8s02")
