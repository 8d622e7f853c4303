# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._routes import hops, prefix_text, route_line
from ansible_collections.podnet.doctor.tests.unit.small import route


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (route("0.0.0.0/0", "eth0", gateway="10.2.7.254"), "default via 10.2.7.254 dev eth0"),
        (route("10.253.2.0/26", "tunl0", gateway="10.2.7.202", protocol="bird", flags=["onlink"]), "10.253.2.0/26 via 10.2.7.202 dev tunl0 proto bird onlink"),
        (route("10.253.1.0/26", type="blackhole", protocol="bird"), "blackhole 10.253.1.0/26 proto bird"),
        (route("10.253.1.5/32", "cali1", scope="link"), "10.253.1.5 dev cali1 scope link"),
        (route("10.0.0.0/8", "eth0", table=100, metric=50, prefsrc="10.2.7.201"), "10.0.0.0/8 dev eth0 table 100 src 10.2.7.201 metric 50"),
        (
            route("10.0.0.0/8", nexthops=[{"gateway": "10.2.7.1", "dev": "eth0"}, {"dev": "eth1"}], flags=None),
            "10.0.0.0/8 nexthop via 10.2.7.1 dev eth0 nexthop dev eth1",
        ),
    ],
)
def test_a_route_as_ip_prints_it(entry, line):
    assert route_line(entry) == line


@pytest.mark.parametrize(
    ("prefix", "text"),
    [("::/0", "default"), ("2001:db8::1/128", "2001:db8::1"), ("2001:db8::/32", "2001:db8::/32"), ("10.0.0.1/32", "10.0.0.1"), (None, "None")],
)
def test_prefixes(prefix, text):
    assert prefix_text(prefix) == text


def test_next_hops():
    assert hops(route("x", "eth0")) == [(None, "eth0")]
    assert hops(route("x", nexthops=[{"gateway": "a", "dev": "b"}, "junk", {"dev": "c"}])) == [("a", "b"), (None, "c")]
    assert hops(route("x", type="blackhole")) == [(None, None)]
