# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change that is taken back by the node itself, in namespaces that are thrown away."""

from __future__ import annotations

import os
import pathlib
import stat
import time
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _guard, _repairs
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused

STRAY = "192.188.1.1/24"


class Node:
    def __init__(self, space: t.Any) -> None:
        self.space = space
        for line in ("link add br0 type bridge", "link set br0 up", f"addr add {STRAY} dev br0"):
            space.ip(line)

    def delete(self, seconds: float) -> dict[str, t.Any]:
        wanted = {"ifname": "br0", "address": STRAY}
        return inside(self.space.path, lambda: _repairs.carry_out("delete_address", wanted, Deadline(10), False, seconds), Deadline(20))

    def there(self) -> bool:
        return STRAY in self.space.ip("addr")

    def keep(self, token: str) -> dict[str, t.Any]:
        return inside(self.space.path, lambda: _repairs.keep({"guard": token}, False), Deadline(20))

    def guards(self) -> list[str]:
        return [line for line in self.space.run("cat", "/proc/net/unix").stdout.splitlines() if "@podnet-doctor-" in line]

    def until(self, condition: t.Callable[[], bool]) -> bool:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        return condition()


@pytest.fixture
def node(namespaces: t.Any) -> Node:
    return Node(namespaces())


def test_what_nobody_confirms_is_taken_back(node: Node) -> None:
    done = node.delete(0.3)
    assert done["changed"] and done["guard"]
    assert node.until(node.there), "the node took it back by itself"
    assert node.until(lambda: not node.guards()), "and nothing is left"
    with pytest.raises(Refused, match="the node has taken the change back by itself"):
        node.keep(done["guard"])


def test_what_is_confirmed_stays(node: Node) -> None:
    done = node.delete(60)
    assert len(node.guards()) == 2, "its own socket, and that of the node"
    assert node.keep(done["guard"])["changed"] is False
    assert node.until(lambda: not node.guards())
    assert not node.there()


def test_a_second_repair_waits_for_the_end_of_the_first(node: Node) -> None:
    first = node.delete(60)
    node.space.ip("addr add 192.188.1.1/24 dev br0")
    with pytest.raises(Refused, match="another repair of this node has not ended"):
        node.delete(60)
    assert node.there(), "nothing was changed"
    node.keep(first["guard"])
    second = node.delete(60)
    assert second["changed"], "whoever hears that it is kept may go on at once"
    node.keep(second["guard"])


def test_a_change_that_fails_is_not_guarded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_kernel: t.Any, _steps: t.Any) -> bool:
        raise OSError(5, "no")

    monkeypatch.setattr(_repairs, "perform", fails)
    with pytest.raises(OSError, match="no"):
        node.delete(60)
    assert node.until(lambda: not node.guards()) and node.there()


def test_what_is_taken_back_is_not_guarded_any_more(node: Node) -> None:
    done = node.delete(60)
    back = {"steps": done["back"], "guard": done["guard"]}
    assert inside(node.space.path, lambda: _repairs.take_back(back, Deadline(10), False), Deadline(20))["changed"] is True
    assert node.there() and node.until(lambda: not node.guards())


def test_other_words_confirm_nothing() -> None:
    for token in ("", "x", "0123456789abcdef\n", "0123456789ABCDEF"):
        with pytest.raises(Refused, match="is no token"):
            _guard.end(token)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> t.Callable[[str], pathlib.Path]:
    """Stands in for the one that tests/integration/test_guard_systemd.py boots; returns where what it was asked is kept."""

    def answers(commands: str) -> pathlib.Path:
        asked, program = tmp_path / "asked", tmp_path / "busctl"
        program.write_text(f'#!/bin/sh\necho "$@" > {asked}\n{commands}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(_guard, "SYSTEMD", str(tmp_path))
        monkeypatch.setattr(_guard, "PATIENCE", 1.0)
        return asked

    return answers


def test_systemd_gives_it_a_scope_of_its_own(node: Node, monkeypatch: pytest.MonkeyPatch, systemd: t.Callable[[str], pathlib.Path]) -> None:
    asked = systemd("")
    monkeypatch.setattr(_guard, "_cgroups", lambda _pid: asked.read_text())
    token = node.delete(60)["guard"]
    words = asked.read_text().split()
    assert f"podnet-doctor-{token}.scope" in words and os.path.isdir(f"/proc/{words[words.index('au') + 2]}")
    node.keep(token)
    assert node.until(lambda: not node.guards())


@pytest.mark.parametrize(
    ("commands", "why"),
    [("echo Access denied >&2; exit 1", "Access denied"), ("exec sleep 60", "timed out"), ("", r"podnet-doctor-[0-9a-f]+\.scope did not begin within 1 s")],
)
def test_nothing_is_changed_without_a_way_back(node: Node, systemd: t.Callable[[str], pathlib.Path], commands: str, why: str) -> None:
    systemd(commands)
    with pytest.raises(OSError, match=why):
        node.delete(60)
    assert node.there()
    assert node.until(lambda: not node.guards())
