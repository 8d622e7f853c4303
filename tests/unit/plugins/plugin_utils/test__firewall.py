# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._fib import Fib
from ansible_collections.podnet.doctor.plugins.plugin_utils._firewall import end_of, segment
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.plugins.plugin_utils._netfilter_hooks import Filters, ground_of

ADDRESSES = [{"local": "10.2.7.201", "ifname": "eth0"}]
SYN = segment("input", "10.2.7.202", "10.2.7.201", None, 179, "eth0", first=True)
REPLY = segment("output", "10.2.7.201", "10.2.7.202", 179, None, "eth0", first=False)


def filters(section: t.Any) -> Filters:
    return Filters(section, "inet", ground_of(section, "inet", ADDRESSES, Fib([], [])))


def saved(*rules: str, policy: str = "ACCEPT", table: str = "filter") -> dict[str, t.Any]:
    chains = sorted({rule.split()[1] for rule in rules} - {"INPUT", "OUTPUT", "PREROUTING"})
    declared = [f":INPUT {policy} [7:70]", ":OUTPUT ACCEPT [0:0]", ":PREROUTING ACCEPT [0:0]", *(f":{name} - [0:0]" for name in chains)]
    text = "\n".join([f"*{table}", *declared, *(f"[5:300] {rule}" for rule in rules), "COMMIT", ""])
    return {"iptables": [{"backend": "nft", "family": "inet", "text": text}], "nft": []}


def ended(section: t.Any, answer: bool = False) -> str | None:
    hit = end_of(REPLY, "output", filters(section)) if answer else end_of(SYN, "input", filters(section))
    return None if hit is None else hit.line


DROP = "-A INPUT -p tcp -m tcp --dport 179 -j DROP"


@pytest.mark.parametrize(
    "rules",
    [
        (DROP,),
        ("-A INPUT -p tcp -m multiport --dports 22,170:180 -j REJECT --reject-with icmp-port-unreachable",),
        ("-A INPUT ! -s 192.0.2.0/24 -i eth+ -p 6 -m conntrack --ctstate INVALID,NEW -j DROP",),
        ("-A INPUT -p tcp -m tcp --dport 179 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",),
        ("-A INPUT -m mark --mark 0x0/0x1 -j fw", "-A fw -s 10.2.7.0/24 -j hard", "-A hard -p tcp -j DROP"),
        ("-A INPUT -j MARK --set-xmark 0x4/0x4", "-A INPUT -m mark --mark 0x4/0x4 -j DROP"),
        ("-A INPUT -j fw", "-A fw -p udp -j ACCEPT", "-A fw -j RETURN", "-A fw -j ACCEPT", DROP),
        ("-A INPUT -m limit --limit 5/min -j LOG --log-prefix x", DROP),
        ("-A INPUT -p tcp -m recent --set --name bgp", DROP),
        ("-A INPUT -i lo -j ACCEPT", DROP),
        (  # ufw
            "-A INPUT -j ufw-before-input",
            "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A ufw-before-input -m conntrack --ctstate INVALID -j DROP",
            "-A ufw-before-input -j ufw-not-local",
            "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
            "-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN",
            "-A ufw-not-local -j DROP",
            DROP,
        ),
        ("-A INPUT -m addrtype --src-type LOCAL -j ACCEPT", DROP),
    ],
)
def test_dropped(rules: tuple[str, ...]) -> None:
    assert str(ended(saved(*rules))).endswith(rules[-1] if "fw -j ACCEPT" not in rules[-1] else DROP)


@pytest.mark.parametrize(
    "rules",
    [
        (),
        ("-A INPUT -p udp -m udp --dport 179 -j DROP",),
        ("-A INPUT -p tcp -m tcp --dport 22 -j DROP",),
        ("-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 179 -j DROP",),
        ("-A INPUT ! -i eth0 -p tcp -m tcp --dport 179 -j DROP",),
        ("-A INPUT -p tcp -m tcp --dport 179 -m conntrack --ctstate INVALID -j DROP",),
        ("-A INPUT -s 10.2.7.0/24 -j ACCEPT", DROP),
        ("-A INPUT -m set --match-set peers src -j ACCEPT", DROP),  # it may be in the set
        ("-A INPUT -m set --match-set blocked src -j DROP",),
        ("-A INPUT -m strange --thing 1 -j ACCEPT", DROP),
        ("-A INPUT -m strange --thing 1 -j fw", "-A fw -j ACCEPT", DROP),
        ("-A INPUT -m strange --thing 1 -g fw", "-A fw -p udp -j DROP", DROP),
        ("-A INPUT -j NFQUEUE --queue-num 1", DROP),
        ("-A INPUT -j STRANGE", DROP),
        ("-A INPUT -j CONNMARK --restore-mark", "-A INPUT -m mark --mark 0x4/0x4 -j DROP"),
        ("-A INPUT -j fw", "-A fw -j fw", DROP),  # a loop ends
        ("-A OUTPUT -p tcp -m tcp --dport 179 -j DROP",),
    ],
)
def test_not_certainly_dropped(rules: tuple[str, ...]) -> None:
    assert ended(saved(*rules)) is None


def test_policy() -> None:
    assert ended(saved(policy="DROP")) == "policy drop"
    assert ended(saved("-A INPUT -p tcp -m tcp --dport 179 -j ACCEPT", policy="DROP")) is None
    assert ended(saved("-A INPUT -m set --match-set peers src -j ACCEPT", policy="DROP")) is None
    hit = end_of(SYN, "input", filters(saved(policy="DROP")))
    assert hit is not None and (hit.packets, hit.base.table, hit.chain) == (7, "filter", "INPUT")


def test_other_tables_and_ways() -> None:
    assert ended(saved("-A PREROUTING -p tcp -m tcp --dport 179 -j DROP", table="raw")) is not None
    assert ended(saved("-A PREROUTING -p tcp -m tcp --dport 179 -j DROP", table="nat")) is None
    assert ended(saved("-A OUTPUT -o eth0 -p tcp -m tcp --sport 179 -j DROP"), answer=True) is not None
    both = saved(DROP)
    both["iptables"].insert(0, {**saved("-A INPUT -j ACCEPT")["iptables"][0], "backend": "legacy"})
    assert ended(both) is not None  # an ACCEPT of one backend is none of the other's


def nft(*statements: t.Any, policy: str = "accept", hook: str = "input", **table: t.Any) -> dict[str, t.Any]:
    items: list[t.Any] = [
        {"metainfo": {}},
        {"table": {"family": "inet", "name": "fw", **table}},
        {"chain": {"family": "inet", "table": "fw", "name": "in", "type": "filter", "hook": hook, "prio": 0, "policy": policy}},
    ]
    items += [{"rule": {"chain": "in", "expr": list(rule)}} for rule in statements]
    return {"iptables": [], "nft": [{"family": "inet", "name": "fw", "json": json.dumps({"nftables": items})}]}


def match(left: t.Any, right: t.Any, op: str = "==") -> dict[str, t.Any]:
    return {"match": {"op": op, "left": left, "right": right}}


PORT = match({"payload": {"protocol": "tcp", "field": "dport"}}, 179)
COUNTED = {"counter": {"packets": 5, "bytes": 300}}


def test_nft() -> None:
    hit = end_of(SYN, "input", filters(nft([PORT, COUNTED, {"drop": None}])))
    assert hit is not None
    assert (hit.base.backend, hit.base.table, hit.chain, hit.packets) == ("nftables", "inet fw", "in", 5)
    assert hit.line == "tcp dport 179 counter packets 5 bytes 300 drop"


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ([match({"payload": {"protocol": "tcp", "field": "dport"}}, {"set": [22, {"range": [170, 180]}]}), {"reject": {"type": "tcp reset"}}], True),
        ([match({"payload": {"protocol": "ip", "field": "saddr"}}, {"prefix": {"addr": "10.2.0.0", "len": 16}}), {"drop": None}], True),
        ([match({"payload": {"protocol": "ip", "field": "saddr"}}, {"range": ["10.2.7.1", "10.2.7.250"]}), {"drop": None}], True),
        ([match({"payload": {"protocol": "ip", "field": "saddr"}}, {"prefix": {"addr": "10.2.0.0", "len": 16}}, "!="), {"drop": None}], False),
        ([match({"payload": {"protocol": "ip6", "field": "saddr"}}, "fd00::1"), {"drop": None}], False),
        ([match({"meta": {"key": "iifname"}}, "eth*"), match({"ct": {"key": "state"}}, ["new", "invalid"], "in"), {"drop": None}], True),
        ([match({"meta": {"key": "iifname"}}, "lo"), {"drop": None}], False),
        ([match({"meta": {"key": "l4proto"}}, "tcp"), {"drop": None}], True),
        ([match({"payload": {"protocol": "tcp", "field": "dport"}}, "@ports"), {"drop": None}], False),
        ([PORT, {"limit": {"rate": 5}}, {"drop": None}], False),
        ([PORT, {"jump": {"target": "gone"}}], False),
    ],
)
def test_nft_rules(rule: t.Any, dropped: bool) -> None:
    assert (ended(nft(rule)) is not None) is dropped


def firewalld(*zone: t.Any) -> dict[str, t.Any]:
    """As firewalld writes it: what belongs to a session first, then the zones, then a reject."""
    state, status = {"ct": {"key": "state"}}, {"ct": {"key": "status"}}
    section = nft(
        [match(state, {"set": ["established", "related"]}, "in"), {"accept": None}],
        [match(status, "dnat", "in"), {"accept": None}],
        [match({"meta": {"key": "iifname"}}, "lo"), {"accept": None}],
        [match(state, "invalid", "in"), {"drop": None}],
        *zone,
        [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
    )
    return section


def test_firewalld() -> None:
    assert ended(firewalld()) == "reject"
    ssh = match({"payload": {"protocol": "tcp", "field": "dport"}}, 22)
    assert ended(firewalld([ssh, {"accept": None}])) == "reject"
    assert ended(firewalld([PORT, {"accept": None}])) is None
    assert ended(firewalld([match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), PORT, {"accept": None}])) is None


def test_verdict_maps() -> None:
    states = {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": None}], ["invalid", {"drop": None}]]}}}
    assert ended(nft([states], policy="drop")) == "policy drop"
    assert ended(nft([states], [PORT, {"accept": None}], policy="drop")) is None
    entries = [[22, {"accept": None}], [179, {"drop": None}]]
    ports = {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": entries}}}
    assert str(ended(nft([ports]))).startswith("tcp dport vmap ")
    assert ended(nft([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}], [PORT, {"drop": None}])) is None


def test_nft_order_policy_and_dormant() -> None:
    assert ended(nft([{"vmap": {}}], [PORT, {"drop": None}])) is None
    assert ended(nft(policy="drop")) == "policy drop"
    assert ended(nft([PORT, {"drop": None}], flags=["dormant"])) is None
    assert ended(nft([PORT, {"drop": None}], hook="forward")) is None
    assert ended(nft([PORT, {"drop": None}], hook="prerouting")) is not None


@pytest.mark.parametrize(
    "section",
    [
        {"iptables": [{"backend": "nft", "family": "inet", "error": "there is no iptables-save for nft"}], "nft": []},
        {"iptables": [], "nft": {"error": "nft is not installed"}},
        {"iptables": [], "nft": [{"family": "inet", "name": "fw", "error": "more than 16 MB of rules"}]},
        {"iptables": [], "nft": [{"family": "inet", "name": "fw", "json": "{"}]},
        {"iptables": [{"backend": "nft", "family": "inet", "text": "*filter\n:INPUT ACCEPT [0:0]\n"}], "nft": []},
        {"iptables": [{"backend": "nft", "family": "inet", "text": "what?\n"}], "nft": []},
    ],
)
def test_what_was_not_read_is_not_judged(section: t.Any) -> None:
    with pytest.raises(NotCollected):
        filters(section)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.sampled_from(["tcp", "dport", "saddr", "10.0.0.0", "eth*", "@s", "in", "input", "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from("match left right op payload protocol field set range prefix jump target drop counter packets meta key vmap data fib ct".split()),
        inner,
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.lists(st.lists(JSON, max_size=4), max_size=4))
def test_property_any_nft_rules(rules: list[list[t.Any]]) -> None:
    hit = end_of(SYN, "input", filters(nft(*rules)))
    assert hit is None or isinstance(hit.line, str)
