# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _bird_socket
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes

REPLIES = {
    "restrict": "0016 Access restricted\n",
    "show status": "1000-BIRD 1.6.8\n1011-Router ID is 10.9.0.1\n0013 Daemon is up and running\n",
    "show protocols all": "2002-name     proto    table    state  since       info\n1002-static1  Static   master   up     07:30:27    \n0000 \n",
    "show route all": "1007-10.0.0.0/26 blackhole [static1 07:30:27] * (200)\n0000 \n",
}


class Bird:
    """A daemon on a Unix socket that says what the test wants."""

    def __init__(self, path: str, replies: dict[str, str], greeting: str = "0001 BIRD 1.6.8 ready.\n") -> None:
        self.path, self.replies, self.greeting = path, replies, greeting
        self.asked: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                peer, _address = self.listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rwb") as file:
                file.write(self.greeting.encode())
                file.flush()
                for line in file:
                    command = line.decode().strip()
                    self.asked.append(command)
                    if command not in self.replies:
                        time.sleep(3)  # hung
                        break
                    for piece in self.replies[command].splitlines(keepends=True):
                        file.write(piece.encode())
                        file.flush()


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "bird.ctl")


def read(place: str, seconds: float = 2.0) -> dict[str, t.Any]:
    return _bird_socket.read("ipv4", Deadline(seconds), None, place)


def test_restricted_first(place: str) -> None:
    bird = Bird(place, REPLIES)
    found = read(place)
    assert bird.asked == ["restrict", "show status", "show protocols all", "show route all"]
    assert (found["version"], found["socket"], found["status"]["router_id"]) == ("1.6.8", place, "10.9.0.1")
    assert found["protocols"][0]["name"] == "static1"
    assert found["routes"][0]["type"] == "blackhole"


@pytest.mark.parametrize(
    ("replies", "greeting", "reason"),
    [
        ({}, "0001 BIRD 1.6.8 ready.\n", "timeout"),
        (REPLIES, "SSH-2.0-OpenSSH\n0000 \n", "garbage"),
        (REPLIES, "\x00\xff" * 50 + "\n9999 \n", "garbage"),
        ({**REPLIES, "restrict": "9001 syntax error\n"}, "0001 BIRD 1.6.8 ready.\n", "garbage"),
        ({"restrict": REPLIES["restrict"]}, "0001 BIRD 1.6.8 ready.\n", "timeout"),
    ],
)
def test_refusals(place: str, replies: dict[str, str], greeting: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bird_socket, "PATIENCE", 0.5)
    Bird(place, replies, greeting)
    started = time.monotonic()
    found = read(place)
    assert found["reason"] == reason and found["socket"] == place and place in found["error"]
    assert time.monotonic() - started < 2.5


def test_absent(place: str) -> None:
    assert read(place)["reason"] == "absent"


def test_dead_daemon(place: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
    found = read(place)
    assert found["reason"] == "refused" and "dead" in found["error"]


def test_not_a_socket(place: str) -> None:
    Path(place).write_text("x")
    assert read(place)["reason"] in ("refused", "absent")


def test_hung_before_accept(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(1)
        assert read(place, 0.3)["reason"] == "late", "it was not given the time that a daemon that is well may need"
        monkeypatch.setattr(_bird_socket, "PATIENCE", 0.3)
        assert read(place)["reason"] == "timeout"


def test_folder_as_option(tmp_path: Path) -> None:
    assert _bird_socket.candidates("ipv6", None, str(tmp_path)) == [f"{tmp_path}/bird6.ctl"]
    assert _bird_socket.candidates("ipv6", None, "/x/bird.ctl") == ["/x/bird6.ctl"]
    assert _bird_socket.candidates("ipv4", None, "/x/own.ctl") == ["/x/own.ctl"]


class FakeProcesses(Processes):
    """One bird process whose root is a folder of the test."""

    def __init__(self, root: str, argv: list[str]) -> None:  # pylint: disable=super-init-not-called
        self.root = root
        self._argv = {7: argv}

    def started(self, pid: int) -> float | None:
        return 1.0


def test_in_another_mount_namespace(tmp_path: Path) -> None:
    """/var/run is an absolute link inside of the daemon's root, and must not lead into ours."""
    inner = tmp_path / "7" / "root"
    (inner / "run" / "calico").mkdir(parents=True)
    (inner / "var").mkdir()
    os.symlink("/run", inner / "var" / "run")
    processes = FakeProcesses(str(tmp_path), ["/usr/bin/bird", "-R", "-s", "/var/run/calico/special.ctl", "-d"])
    Bird(str(inner / "run" / "calico" / "special.ctl"), REPLIES)
    found = _bird_socket.read("ipv4", Deadline(2), processes)
    assert found["socket"] == f"{inner}/run/calico/special.ctl"


def test_resolve_ends_with_loops(tmp_path: Path) -> None:
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    assert _bird_socket.resolve(str(tmp_path), "/a/../../../x").startswith(str(tmp_path))
