# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _compact
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.tests.unit import small


def facts(**changes):
    return NodeFacts("k8s01", {**small.node_document("k8s01"), **changes})


def test_a_node_that_said_nothing():
    lost = NodeFacts("k8s01", None, "is unreachable (ssh timeout)")
    assert not lost.collected
    for read in (lambda: lost.links, lambda: lost.routes, lost.bird, lambda: lost.process("felix"), lambda: lost.lookup(dst="10.0.0.1")):
        with pytest.raises(NotCollected, match=r"^k8s01 is unreachable \(ssh timeout\)$"):
            read()


def test_a_node_that_was_never_asked():
    with pytest.raises(NotCollected, match="k8s09 not asked"):
        Documents(small.documents().cluster, {}).node("k8s09").links  # noqa: B018


def test_routes_of_the_main_table():
    found = facts(routes=[small.route("10.0.0.0/8", "a"), small.route("10.0.0.0/8", "b", table=100)])
    assert [r["dev"] for r in found.routes_to("10.0.0.0/8")] == ["a"]


@pytest.mark.parametrize(
    ("change", "read", "sentence"),
    [
        ({"routes": [{"table": "main"}]}, lambda f: f.routes, "table cannot be understood"),
        ({"sysctls": {"net/ipv4/ip_forward": 1}}, lambda f: f.sysctl("net/ipv4/ip_forward"), "sysctl net/ipv4/ip_forward could not be read"),
        ({"bird": {}}, lambda f: f.bird(), "ipv4 was not asked for"),
        ({"bird": {"ipv4": 7}}, lambda f: f.bird(), "cannot be understood"),
        ({"bird": {"ipv4": {"protocols": [{"info": []}]}}}, lambda f: f.bgp_protocols(), "info cannot be understood"),
        ({"calico": {"felix": None}}, lambda f: f.process("felix"), "cannot be understood"),
        ({"sandboxes": []}, lambda f: f.sandbox_behind("cali1"), "no process was found in the network namespace behind cali1"),
    ],
)
def test_what_is_not_there_is_not_collected(change, read, sentence):
    with pytest.raises(NotCollected, match=sentence):
        read(facts(**change))


def test_a_lookup_is_found_by_exactly_what_was_asked():
    entries = [
        {"dst": "10.0.0.1", "src": "10.253.1.5", "iif": "cali1", "route": {"dev": "with source"}},
        {"dst": "10.0.0.1", "netns_of": None, "route": {"dev": "plain"}},
    ]
    found = facts(lookups=entries)
    assert found.lookup(dst="10.0.0.1")["dev"] == "plain"
    assert found.lookup(dst="10.0.0.1", src="10.253.1.5", iif="cali1")["dev"] == "with source"
    worked_out = facts(lookups=entries, routes=[small.route("10.0.0.0/8", "a", gateway="10.9.9.9")])
    assert worked_out.lookup(dst="10.0.0.1", src="10.253.1.6", iif="cali1")["gateway"] == "10.9.9.9"
    with pytest.raises(NotCollected, match="lookups: broken"):
        facts(lookups={"error": "broken"}).lookup(dst="10.0.0.1")


def evidence(*probes):
    return Evidence({"probes": list(probes)})


@pytest.mark.parametrize(
    ("probes", "forward", "reverse"),
    [
        ([], None, None),
        ([small.probe("forward", True)], True, True),  # an answer to it came back
        ([small.probe("forward", True, replied=0)], True, None),
        ([small.probe("forward", True, replied=0, refused=True)], True, True),  # a reset is an answer, too
        ([small.probe("forward", True, replied=0, refused=2)], True, True),
        ([small.probe("forward", True, replied=0), small.probe("reverse", False, "icmp")], True, False),
        ([small.probe("forward", True, "icmp")], None, None),  # an echo proves nothing for a TCP port
        ([small.probe("forward", None), small.probe("reverse", True, "icmp")], None, True),
        ([small.probe("forward", False), small.probe("forward", True)], True, True),
    ],
)
def test_what_arrived(probes, forward, reverse):
    found = evidence(*probes)
    assert (found.arrived("forward"), found.arrived("reverse")) == (forward, reverse)


def test_what_was_not_collected_refers_to_no_frame_for_ever():
    """An error that is its own cause would keep all that was judged beside it."""
    with pytest.raises(NotCollected) as raised:
        NodeFacts("k8s01", {}).filters("inet")
    assert raised.value.__cause__ is None


def test_the_whole_document_has_all_entries():
    rows = {"blocks": [["10.0.0.0/26", "192.0.2.1"], ["10.0.0.64/26", "192.0.2.2"]]}
    routes = [{"dst": dst, "gateway": gateway, "dev": "tunl0", "table": 254} for dst, gateway in rows["blocks"]]
    document = _compact.compact({"schema": "x", "routes": routes, "rules": [], "bird": {"ipv4": {"version": "1"}}}, rows)
    known = NodeFacts("k8s01", _compact.Opened(document, rows, _compact.Expander(1)))
    assert known.whole == {"schema": "x", "routes": routes, "rules": [], "bird": {"ipv4": {"version": "1"}}} and known.main_routes.wide
    assert known.routes_to("10.0.0.64/26") == routes[1:] and known.fib.route_to("10.0.0.70")["gateway"] == "192.0.2.2"
