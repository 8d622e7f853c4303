# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

POD = "shop/web-0"
GATEWAY = "169.254.1.1"


def inside(part, value):
    return lambda document: document["sandboxes"][0]["network"].update({part: value})


def neighbour(lladdr, *state):
    return inside("neighbours", [{"dst": GATEWAY, "dev": "eth0", "lladdr": lladdr, "state": list(state)}])


def no_network(document):
    document["sandboxes"][0].pop("network")


def unchanged(document):
    pass


DEFAULT = small.route("0.0.0.0/0", "eth0", gateway=GATEWAY)
OTHER_MAC = "00:00:5e:00:53:01"


@pytest.mark.parametrize(
    ("kind", "change", "outcome"),
    [
        ("pod.link", unchanged, "ok"),
        ("pod.link", inside("links", []), "pod.link.down"),
        ("pod.link", inside("links", [small.link(3, "eth0", flags=["BROADCAST"])]), "pod.link.down"),
        ("pod.link", inside("addresses", []), "pod.address.missing"),
        ("pod.link", inside("addresses", [{"ifname": "eth0", "family": "inet", "local": "10.253.1.6", "prefixlen": 32}]), "pod.address.missing"),
        ("pod.link", inside("links", {"error": "gone"}), "not_checked"),
        ("pod.link", no_network, "not_checked"),
        ("pod.link", small.lost("sandboxes"), "not_checked"),
        ("pod.route", unchanged, "ok"),
        ("pod.route", inside("routes", []), "pod.route.missing"),
        ("pod.route", inside("routes", [{**DEFAULT, "table": 100}]), "pod.route.missing"),
        ("pod.route", inside("routes", [{**DEFAULT, "gateway": "10.0.0.1"}]), "pod.route.different"),
        ("pod.route", inside("routes", [{**DEFAULT, "prefsrc": "10.253.1.5"}]), "ok"),
        ("pod.route", inside("routes", [{**DEFAULT, "prefsrc": "10.8.0.2"}]), "pod.source.foreign"),
        ("pod.route", inside("routes", [{**DEFAULT, "dev": "eth1"}]), "pod.route.different"),
        ("pod.route", inside("routes", [DEFAULT, {**DEFAULT, "dev": "eth1", "metric": 9}]), "ok"),
        ("pod.route", inside("routes", "junk"), "not_checked"),
        ("pod.gateway", unchanged, "ok"),
        ("pod.gateway", neighbour("ee:ee:ee:ee:ee:ee", "REACHABLE"), "ok"),
        ("pod.gateway", neighbour(OTHER_MAC, "PERMANENT"), "pod.gateway.wrong"),
        ("pod.gateway", neighbour(None, "FAILED"), "pod.gateway.unresolved"),
        ("pod.gateway", neighbour(None, "INCOMPLETE"), "pod.gateway.unresolved"),
        ("pod.gateway", inside("neighbours", {"error": "gone"}), "not_checked"),
    ],
)
def test_checks(kind, change, outcome):
    found = small.verdict(small.diagnose(k8s01=change), kind, "k8s01", POD)
    assert (found.finding.check if found.finding else found.outcome) == outcome


def test_a_host_side_that_has_another_mac_on_purpose():
    def host(document):
        document["links"][2]["address"] = OTHER_MAC

    diagnosis = small.diagnose(k8s01=small.together(host, neighbour(OTHER_MAC, "REACHABLE")))
    assert small.verdict(diagnosis, "pod.gateway", "k8s01", POD).outcome == "ok"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (inside("links", []), "its eth0 is not up"),
        (inside("addresses", []), "does not have the pod's address"),
        (inside("routes", []), "its default route is gone"),
        (inside("routes", [{**DEFAULT, "dev": "eth1"}]), "its default route goes elsewhere"),
        (neighbour(OTHER_MAC, "PERMANENT"), "to a wrong MAC"),
    ],
)
def test_the_inside_of_a_pod_is_never_repaired_but_made_again(change, words):
    diagnosis = small.diagnose(k8s01=change)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.objects) == ("pod_side_broken", "F51", [POD])
    assert words in cause.summary
    (remedy,) = cause.remedies
    assert (remedy.risk, remedy.id, remedy.parameters["pod"]) == ("R2", "recreate_pod", POD)


def test_an_unanswered_arp_follows_from_what_is_wrong_on_the_host():
    def no_proxy_arp(document):
        for name in document["sysctls"]:
            if name.endswith("/proxy_arp"):
                document["sysctls"][name] = "0"

    diagnosis = small.diagnose(k8s01=small.together(no_proxy_arp, neighbour(None, "FAILED")))
    assert small.named(diagnosis) == ["proxy_arp_or_forwarding_cleared"]
    assert "pod.gateway.unresolved" in {f.check for f in diagnosis.explained_by(diagnosis.causes[0])}


def test_only_the_asked_pods_are_looked_into():
    diagnosis = small.diagnose(cluster=lambda document: document["pods"].append(small.pod("shop/other", "k8s01", "10.253.1.9")))
    assert {fact.object for fact in diagnosis.facts if fact.kind == "pod.route"} == set(small.PODS)


def test_a_pod_that_sends_from_another_address():
    (cause,) = small.diagnose(k8s01=inside("routes", [{**DEFAULT, "prefsrc": "10.8.0.2"}])).causes
    assert (cause.id, cause.fault, cause.node, list(cause.objects)) == ("workload_rpf_drop", "F16", "k8s01", [POD, "10.8.0.2"])
