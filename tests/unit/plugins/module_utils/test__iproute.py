# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _iproute

PARSERS: dict[str, t.Callable[[t.Any], list[t.Any]]] = {
    "ip-link.json": _iproute.links,
    "ip-addr.json": _iproute.addresses,
    "ip-route.json": lambda data: _iproute.routes(data, "inet"),
    "ip6-route.json": lambda data: _iproute.routes(data, "inet6"),
    "ip-rule.json": lambda data: _iproute.rules(data, "inet"),
    "ip6-rule.json": lambda data: _iproute.rules(data, "inet6"),
    "ip-neigh.json": _iproute.neighbours,
    "bridge-fdb.json": _iproute.fdb,
}


def test_routes() -> None:
    data = [
        {"type": "unicast", "dst": "default", "gateway": "172.31.5.1", "dev": "eth0", "table": "main", "protocol": "boot", "scope": "global", "flags": []},
        {"type": "blackhole", "dst": "192.168.5.64/26", "table": "200", "protocol": "bird", "flags": []},
        {"dst": "10.0.0.1", "via": {"family": "inet6", "host": "fd00:0::1"}, "dev": "eth0", "metrics": [{"mtu": 1450}], "metric": 1024},
        {"dst": "10.0.0.0/8", "gateway": "10.0.0.1", "nexthops": [{"gateway": "10.0.0.2", "dev": "eth0", "weight": 2, "flags": ["linkdown"]}], "table": "mine"},
        {"dst": "nonsense"},
        "nonsense",
    ]
    routes = _iproute.routes(data, "inet")
    assert routes == [
        {
            "family": "inet",
            "table": 254,
            "type": "unicast",
            "dst": "0.0.0.0/0",
            "gateway": "172.31.5.1",
            "dev": "eth0",
            "protocol": "boot",
            "scope": "global",
            "metric": 0,
            "flags": [],
        },
        {"family": "inet", "table": 200, "type": "blackhole", "dst": "192.168.5.64/26", "protocol": "bird", "metric": 0, "flags": []},
        {
            "family": "inet",
            "table": 254,
            "type": "unicast",
            "dst": "10.0.0.1/32",
            "gateway": "fd00::1",
            "dev": "eth0",
            "metric": 1024,
            "flags": [],
            "mtu": 1450,
        },
        {
            "family": "inet",
            "type": "unicast",
            "dst": "10.0.0.0/8",
            "metric": 0,
            "flags": [],
            "nexthops": [{"gateway": "10.0.0.2", "dev": "eth0", "weight": 2, "flags": ["linkdown"]}],
        },
    ]
    assert _iproute.routes([{"dst": "default", "dev": "eth0"}], "inet6")[0]["dst"] == "::/0"


def test_rules() -> None:
    data = [
        {"priority": 99, "not": None, "src": "all", "fwmark": "0x100000", "fwmask": "0x100000", "table": "1"},
        {"priority": 100, "src": "10.244.0.0", "srclen": 16, "iif": "eth0", "table": "local"},
        {"priority": 101, "src": "all", "goto": 32766},
    ]
    assert _iproute.rules(data, "inet") == [
        {"family": "inet", "priority": 99, "fwmark": 0x100000, "fwmask": 0x100000, "not": True, "table": 1, "action": "to_tbl"},
        {"family": "inet", "priority": 100, "src": "10.244.0.0/16", "iif": "eth0", "table": 255, "action": "to_tbl"},
        {"family": "inet", "priority": 101, "goto": 32766, "action": "goto"},
    ]


@pytest.mark.parametrize(("text", "expected"), [("[]", []), ("", []), (" \n", []), ("{}", None), ("[1", None), ("[" * 100000, None), (b"[{}]", [{}])])
def test_parse(text: str, expected: t.Any) -> None:
    assert _iproute.parse(text) == expected


KEYS = ["dst", "gateway", "dev", "table", "metrics", "nexthops", "via", "flags", "ifname", "addr_info", "local", "linkinfo",
        "info_kind", "info_data", "stats64", "priority", "src", "srclen", "fwmark", "lladdr", "state", "mac", "metric", "mtu", "weight", "rx"]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["default", "10.0.0.1", "fe80::1/64", "all", "0x1", "vxlan", "main"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8), max_leaves=20)


@given(VALUES | st.text() | st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES)))
def test_property_anything(data: t.Any) -> None:
    for parse in PARSERS.values():
        assert isinstance(parse(data), list)


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    """Nothing in the recorded clusters gets lost."""
    folder = captures()
    counted = 0
    for name, parse in PARSERS.items():
        for path in [*folder.glob(f"*/nodes/*/{name}"), *folder.glob(f"*/pods/*/{name}")]:
            data = json.loads(path.read_text() or "[]")
            entries = [info for link in data for info in link.get("addr_info", [])] if name == "ip-addr.json" else [entry for entry in data if entry]
            found = parse(data)
            assert len(found) == len(entries), path
            assert all("table" in entry for entry in found if name.endswith("-route.json")), path
            counted += 1
    assert counted > 2000
