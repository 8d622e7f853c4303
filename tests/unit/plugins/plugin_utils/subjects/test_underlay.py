# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

FAR = "10.2.7.202"


def tunnel(**fields):
    return lambda document: document["links"][1].update(fields)


def no_tunnel(document):
    del document["links"][1]


def addresses(*held):
    def change(document):
        document["addresses"] = document["addresses"][:1] + [{"ifname": "tunl0", "family": "inet", "local": a, "prefixlen": 32} for a in held]

    return change


def answer(**route):
    def change(document):
        next(entry for entry in document["lookups"] if entry["dst"] == FAR)["route"] = route

    return change


def neighbour(dst, dev, *state):
    return lambda document: document["neighbours"].append({"dst": dst, "dev": dev, "state": list(state)})


def unchanged(document):
    pass


ROUTER_DEAD = small.together(answer(dev="eth0", gateway="10.2.7.254"), neighbour("10.2.7.254", "eth0", "FAILED"))


@pytest.mark.parametrize(
    ("kind", "of", "change", "outcome"),
    [
        ("tunnel.device", "", unchanged, "ok"),
        ("tunnel.device", "", no_tunnel, "tunnel.device.missing"),
        ("tunnel.device", "", tunnel(flags=["NOARP"]), "tunnel.device.down"),
        ("tunnel.address", "", addresses("10.253.9.9"), "tunnel.address.different"),
        ("tunnel.address", "", addresses(), "tunnel.address.different"),
        ("tunnel.device", "", small.lost("links"), "not_checked"),
        ("tunnel.address", "", small.lost("addresses"), "not_checked"),
        ("underlay.route", "k8s02", unchanged, "ok"),
        ("underlay.route", "k8s02", answer(error="Network is unreachable"), "underlay.route.missing"),
        ("underlay.route", "k8s02", neighbour(FAR, "eth0", "FAILED"), "underlay.neighbour.failed"),
        ("underlay.route", "k8s02", neighbour(FAR, "eth1", "FAILED"), "ok"),
        ("underlay.route", "k8s02", neighbour(FAR, "eth0", "STALE"), "ok"),
        ("underlay.route", "k8s02", ROUTER_DEAD, "underlay.neighbour.failed"),
        ("underlay.route", "k8s02", small.lost("lookups"), "not_checked"),
        ("underlay.route", "k8s02", small.lost("neighbours"), "not_checked"),
    ],
)
def test_checks(kind, of, change, outcome):
    found = small.verdict(small.diagnose(k8s01=change), kind, "k8s01", of)
    assert (found.finding.check if found.finding else found.outcome) == outcome


@pytest.mark.parametrize(
    ("change", "cause", "fault", "remedy"),
    [
        (no_tunnel, "tunnel_device_missing_or_down", "F34", "restart_calico_node"),
        (tunnel(flags=["NOARP"]), "tunnel_device_missing_or_down", "F34", "set_link_up"),
        (addresses("10.253.9.9"), "tunnel_address_missing_or_mismatch", "F35", "restart_calico_node"),
        (answer(error="Network is unreachable"), "host_route_missing_underlay", "F33", "advise_underlay"),
        (neighbour(FAR, "eth0", "FAILED"), "host_route_missing_underlay", "F33", "advise_underlay"),
    ],
)
def test_causes(change, cause, fault, remedy):
    (found,) = small.diagnose(k8s01=change).causes
    assert (found.id, found.fault, found.node) == (cause, fault, "k8s01")
    assert [one.id for one in found.remedies] == ([remedy] if remedy else [])


def test_a_dead_underlay_explains_the_dead_session():
    def session(document):
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"

    diagnosis = small.diagnose(k8s01=small.together(session, neighbour(FAR, "eth0", "FAILED")))
    assert small.named(diagnosis) == ["host_route_missing_underlay"]
    assert "bgp.session.down" in {f.check for f in diagnosis.explained_by(diagnosis.causes[0])}


def test_no_tunnel_is_expected_without_ipip():
    def plain(document):
        document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16"}

    assert not [fact for fact in small.diagnose(cluster=plain).facts if fact.kind == "tunnel.device"]


# ----------------------------------------------------------------------------- what no list has


def other_mac(*more):
    def change(document):
        document["neighbours"] = [{"dst": FAR, "dev": "eth0", "lladdr": "52:54:00:00:00:99", "state": ["REACHABLE"]}, *more]

    return change


def test_another_machine_answers_for_a_peer():
    def own(document):
        next(li for li in document["links"] if li["ifname"] == "eth0")["address"] = "52:54:00:00:00:02"

    diagnosis = small.diagnose(k8s01=other_mac(), k8s02=own)
    assert [(c.id, c.fault, c.node) for c in diagnosis.causes] == [("underlay_address_conflict", None, "k8s02")]
    assert diagnosis.outcome == "broken"
    several = other_mac({"dst": "10.2.7.254", "dev": "eth0", "lladdr": "52:54:00:00:00:99", "state": ["STALE"]})
    assert small.verdict(small.diagnose(k8s01=several, k8s02=own), "underlay.mac", "k8s01", "k8s02").outcome == "not_applicable"  # a router answers


def test_a_second_default_route():
    def second(metric):
        return lambda document: document["routes"].append(small.route("0.0.0.0/0", "wan0", gateway="192.0.2.1", metric=metric))

    def first(document):
        document["routes"][0].update(metric=100)

    diagnosis = small.diagnose(k8s01=small.together(first, second(50)))
    assert [(c.id, diagnosis.severity(c)) for c in diagnosis.causes] == [("second_default_route", "latent")]
    assert small.diagnose(k8s01=small.together(first, second(200))).findings == []
    (cause,) = diagnosis.causes
    assert [remedy.id for remedy in cause.remedies] == ["delete_route", "advise_default_route"]
    assert cause.remedies[0].parameters["route"]["dev"] == "wan0" and cause.remedies[0].parameters["unused"] is True
    (cause,) = small.diagnose(k8s01=small.together(first, second(50), second(60))).causes
    assert [remedy.id for remedy in cause.remedies] == ["advise_default_route"], "another alien one would be next"


def test_a_default_route_over_several_interfaces_is_no_second_one():
    def several(document):
        hops = [{"gateway": "192.0.2.1", "dev": "wan0", "weight": 1}, {"gateway": "10.2.7.254", "dev": "eth0", "weight": 1}]
        route = next(route for route in document["routes"] if route["dst"] == "0.0.0.0/0")
        del route["dev"], route["gateway"]
        route["nexthops"] = hops

    assert not small.diagnose(k8s01=several).findings


def table(entries, fulls=0, limit="1024"):
    def change(document):
        document["sysctls"]["net/ipv4/neigh/default/gc_thresh3"] = limit
        document["counters"] = {"arp_cache": {"entries": entries, "table_fulls": fulls}}

    return change


@pytest.mark.parametrize(("change", "severity"), [(table(1000), "latent"), (table(1020, 7), "critical"), (table(500, 7), None)])
def test_a_full_neighbour_table(change, severity):
    diagnosis = small.diagnose(k8s01=change)
    assert [(c.id, c.fault, diagnosis.severity(c)) for c in diagnosis.causes] == ([("neigh_table_overflow", "F54", severity)] if severity else [])


@pytest.mark.parametrize(("change", "outcome"), [(lambda d: None, "not_applicable"), (table(None), "not_checked")])
def test_a_neighbour_table_that_tells_nothing(change, outcome):
    assert small.verdict(small.diagnose(k8s01=change), "neighbour.table", "k8s01").outcome == outcome


def test_strict_reverse_paths():
    def direct(document):
        document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16"}

    def sender(document):
        document["routes"] = [r for r in document["routes"] if r["dst"] != small.BLOCKS["k8s02"]]
        document["routes"] += [small.route(small.BLOCKS["k8s02"], "eth1", gateway="10.9.7.202", metric=50), small.route("10.9.7.0/24", "eth1", scope="link")]
        document["lookups"] = []

    def receiver(value):
        def change(document):
            document["links"].append(small.link(5, "eth1"))
            document["addresses"].append({"ifname": "eth1", "family": "inet", "local": "10.9.7.202", "prefixlen": 24})
            document["sysctls"].update({"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth1/rp_filter": value})
            document["routes"] = [{**r, "dev": "eth0"} if r.get("dev") == "tunl0" else r for r in document["routes"]]
            document["lookups"] = []

        return change

    def verdict(value):
        diagnosis = small.diagnose(cluster=direct, k8s01=sender, k8s02=receiver(value))
        return diagnosis, small.verdict(diagnosis, "underlay.source", "k8s02", "10.253.1.5>10.253.2.7")

    diagnosis, found = verdict("1")
    assert found.finding.check == "rp_filter.strict"
    assert (diagnosis.causes[0].id, diagnosis.causes[0].fault, diagnosis.causes[0].node) == ("rp_filter_strict_underlay", "F15", "k8s02")
    assert verdict("2")[1].outcome == "ok"


def flapped(document):
    next(li for li in document["links"] if li["ifname"].startswith("cali")).update(flapped=3)


def test_an_interface_that_flaps_explains_what_it_takes_away():
    def gone(document):
        document["routes"] = [r for r in document["routes"] if not str(r.get("dev")).startswith("cali")]
        next(li for li in document["links"] if li["ifname"].startswith("cali"))["flags"] = []

    (cause,) = small.diagnose(k8s02=small.together(flapped, gone)).causes
    assert (cause.id, cause.fault, cause.node) == ("link_flapping", None, "k8s02")


def test_an_interface_that_flapped_while_packets_were_sent():
    from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface

    seen = {"node": "k8s02", "ifname": host_interface("shop", "api-0"), "changes": 8}
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", False, flapped=seen)]})
    (cause,) = diagnosis.causes
    assert cause.id == "link_flapping" and "probe" in cause.roots[0].sources
    assert diagnosis.outcome == "broken"


def test_what_there_is_nothing_to_compare_with_is_not_called_ok():
    diagnosis = small.diagnose()  # no neighbour entries, and the API tells no Ready condition
    for kind, of in (("underlay.mac", "k8s02"), ("node.ready", "")):
        found = small.verdict(diagnosis, kind, "k8s01", of)
        assert (found.outcome, bool(found.reason)) == ("not_applicable", True)

    def no_session(document):
        document["bird"]["ipv4"]["protocols"] = []

    assert small.verdict(small.diagnose(k8s01=no_session), "bgp.as", "k8s01", "k8s02").outcome == "not_applicable"
