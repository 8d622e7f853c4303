# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.modules import node_repair

STRAY = {"remedy": "delete_address", "parameters": {"ifname": "br0", "address": "192.188.1.1/24"}}


@pytest.fixture
def space(namespaces: t.Any) -> t.Any:
    made = namespaces()
    made.ip("link add br0 type bridge")
    made.ip("link set br0 up")
    made.ip("addr add 192.188.1.1/24 dev br0")
    return made


def test_check_mode_then_once_then_nothing(run: t.Any, space: t.Any) -> None:
    wanted = {"before": "192.188.1.1/24 dev br0\n", "after": ""}
    planned = run(node_repair, {**STRAY, "_ansible_diff": True}, space, check=True, changes=True)
    assert planned["diff"] == wanted and "192.188.1.1" in space.ip("addr")
    done = run(node_repair, {**STRAY, "_ansible_diff": True}, space, changes=True)
    assert done["diff"] == wanted and "192.188.1.1" not in space.ip("addr")
    again = run(node_repair, {**STRAY, "_ansible_diff": True}, space)
    assert (again["before"], again["after"], "diff" in again) == ("", "", False)


def test_refused(run: t.Any, space: t.Any) -> None:
    space.ip("route add default via 192.188.1.254")
    result = run(node_repair, STRAY, space)
    assert (result["failed"], result["refused"]) == (True, True)
    assert result["msg"] == "refused: 192.188.1.1/24 dev br0 stays: the route to everything uses br0"


def test_unknown_remedies(run: t.Any) -> None:
    result = run(node_repair, {"remedy": "reboot", "parameters": {}})
    assert result["failed"] is True and result["msg"].startswith("value of remedy must be one of: add_gateway_route, add_route, delete_address")


def test_without_root(run: t.Any, no_root: t.Any) -> None:
    result = run(node_repair, STRAY)
    assert result["failed"] is True and "run this task with become: true" in result["msg"]
