# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected, parse_address, parse_network
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy import WORST, intended
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy_kubernetes import label_selector
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy_members import Member, Networks, members_of
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy_rules import Packet, Rule, any_of, port_range
from ansible_collections.podnet.doctor.plugins.plugin_utils._selectors import parse
from ansible_collections.podnet.doctor.tests.unit.small_policy import calico, document, end, named, policy

WEB, API, DB = "10.253.1.5", "10.253.2.7", "10.253.3.9"


def matches(spec, packet, namespace=""):
    return Rule(1, "allow", namespace, spec).matches(packet, members_of(Cluster(document())))


def tcp(**fields):
    return Packet(**{"protocol": "TCP", "src": WEB, "dst": API, "dport": 80, **fields})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"protocol": "TCP"}, True),
        ({"protocol": 6}, True),
        ({"protocol": "UDP"}, False),
        ({"notProtocol": "UDP"}, True),
        ({"notProtocol": 6}, False),
        ({"ipVersion": 4}, True),
        ({"ipVersion": 6}, False),
        ({"destination": {"ports": [79, "80:81"]}}, True),
        ({"destination": {"ports": ["81:90"]}}, False),
        ({"destination": {"notPorts": [80]}}, False),
        ({"destination": {"notPorts": [81]}}, True),
        ({"source": {"ports": ["1024:65535"]}}, True),
        ({"source": {"ports": [53]}}, False),
        ({"source": {"notPorts": [53]}}, True),
        ({"source": {"nets": ["10.253.1.0/24"]}}, True),
        ({"source": {"nets": ["10.253.1.0/24"], "notNets": ["10.253.1.5/32"]}}, False),
        ({"source": {"nets": ["2001:db8::/32"]}}, False),
        ({"source": {"selector": "app == 'web'"}, "destination": {"selector": "app == 'api'"}}, True),
        ({"source": {"selector": "app == 'db'"}}, False),
        ({"source": {"notSelector": "app == 'web'"}}, False),
        ({"source": {"namespaceSelector": "team == 'red'"}}, True),
        ({"source": {"namespaceSelector": "all()"}}, True),
        ({"source": {"namespaceSelector": "global()"}}, False),
        ({"source": {"selector": "pcns.team == 'red'"}}, True),
        ({"source": {"serviceAccounts": {"names": ["default"]}}}, True),
        ({"source": {"serviceAccounts": {"names": ["runner"]}}}, False),
        ({"icmp": {"type": 8}}, False),
        ({"notICMP": {"type": 8}}, True),
    ],
)
def test_a_rule(spec, expected):
    assert matches(spec, tcp()) is expected


def test_icmp_by_type_and_code():
    echo = tcp(protocol="ICMP", dport=None, icmp_type=8, icmp_code=0)
    for spec, expected in (({"type": 8}, True), ({"type": 8, "code": 0}, True), ({"type": 8, "code": 1}, False), ({"type": 13}, False)):
        assert matches({"protocol": "ICMP", "icmp": spec}, echo) is expected
        assert matches({"protocol": "ICMP", "notICMP": spec}, echo) is not expected
    assert not matches({"destination": {"ports": [80]}}, echo)


@pytest.mark.parametrize(
    "spec",
    [
        {"http": {"methods": ["GET"]}},
        {"destination": {"domains": ["example.com"]}},
        {"source": {"ports": ["40000:50000"]}},
        {"source": {"selector": "app = web"}},
        {"source": {"nets": ["anything"]}},
    ],
)
def test_what_is_not_modelled_is_unknown_unless_something_else_rules_it_out(spec):
    with pytest.raises(NotCollected):
        matches(spec, tcp())
    assert matches({**spec, "protocol": "UDP"}, tcp()) is False


def test_a_port_that_was_not_asked_for():
    with pytest.raises(NotCollected, match="not asked for"):
        matches({"destination": {"ports": [80]}}, tcp(dport=None))
    assert matches({"protocol": "TCP"}, tcp(dport=None))


def test_a_source_that_is_not_known():
    hidden = tcp(src=None, src_why="nobody knows")
    with pytest.raises(NotCollected, match="nobody knows"):
        matches({"source": {"nets": ["10.0.0.0/8"]}}, hidden)
    assert matches({"destination": {"nets": ["10.253.2.0/24"]}}, hidden)


def test_one_that_holds_is_enough_and_one_unknown_too_little():
    def unknown():
        raise NotCollected("no")

    assert any_of([unknown, lambda: True])
    assert not any_of([lambda: False])
    with pytest.raises(NotCollected):
        any_of([lambda: False, unknown])


@given(st.one_of(st.integers(0, 65535), st.text(), st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda p: f"{p[0]}:{p[1]}")))
def test_a_port_is_a_range_or_a_name(value):
    found = port_range(value)
    if isinstance(value, int):
        assert found == (value, value)
    elif found is not None:
        assert str(found[0]) == value.partition(":")[0].lstrip("0") or found[0] == int(value.partition(":")[0])


LABELS = st.dictionaries(st.sampled_from(["app", "tier", "env"]), st.sampled_from(["a", "b", ""]))
EXPRESSIONS = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(["app", "tier", "env"]), "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
         "values": st.lists(st.sampled_from(["a", "b", ""]), max_size=2)}
    ),
    max_size=3,
)  # fmt: skip


def as_kubernetes_means_it(selector, labels):
    for key, value in selector["matchLabels"].items():
        if labels.get(key) != value:
            return False
    for expression in selector["matchExpressions"]:
        key, values = expression["key"], expression["values"]
        here = {"In": labels.get(key) in values, "NotIn": labels.get(key) not in values, "Exists": key in labels, "DoesNotExist": key not in labels}
        if not here[expression["operator"]]:
            return False
    return True


@given(st.fixed_dictionaries({"matchLabels": LABELS, "matchExpressions": EXPRESSIONS}), LABELS)
def test_a_label_selector_means_the_same_in_calicos_words(selector, labels):
    assert parse(label_selector(selector))(labels) is as_kubernetes_means_it(selector, labels)


@given(st.lists(st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: f"{a}/{n}")), max_size=8), st.ip_addresses(v=4))
def test_networks_that_hold_an_address(prefixes, address):
    networks, expected = Networks(), []
    for number, prefix in enumerate(prefixes):
        member = Member("globalnetworkset", str(number))
        networks.add(prefix, member)
        if parse_address(str(address)) in parse_network(prefix):
            expected.append(member)
    assert sorted(networks.holding(address), key=lambda m: m.name) == sorted(expected, key=lambda m: m.name)


KEYS = st.sampled_from(
    "action protocol notProtocol icmp notICMP source destination selector notSelector namespaceSelector nets notNets ports notPorts services serviceAccounts "
    "names name podSelector matchLabels matchExpressions key operator values from to ipBlock cidr except port endPort policyTypes types order tier ingress "
    "egress subject namespaces pods networks protocols tcp destinationPort range start end number priority preDNAT doNotTrack applyOnForward node "
    "interfaceName expectedIPs profiles".split()
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
              st.sampled_from(["Allow", "Deny", "Pass", "Ingress", "Egress", "TCP", "all()", "10.253.0.0/16", "app == 'web'", "k8s02", "*", "eth0", "http"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
ENDS = [("shop/web", "shop/api"), ("k8s01", "k8s02"), ("outside", "data/db")]
SECTIONS = ("networkpolicies", "calico_networkpolicies", "globalnetworkpolicies", "clusternetworkpolicies", "adminnetworkpolicies", "hostendpoints", "tiers",
            "services", "endpointslices", "networksets", "globalnetworksets", "namespaces", "serviceaccounts", "felixconfigurations")  # fmt: skip


@given(st.sampled_from(SECTIONS), VALUES, st.sampled_from(["shop", ""]), st.sampled_from(ENDS))
def test_any_object_gives_a_verdict(section, spec, namespace, ends):
    """What was read is untrusted: nothing in it ends in an exception, and what cannot be understood does not allow."""
    odd = {"metadata": {"name": "odd", "namespace": namespace}, "spec": spec}
    known = document(networkpolicies=[policy("in", ingress=[{}])], globalnetworkpolicies=[calico("log", ingress=[{"action": "Log"}])],
                     hostendpoints=[named("host", {"node": "k8s02", "interfaceName": "eth0"})])  # fmt: skip
    known[section] = [odd, *(known[section] if isinstance(known[section], list) else [])]
    cluster = Cluster(known)
    for found in intended(cluster, end(cluster, ends[0]), end(cluster, ends[1]), "tcp", 80):
        assert found.outcome in WORST
