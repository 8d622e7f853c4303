# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._fib import Fib
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.tests.unit import small


def route_to(rules, routes, *asked, **more):
    return Fib(rules, routes).route_to(*asked, **more)


ROUTES = [
    small.route("0.0.0.0/0", "eth0", gateway="10.2.7.254"),
    small.route("10.253.2.0/26", "tunl0", gateway="10.2.7.202", metric=1024),
    small.route("10.253.2.0/26", "eth1", gateway="10.9.7.202", metric=50),
    small.route("10.253.2.7/32", "eth2", table=100),
    small.route("10.253.3.0/26", type="blackhole"),
    small.route("::/0", "eth0", gateway="fe80::1", family="inet6"),
]


def rule(priority, table=254, **more):
    return {"family": "inet", "priority": priority, "table": table, "action": "to_tbl", **more}


LOCAL, MAIN = rule(0, 255), rule(32766)


@pytest.mark.parametrize(
    ("rules", "flow", "dev"),
    [
        ([], {"dst": "10.253.2.7"}, "eth1"),  # longest prefix, then lowest metric
        ([], {"dst": "192.0.2.1"}, "eth0"),
        ([], {"dst": "2001:db8::1"}, "eth0"),
        ([LOCAL, rule(100, 100), MAIN], {"dst": "10.253.2.7"}, "eth2"),
        ([LOCAL, rule(100, 100), MAIN], {"dst": "10.253.2.8"}, "eth1"),  # nothing in that table: the next rule
        ([LOCAL, rule(100, 100, src="10.253.1.0/26"), MAIN], {"dst": "10.253.2.7"}, "eth1"),  # the source is not known
        ([LOCAL, rule(100, 100, src="10.253.1.0/26"), MAIN], {"dst": "10.253.2.7", "src": "10.253.1.5"}, "eth2"),
        ([LOCAL, rule(100, 100, iif="cali1"), MAIN], {"dst": "10.253.2.7", "iif": "cali1"}, "eth2"),
        ([LOCAL, rule(100, 100, iif="cali2"), MAIN], {"dst": "10.253.2.7", "iif": "cali1"}, "eth1"),
        ([LOCAL, rule(100, 100, fwmark=1), MAIN], {"dst": "10.253.2.7"}, "eth1"),
        ([LOCAL, rule(100, 100, fwmark=1, **{"not": True}), MAIN], {"dst": "10.253.2.7"}, "eth2"),
        ([LOCAL, rule(100, 100, dst="10.0.0.0/8"), MAIN], {"dst": "10.253.2.7"}, "eth2"),
        ([LOCAL, {"family": "inet", "priority": 50, "goto": 32766, "action": "goto"}, rule(100, 100), MAIN], {"dst": "10.253.2.7"}, "eth1"),
        ([LOCAL, rule(100, 254, suppress_prefixlen=0), rule(101, 100), MAIN], {"dst": "192.0.2.1"}, "eth0"),
    ],
)
def test_which_way(rules, flow, dev):
    assert route_to(rules, ROUTES, **flow)["dev"] == dev


@pytest.mark.parametrize(
    ("rules", "dst", "error"),
    [
        ([], "10.253.3.1", "Invalid argument"),
        ([LOCAL, {"family": "inet", "priority": 5, "action": "unreachable"}, MAIN], "10.253.2.7", "No route to host"),
        ([LOCAL], "10.253.2.7", "Network is unreachable"),
    ],
)
def test_no_way(rules, dst, error):
    assert route_to(rules, ROUTES, dst)["error"] == error


def test_a_dead_next_hop_is_no_way():
    assert route_to([], [{**ROUTES[0], "flags": ["dead"]}], "192.0.2.1")["error"] == "Network is unreachable"


def test_a_rule_of_unknown_meaning_is_not_guessed():
    with pytest.raises(NotCollected, match="ip rule 7"):
        route_to([{"family": "inet", "priority": 7, "action": "l3mdev"}, MAIN], ROUTES, "192.0.2.1")


ADDRESSES = st.ip_addresses(v=4).map(str)


@given(ADDRESSES, st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 32), st.integers(0, 3)), max_size=12))
def test_property_the_longest_prefix_wins(dst, entries):
    import ipaddress

    routes = [small.route(str(ipaddress.ip_network((int(a), n), strict=False)), f"d{i}", metric=m) for i, (a, n, m) in enumerate(entries)]
    answer = route_to([], routes, dst)
    covering = [r for r in routes if ipaddress.ip_address(dst) in ipaddress.ip_network(r["dst"])]
    if not covering:
        assert "error" in answer
    else:
        longest = max(ipaddress.ip_network(r["dst"]).prefixlen for r in covering)
        best = min(r["metric"] for r in covering if ipaddress.ip_network(r["dst"]).prefixlen == longest)
        chosen = next(r for r in routes if r["dev"] == answer["dev"])
        assert (ipaddress.ip_network(chosen["dst"]).prefixlen, chosen["metric"]) == (longest, best)
