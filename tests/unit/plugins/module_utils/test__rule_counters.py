# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _rule_counters

SAVED = """# Generated
*filter
:INPUT ACCEPT [100:9000]
:FORWARD DROP [{policy}:60]
:cali-FORWARD - [0:0]
[{drop}:240] -A INPUT -i eth0 -p ipencap -j DROP
[7:420] -A INPUT -j ACCEPT
[{reject}:60] -A cali-FORWARD -m comment --comment "cali:x -j DROP" -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""


def table(packets, **changes):
    expressions = [{"match": {}}, {"counter": {"packets": packets, "bytes": 1}}, {"drop": None}]
    rule = {"family": "inet", "table": "own", "chain": "input", "handle": 7, "expr": expressions}
    return json.dumps({"nftables": [{"metainfo": {}}, {"rule": {**rule, **changes}}]})


def test_what_has_counted_since():
    before = _rule_counters.of_iptables(SAVED.format(policy=1, drop=4, reject=0), "iptables (nft)")
    after = _rule_counters.of_iptables(SAVED.format(policy=1, drop=13, reject=2), "iptables (nft)")
    assert _rule_counters.risen(_rule_counters.packed(before), after) == [
        {"filter": "iptables (nft)", "table": "filter", "chain": "INPUT", "rule": "-A INPUT -i eth0 -p ipencap -j DROP", "packets": 9},
        {"filter": "iptables (nft)", "table": "filter", "chain": "cali-FORWARD", "packets": 2,
         "rule": '-A cali-FORWARD -m comment --comment "cali:x -j DROP" -j REJECT --reject-with icmp-port-unreachable'},
    ]  # fmt: skip
    assert not [place for place in before if "ACCEPT" in place[3]]
    policy = _rule_counters.of_iptables(SAVED.format(policy=5, drop=4, reject=0), "iptables (nft)")
    assert [one["rule"] for one in _rule_counters.risen(_rule_counters.packed(before), policy)] == ["policy DROP"]


def test_rules_of_nftables():
    before, after = _rule_counters.of_nft(table(3)), _rule_counters.of_nft(table(5))
    (rule,) = _rule_counters.risen(_rule_counters.packed(before), after)
    assert rule == {"filter": "nft", "table": "inet own", "chain": "input", "rule": "handle 7 drop", "packets": 2}
    assert _rule_counters.of_nft(table(3, expr=[{"counter": {"packets": 3}}, {"accept": None}])) == {}


def test_a_rule_that_is_new_says_nothing():
    """What it has counted before is not known."""
    assert _rule_counters.risen([], _rule_counters.of_nft(table(5))) == []


@given(st.text(max_size=80), st.text(alphabet='[]:0123456789 -AjDROPx*\n', max_size=80))
def test_property_any_text_is_read(text, like):
    for given_text in (text, like):
        counters = _rule_counters.of_iptables(given_text, "x")
        assert all(isinstance(number, int) for number in counters.values())
        assert _rule_counters.of_nft(given_text) == {}
        assert _rule_counters.risen(_rule_counters.packed(counters), counters) == []
