# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guarded change over SSH on a node where the real systemd runs, and logind ends whatever a session leaves behind."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Iterator

import pytest

from lab.processes import wait_for
from tests.integration.systemd_machine import STRAY, Machine


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Iterator[Machine]:
    with Machine(tmp_path) as here:
        yield here


def delete(machine: Machine, seconds: float) -> dict[str, t.Any]:
    return machine.repair("delete_address", {"ifname": "br0", "address": STRAY}, seconds)


def test_the_guard_outlives_the_session_and_takes_the_change_back(machine):
    done = delete(machine, 12)
    assert done["changed"] and not machine.there()
    scope = f"podnet-doctor-{done['guard']}.scope"
    assert machine.scopes() == [scope]
    (guard,) = machine.run("cat", f"/sys/fs/cgroup/system.slice/{scope}/cgroup.procs").split()
    wait_for(lambda: not machine.sessions(), "the session has ended", 10)
    assert scope in machine.run("cat", f"/proc/{guard}/cgroup")
    assert len(machine.guards()) == 2 and not machine.there(), "it still waits"
    wait_for(machine.there, "the node has taken it back by itself", 30)
    wait_for(lambda: not machine.scopes() and not machine.guards(), "nothing is left", 10)


def test_what_is_confirmed_in_another_session_stays(machine):
    done = delete(machine, 120)
    wait_for(lambda: not machine.sessions(), "the session has ended", 10)
    assert "msg" not in machine.repair("keep", {"guard": done["guard"]})
    wait_for(lambda: not machine.scopes() and not machine.guards(), "nothing is left", 10)
    assert not machine.there()


def test_without_a_scope_the_end_of_the_session_ends_the_guard(machine):
    """What the scope is for: the same on a node that does not say that systemd runs."""
    machine.run("rmdir", "/run/systemd/system")
    assert delete(machine, 120)["changed"]
    wait_for(lambda: not machine.guards(), "logind has ended it with the session", 10)
    assert not machine.there(), "and nobody takes the change back"


def test_without_dbus_nothing_is_changed(machine):
    machine.run("systemctl", "stop", "dbus.socket", "dbus.service")
    done = delete(machine, 120)
    assert done["msg"].startswith("delete_address failed: systemd gave no scope of its own to what would take the change back: "), done
    assert machine.there() and not machine.guards()
