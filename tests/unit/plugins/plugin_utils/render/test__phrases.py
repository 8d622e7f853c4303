# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils.render._phrases import count, explained, listed


def finding(check, node, of="", evidence="line"):
    return {"check": check, "node": node, "object": of, "evidence": evidence}


def test_names():
    assert listed(["a", "b", "a"]) == "a, b"
    assert listed(["a", "b", "c", "d"]) == "a, b, c, d"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_counts():
    assert (count(1, "pod"), count(2, "pod"), count(0, "pod"), count(2, "is", "are")) == ("1 pod", "2 pods", "0 pods", "2 are")


@pytest.mark.parametrize(
    ("findings", "lines"),
    [
        ([finding("bgp.session.down", "a", "b")], ["1 BGP session dead: a - b"]),
        ([finding("bgp.session.down", "a", "b"), finding("bgp.session.missing", "b", "a")], ["1 BGP session dead: a - b, seen from both sides"]),
        (
            [finding("bgp.session.down", "a", "b"), finding("bgp.session.down", "b", "a"), finding("bgp.session.down", "a", "c")],
            ["2 BGP sessions dead: a - b, a - c, 1 of them seen from both sides"],
        ),
        ([finding("dns.endpoint.unreachable", "a", "kube-system/coredns-1")], ["DNS from every pod on a: out of reach coredns-1"]),
        ([finding("fib.different", "a"), finding("fib.different", "b")], ["the kernel of a, b would send the packet elsewhere"]),
        ([finding("probe.lost", "a", "forward"), finding("probe.lost", "b", "reverse")], ["marked packets lost, forward and reverse"]),
        ([finding("veth.down", "a", evidence="cali1: <>")], ["cali1: <>"]),
        ([finding("veth.down", "a"), finding("veth.down", "b")], ["2 findings veth.down on a, b"]),
    ],
)
def test_findings_of_one_kind_in_one_line(findings, lines):
    assert explained(findings) == lines


def test_block_routes_by_node_and_by_prefix():
    mine = [finding("route.block.missing", "a", f"10.0.{i}.0/26") for i in range(3)]
    lines = explained([*mine, finding("route.block.missing", "b", "10.9.0.0/26"), finding("route.block.missing", "c", "10.9.0.0/26")])
    assert lines == ["3 block routes missing on a: 10.0.0.0/26, 10.0.1.0/26, 10.0.2.0/26", "route to 10.9.0.0/26 missing on b, c"]
    assert explained([finding("route.block.different", "a", "10.0.0.0/26")]) == ["1 block route wrong on a: 10.0.0.0/26"]


def test_the_order_is_from_the_cause_to_the_symptom():
    checks = ["probe.lost", "veth.down", "fib.different", "route.block.missing", "dns.endpoint.unreachable", "bgp.session.down"]
    lines = explained([finding(check, "a", "x/y") for check in checks])
    words = ["BGP", "block route", "DNS", "kernel", "packets lost", "line"]
    assert [word in line for word, line in zip(words, lines)] == [True] * 6
