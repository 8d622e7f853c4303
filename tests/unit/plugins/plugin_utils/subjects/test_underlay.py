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
