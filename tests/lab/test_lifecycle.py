"""Labs come and go without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import lifecycle, plan
from lab.cluster import Lab
from tests.lab.support import ROOT, lab, needs_root

pytestmark = needs_root


def everything() -> dict[str, set[str]]:
    """What a lab could leave behind."""
    netns = Path("/run/netns")
    return {
        "namespaces": {p.name for p in netns.iterdir() if p.name.startswith("podnet-")} if netns.is_dir() else set(),
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if "podnet" in line},
        "folders": {str(path) for path in Path("/run").glob("podnet-*")},
    }


def nothing_left(name: str, state: Path) -> None:
    assert lifecycle.traces(name) == []
    assert not (state / name).exists()
    for kind, found in everything().items():
        assert not [each for each in found if f"podnet-{name}" in each], kind


def test_up_and_down_leaves_nothing(state: Path) -> None:
    listeners = Path("/proc/net/unix").read_text().count("podnet")
    said = lab("up", "--mode", "ipip", "--api", "emulator", "--name", "tlife")
    assert "is up after" in said
    assert "healthy" in lab("status", "--name", "tlife").splitlines()[-1]
    assert lab("exec", "k8s02", "--name", "tlife", "--", "hostname").strip() == "k8s02"
    assert "there is a lab tlife already" in lab("up", "--name", "tlife", check=False)
    lab("down", "--name", "tlife")
    nothing_left("tlife", state)
    assert Path("/proc/net/unix").read_text().count("podnet") == listeners
    assert "there is no lab tlife" in lab("down", "--name", "tlife", check=False)


@pytest.mark.parametrize("line", ["network namespaces", "nodes: mount", "calico-node on every"])
def test_killed_half_way_up(state: Path, line: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--mode", "ipip", "--api", "emulator", "--name", "tcrash"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for said in process.stdout:
        if line in said:
            time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert lifecycle.traces("tcrash")
    lab("down", "--name", "tcrash")
    nothing_left("tcrash", state)


def test_interrupted_up_cleans_up_itself(state: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--mode", "noencap", "--api", "emulator", "--name", "tint"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for said in process.stdout:
        if "calico-node on every" in said:
            os.kill(process.pid, signal.SIGTERM)
            break
    assert process.wait(timeout=60) == 130
    nothing_left("tint", state)


def test_two_labs_side_by_side(state: Path) -> None:
    lab("up", "--mode", "noencap", "--nodes", "2", "--api", "emulator", "--name", "tone")
    lab("up", "--mode", "ipip", "--nodes", "2", "--api", "emulator", "--name", "ttwo")
    one, two = Lab.load("tone"), Lab.load("ttwo")
    try:
        assert one.problems() == two.problems() == []
        assert one.node("k8s01").address == two.node("k8s01").address
        one.restart_calico("k8s01")
        one.wait_healthy()
        assert two.problems() == []
        lab("down", "--name", "tone")
        nothing_left("tone", state)
        assert two.problems() == []
        ping = [str(Path(sys.executable).parent / "ansible"), "-i", str(two.inventory), "nodes", "-m", "ping"]
        assert subprocess.run(ping, capture_output=True, text=True, check=False).stdout.count("pong") == 2
    finally:
        lab("down", "--name", "tone", check=False)
        lab("down", "--name", "ttwo", check=False)
    nothing_left("ttwo", state)


@pytest.mark.parametrize("mode", ["noencap", "ipip"])
def test_calico_on_a_second_nic(state: Path, mode: str) -> None:
    lab("up", "--mode", mode, "--nodes", "2", "--api", "emulator", "--name", "tnic", "--second-nic")
    try:
        cluster = Lab.load("tnic")
        assert cluster.problems() == []
        assert cluster.address("k8s01") == "10.9.7.201/24"
        node = cluster.client.get("nodes", "k8s01")
        assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.2.7.201"}
        env = cluster.client.get("daemonsets", "calico-node", "kube-system")["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "IP_AUTODETECTION_METHOD", "value": "interface=eth1"} in env
    finally:
        lab("down", "--name", "tnic")


def test_names_are_checked() -> None:
    with pytest.raises(plan.LabError, match="a lab's name is"):
        plan.plan("a-b", "ipip", 3)
    with pytest.raises(plan.LabError, match="1 to 50 nodes"):
        plan.plan("ab", "ipip", 0)
