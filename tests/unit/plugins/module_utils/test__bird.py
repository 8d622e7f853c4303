# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _bird

ROUTES = """1007-192.168.1.0/26     blackhole [static1 07:31:53] * (200)
 192.168.2.0/26     via 10.9.0.2 on va [Mesh_10_9_0_2 07:31:55] ! (100/0) [i]
                    via 10.9.0.77 on va [kernel1 07:31:53] (10)
 192.168.3.0/26     via 10.9.0.2 on va [Mesh_10_9_0_2 2026-11-21 from 10.9.0.9] * (200/?) [i]
 192.168.4.0/26     multipath [kernel1 07:31:53] * (10)
 \tvia 10.9.0.2 on va weight 1
 \tvia 10.9.0.3 on va weight 2
 2001:20:0::/64      unreachable [Mesh_2001_20__8 07:31:53] (100) [AS65001i]
0000
"""
BIRD2 = """1007-Table master4:
 10.0.0.0/24          unicast [bgp1 12:00:00.123] * (100) [AS65000i]
 \tvia 10.9.0.2 on eth0
                      blackhole [static1 2024-01-02 12:00:00] (200)
1008-\tType: BGP univ
1012-\tBGP.origin: IGP
 \tBGP.as_path: 65000 65001
0000
"""
STATUS = """1000-BIRD v0.3.3+birdv1.6.8
1011-Router ID is 10.9.0.1
 Current server time is 2026-11-21 09:30:42
 Last reboot on 2026-11-21 09:21:39
 Last reconfiguration on 2026-11-21 09:27:12
0024-Graceful restart recovery in progress
   Waiting for 5 protocols to recover
   Wait timer is 224/240
0013 Daemon is up and running
"""
PROTOCOLS = """2002-name     proto    table    state  since       info
1002-kernel1  Kernel   master   wait   07:30:27
 Mesh_10_9_0_2 BGP      master   up     07:30:29    Established
 Node_10_9_0_2_port_1790 BGP      master   start  2026-11-20 07:30:27    Active        Socket: Connection closed
 Local_Workload_10_65_0_2 BGP      master   down   07:31:15
0000
"""
ALL = """2002-name     proto    table    state  since       info
1002-Mesh_fe80__1 BGP      master   start  09:28:01    Active        Socket: Connection refused
1006-  Description:    Connection to BGP peer
   Preference:     100
   Routes:         1 imported, 2 filtered, 3 exported, 4 preferred
   BGP state:          Active
     Neighbor address: fe80:0::1%eth0
     Neighbor AS:      64512
     Last error:       Socket: Connection refused

0000
"""


def test_routes() -> None:
    routes = _bird.routes(ROUTES)
    assert [(route["prefix"], route["type"], route["state"]) for route in routes] == [
        ("192.168.1.0/26", "blackhole", "*"),
        ("192.168.2.0/26", "unicast", "!"),
        ("192.168.2.0/26", "unicast", ""),
        ("192.168.3.0/26", "unicast", "*"),
        ("192.168.4.0/26", "unicast", "*"),
        ("2001:20::/64", "unreachable", ""),
    ]
    assert routes[1]["nexthops"] == [{"gateway": "10.9.0.2", "dev": "va"}]
    assert (routes[1]["preference"], routes[1]["metric"]) == (100, 0)
    assert (routes[2]["preference"], "metric" in routes[2]) == (10, False)
    assert (routes[3]["from"], routes[3]["since"], routes[3]["metric"]) == ("10.9.0.9", "2026-11-21", None)
    assert [hop["gateway"] for hop in routes[4]["nexthops"]] == ["10.9.0.2", "10.9.0.3"]


def test_routes_of_bird_2() -> None:
    first, second = _bird.routes(BIRD2)
    assert first["nexthops"] == [{"gateway": "10.9.0.2", "dev": "eth0"}]
    assert (second["prefix"], second["type"], second["since"]) == ("10.0.0.0/24", "blackhole", "2024-01-02 12:00:00")
    assert second["attributes"] == {"Type": "BGP univ", "BGP.origin": "IGP", "BGP.as_path": "65000 65001"}


def test_status() -> None:
    status = _bird.status(STATUS)
    assert status["graceful_restart"] == {"waiting": 5, "timer": 224, "timeout": 240}
    assert (status["router_id"], status["message"]) == ("10.9.0.1", "Daemon is up and running")
    assert _bird.version(STATUS) == "v0.3.3+birdv1.6.8"
    assert _bird.version("0001 BIRD 1.6.8 ready.\n") == "1.6.8"


def test_protocols() -> None:
    protocols = {protocol["name"]: protocol for protocol in _bird.protocols(PROTOCOLS)}
    assert protocols["kernel1"] == {"name": "kernel1", "proto": "Kernel", "table": "master", "state": "wait", "since": "07:30:27", "info": ""}
    assert protocols["Node_10_9_0_2_port_1790"]["since"] == "2026-11-20 07:30:27"
    assert protocols["Node_10_9_0_2_port_1790"]["info"] == "Active Socket: Connection closed"
    assert protocols["Local_Workload_10_65_0_2"]["state"] == "down"


def test_protocols_all() -> None:
    (protocol,) = _bird.protocols(ALL)
    assert (protocol["imported"], protocol["exported"], protocol["preferred"]) == (1, 3, 4)
    assert protocol["bgp"] == {
        "state": "Active",
        "neighbor_address": "fe80::1",
        "neighbor_interface": "eth0",
        "neighbor_as": 64512,
        "last_error": "Socket: Connection refused",
    }


def test_output_of_birdc() -> None:
    def bare(text: str) -> str:
        return "\n".join(line[5:] if line[:4].isdigit() else line[1:] for line in text.splitlines())

    assert _bird.protocols("BIRD 1.6.8 ready.\n" + bare(PROTOCOLS)) == _bird.protocols(PROTOCOLS)
    assert _bird.protocols(bare(ALL)) == _bird.protocols(ALL)
    assert _bird.routes(bare(ROUTES)) == _bird.routes(ROUTES)


@pytest.mark.parametrize(("text", "expected"), [("8007 Access denied\n", "Access denied"), ("9001 syntax error", "syntax error"), (STATUS, None), ("", None)])
def test_error(text: str, expected: str | None) -> None:
    assert _bird.error(text) == expected


def everything(text: str) -> None:
    for parse in (_bird.lines, _bird.error, _bird.version, _bird.status, _bird.protocols, _bird.routes):
        parse(text)


@given(st.text())
def test_property_any_text(text: str) -> None:
    everything(text)


PIECES = st.sampled_from(
    [
        "1002-",
        "1006-",
        "1007-",
        "0000 ",
        " ",
        "\n",
        "10.0.0.0/8",
        "via",
        "dev",
        " on ",
        "[",
        "]",
        "x",
        "*",
        "(100/0)",
        "Routes: 1 imported",
        ":",
        "\t",
        "from",
        "blackhole",
    ]
)


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_property_mutated_reply(text: str) -> None:
    everything(text)


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    """Every reply of the recorded clusters is understood line by line."""
    folder = captures()
    counted = 0
    for path in folder.glob("*/nodes/*/bird*/*.txt"):
        text = path.read_text(errors="replace")
        everything(text)
        if path.name in ("route.txt", "route-all.txt", "route-export-kernel1.txt"):
            wanted = sum("[" in line for line in text.splitlines())
            assert len(_bird.routes(text)) == wanted, path
        elif path.name in ("protocols.txt", "protocols-all.txt"):
            rows = [line for code, line in _bird.lines(text) if code == 1002]
            found = _bird.protocols(text)
            assert len(found) == len(rows), path
            if path.name == "protocols-all.txt":
                assert all("neighbor_address" in row["bgp"] for row in found if row["proto"] == "BGP"), path
        elif path.name == "status.txt":
            assert _bird.status(text)["router_id"], path
        counted += 1
    assert counted > 1000
