# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told to BIRD, and a BIRD that hangs."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
import typing as t
from contextlib import contextmanager

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _bird_socket, _repairs, _repairs_bird
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused
from ansible_collections.podnet.doctor.tests.unit.small_node import NOTHING, Node


@pytest.fixture
def node(namespaces: t.Any) -> Node:
    return Node(namespaces())


class Birdc:
    """The control socket, and what was said to it."""

    said: t.ClassVar[list[str]] = []
    exported = ""

    def __init__(self, path: str, deadline: Deadline, restricted: bool = True) -> None:
        assert path == "/run/bird.ctl"
        self.changes = not restricted

    def __enter__(self) -> Birdc:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, command: str) -> str:
        if not self.changes:
            assert command == "show route 10.253.2.0/26 export Mesh_10_2_7_202"
            return self.exported
        self.said.append(command)
        return "0009 Mesh_10_2_7_202: restarted"


@pytest.mark.parametrize(("info", "said"), [("Connect  Socket: refused", ['restart "Mesh_10_2_7_202"']), ("Established", [])])
def test_a_session_is_restarted_unless_it_is_established(node: Node, monkeypatch: pytest.MonkeyPatch, info: str, said: list[str]) -> None:
    session = {"name": "Mesh_10_2_7_202", "proto": "BGP", "state": "start", "info": info}
    daemon = {"socket": "/run/bird.ctl", "protocols": [session, {"name": "kernel1", "proto": "Kernel"}]}
    monkeypatch.setattr(_bird_socket, "read", lambda family, deadline, processes: daemon)
    monkeypatch.setattr(_bird_socket, "Conversation", Birdc)
    monkeypatch.setattr(Birdc, "said", [])
    asked = {"protocol": "Mesh_10_2_7_202", "family": "ipv4"}
    assert _repairs.carry_out("restart_protocol", asked, Deadline(10), True)["changed"] is bool(said)
    assert Birdc.said == [], "check mode only looks"
    done = _repairs.carry_out("restart_protocol", asked, Deadline(10), False, 60)
    assert (done["changed"], done["guard"], Birdc.said) == (bool(said), "", said)
    for protocol in ("kernel1", "Mesh_10_2_7_209", 'x"; disable "y'):
        with pytest.raises(Refused):
            _repairs.carry_out("restart_protocol", {**asked, "protocol": protocol}, Deadline(10), False)
    assert Birdc.said == said


def test_a_session_is_reloaded_where_the_route_is_not_there(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"name": "Mesh_10_2_7_202", "proto": "BGP", "state": "up", "info": "Established"}
    daemon = {"socket": "/run/bird.ctl", "protocols": [session], "routes": [{"prefix": "10.253.2.0/26", "protocol": "static1"}]}
    monkeypatch.setattr(_bird_socket, "read", lambda family, deadline, processes: daemon)
    monkeypatch.setattr(_bird_socket, "Conversation", Birdc)
    monkeypatch.setattr(Birdc, "said", [])
    asked = {"protocol": "Mesh_10_2_7_202", "family": "ipv4", "prefix": "10.253.2.0/26"}
    done = _repairs.carry_out("reload_protocol", asked, Deadline(10), False, 60)
    assert (done["changed"], done["back"], done["guard"], Birdc.said) == (True, [], "", ['reload in "Mesh_10_2_7_202"'])
    daemon["routes"].append({"prefix": "10.253.2.0/26", "protocol": "Mesh_10_2_7_202"})
    assert _repairs.carry_out("reload_protocol", asked, Deadline(10), False) == NOTHING
    session["info"] = "Active"
    with pytest.raises(Refused, match="is not established"):
        _repairs.carry_out("reload_protocol", asked, Deadline(10), False)
    assert len(Birdc.said) == 1


def test_an_established_session_is_restarted_only_if_it_is_still_the_same(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"name": "Mesh_10_2_7_202", "proto": "BGP", "state": "up", "since": "10:00:00", "info": "Established"}
    monkeypatch.setattr(_bird_socket, "read", lambda family, deadline, processes: {"socket": "/run/bird.ctl", "protocols": [session]})
    monkeypatch.setattr(_bird_socket, "Conversation", Birdc)
    monkeypatch.setattr(Birdc, "said", [])
    asked = {"protocol": "Mesh_10_2_7_202", "family": "ipv4", "since": "10:00:00"}
    for change in ({"since": "10:00:09"}, {"info": "Connect"}):
        was = {**session}
        session.update(change)
        assert _repairs.carry_out("restart_protocol", asked, Deadline(10), False) == NOTHING
        session.update(was)
    for same in ("10:00:00", "10:00:01", "09:59:59"):
        session["since"] = same
        Birdc.said.clear()
        assert _repairs.carry_out("restart_protocol", asked, Deadline(10), False)["changed"] and Birdc.said == ['restart "Mesh_10_2_7_202"'], same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("00:00:00", "23:59:59", True), ("00:00:00", "23:59:58", False), ("2026-11-21", "2026-11-21", True), ("2026-11-21", "2026-11-20", False), ("", "", True),
     ("10:00:00.312", "10:00:01.311", True), ("10:00:00", "2026-11-21", False)],
)  # fmt: skip
def test_the_moment_of_a_session(one: str, other: str, same: bool) -> None:
    assert _repairs_bird._same_moment(one, other) is same


def test_a_peer_is_told_what_bird_has_and_may_announce(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"name": "Mesh_10_2_7_202", "proto": "BGP", "state": "up", "info": "Established"}
    routes = [{"prefix": "10.253.2.0/26", "protocol": "static1"}]
    monkeypatch.setattr(_bird_socket, "read", lambda *given: {"socket": "/run/bird.ctl", "protocols": [session], "routes": routes})
    monkeypatch.setattr(_bird_socket, "Conversation", Birdc)
    monkeypatch.setattr(Birdc, "said", [])
    monkeypatch.setattr(Birdc, "exported", "1007-10.253.2.0/26      blackhole [static1 10:00:00] * (200)\n0000 ")
    asked = {"protocol": "Mesh_10_2_7_202", "family": "ipv4", "prefix": "10.253.2.0/26", "direction": "out"}
    assert _repairs.carry_out("reload_protocol", asked, Deadline(10), True)["changed"] and not Birdc.said, "check mode only looks"
    done = _repairs.carry_out("reload_protocol", asked, Deadline(10), False)
    assert (done["changed"], done["back"], Birdc.said) == (True, [], ['reload out "Mesh_10_2_7_202"'])
    for direction in ("up", 'out "x"; disable'):
        with pytest.raises(Refused, match="no direction"):
            _repairs.carry_out("reload_protocol", {**asked, "direction": direction}, Deadline(10), False)
    for route in ("10.253.2.0/26 all", "10.253.3.0/26"):
        with pytest.raises(Refused, match="does not announce"):
            _repairs.carry_out("reload_protocol", {**asked, "prefix": route}, Deadline(10), False)
    monkeypatch.setattr(Birdc, "exported", "0000 ")
    with pytest.raises(Refused, match="its filter keeps it"):
        _repairs.carry_out("reload_protocol", asked, Deadline(10), False)
    assert len(Birdc.said) == 1


# the first of them hangs
SUPERVISOR = """
import itertools, subprocess, sys
for number in itertools.count():
    subprocess.run([f"{sys.argv[1]}/bird", "-S", "-c", sys.argv[2], "-s", f"{sys.argv[1]}/bird.ctl", str(number)])
"""
BIRD = """
import os, signal, socket, sys
path = sys.argv[2]
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(4)
while sys.argv[3] == "0":
    signal.pause()
while True:
    peer, _address = listener.accept()
    with peer, peer.makefile("rwb", buffering=0) as file:
        file.write(b"0001 BIRD 1.6.8 ready.\\n")
        for line in file:
            file.write(b"0016 Access restricted\\n" if line == b"restrict\\n" else b"0000 \\n")
"""


@contextmanager
def supervised(node: Node, place: pathlib.Path, supervisor: str) -> t.Iterator[t.Callable[[], list[int]]]:
    for name in (supervisor, "bird"):
        (place / name).symlink_to(os.path.realpath(sys.executable))
    command = ["ip", "netns", "exec", node.space.name, str(place / supervisor), "-S", "-c", SUPERVISOR, str(place), BIRD]
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def running() -> list[int]:
        return inside(node.space.path, lambda: _bird_socket.pids(Processes(), "ipv4"), Deadline(20))

    try:
        end = time.monotonic() + 20
        while not (place / "bird.ctl").exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield running
    finally:
        daemon.kill()
        daemon.wait()
        for pid in running():
            os.kill(pid, 9)


def test_a_bird_that_hangs_is_replaced(node: Node, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bird_socket, "PATIENCE", 0.5)
    with supervised(node, tmp_path, "runsv") as running:
        (old,) = running()
        looked = node.do("restart_bird", check=True, family="ipv4")
        assert (looked["before"], looked["after"]) == (f"bird (process {old}) does not answer", "bird started again")
        assert running() == [old], "check mode only looks"
        done = node.do("restart_bird", family="ipv4")
        assert (done["changed"], done["back"], done["guard"]) == (True, [], "")
        assert len(running()) == 1 and running() != [old]
        monkeypatch.setattr(_bird_socket, "PATIENCE", 5.0)
        assert node.do("restart_bird", family="ipv4") == NOTHING


def test_a_bird_stays_that_nobody_would_start_again(node: Node, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bird_socket, "PATIENCE", 0.5)
    with supervised(node, tmp_path, "screen") as running:
        (old,) = running()
        assert node.refused("restart_bird", family="ipv4") == f"nothing would start bird (process {old}) again: runit did not start it"
        assert running() == [old]


def test_a_bird_stays_that_does_not_hang(node: Node, tmp_path: pathlib.Path) -> None:
    assert "ipv5 is no family of addresses" in node.refused("restart_bird", family="ipv5")
    with supervised(node, tmp_path, "runsv"), pytest.raises(Refused, match="bird does not hang"):
        inside(node.space.path, lambda: _repairs.carry_out("restart_bird", {}, Deadline(1), False), Deadline(20))  # too little time to tell


def test_what_is_not_replaced_is_said(node: Node, tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match="bird was killed, and none answers that runit started instead"):
        inside(node.space.path, lambda: _repairs_bird.replace_bird({"family": "ipv4", "pid": 1, "started": 0}, Deadline(0.3)), Deadline(20))
