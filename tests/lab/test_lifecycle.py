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
from lab.errors import LabError
from tests.lab.support import ROOT, lab, needs_root, unique

pytestmark = needs_root
TLIFE = unique("tlife")
TCRASH = unique("tcrash")
TINT = unique("tint")
TONE = unique("tone")
TTWO = unique("ttwo")
TNIC = unique("tnic")


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
    said = lab("up", "--mode", "ipip", "--api", "emulator", "--name", TLIFE)
    assert "is up after" in said
    assert "healthy" in lab("status", "--name", TLIFE).splitlines()[-1]
    assert lab("exec", "k8s02", "--name", TLIFE, "--", "hostname").strip() == "k8s02"
    assert f"there is a lab {TLIFE} already" in lab("up", "--name", TLIFE, check=False)
    lab("down", "--name", TLIFE)
    nothing_left(TLIFE, state)
    assert f"podnet-{TLIFE}" not in Path("/proc/net/unix").read_text()
    assert f"there is no lab {TLIFE}" in lab("down", "--name", TLIFE, check=False)


@pytest.mark.parametrize("line", ["network namespaces", "nodes: mount", "calico-node on every"])
def test_killed_half_way_up(state: Path, line: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--mode", "ipip", "--api", "emulator", "--name", TCRASH],
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
    assert lifecycle.traces(TCRASH)
    lab("down", "--name", TCRASH)
    nothing_left(TCRASH, state)


def test_interrupted_up_cleans_up_itself(state: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--mode", "noencap", "--api", "emulator", "--name", TINT],
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
    nothing_left(TINT, state)


def test_a_signal_whose_exception_python_drops_still_ends_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    lifecycle.catch_signals()
    try:
        lifecycle.stop_if_asked()
        dropping = Dropping()
        del dropping
        with pytest.raises(KeyboardInterrupt):
            lifecycle.stop_if_asked()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])
        lifecycle._asked_to_stop.clear()


def test_two_labs_side_by_side(state: Path) -> None:
    lab("up", "--mode", "noencap", "--nodes", "2", "--api", "emulator", "--name", TONE)
    lab("up", "--mode", "ipip", "--nodes", "2", "--api", "emulator", "--name", TTWO)
    one, two = Lab.load(TONE), Lab.load(TTWO)
    try:
        assert one.problems() == two.problems() == []
        assert one.node("k8s01").address == two.node("k8s01").address
        one.restart_calico("k8s01")
        one.revive("k8s01")  # it has only just begun, and nothing was stopped
        one.wait_healthy()
        assert two.problems() == []
        lab("down", "--name", TONE)
        nothing_left(TONE, state)
        assert two.problems() == []
        ping = [str(Path(sys.executable).parent / "ansible"), "-i", str(two.inventory), "nodes", "-m", "ping"]
        assert subprocess.run(ping, capture_output=True, text=True, check=False).stdout.count("pong") == 2
    finally:
        lab("down", "--name", TONE, check=False)
        lab("down", "--name", TTWO, check=False)
    nothing_left(TTWO, state)


@pytest.mark.parametrize("mode", ["noencap", "ipip"])
def test_calico_on_a_second_nic(state: Path, mode: str) -> None:
    lab("up", "--mode", mode, "--nodes", "2", "--api", "emulator", "--name", TNIC, "--second-nic")
    try:
        cluster = Lab.load(TNIC)
        assert cluster.problems() == []
        assert cluster.address("k8s01") == "10.9.7.201/24"
        node = cluster.client.get("nodes", "k8s01")
        assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.2.7.201"}
        env = cluster.client.get("daemonsets", "calico-node", "kube-system")["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "IP_AUTODETECTION_METHOD", "value": "interface=eth1"} in env
    finally:
        lab("down", "--name", TNIC)


def test_names_are_checked() -> None:
    with pytest.raises(LabError, match="a lab's name is"):
        plan.plan("a-b", "ipip", 3)
    with pytest.raises(LabError, match="1 to 50 nodes"):
        plan.plan("ab", "ipip", 0)
