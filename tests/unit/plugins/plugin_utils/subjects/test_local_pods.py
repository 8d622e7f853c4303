# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins.plugin_utils.subjects.test_cni import dead, typha, typha_pod

WEB = host_interface("shop", "web-0")
MAC = "4a:00:00:00:00:01"  # of the pod's eth0 in small.py


def drop_link(document):
    document["links"] = [li for li in document["links"] if li["ifname"] != WEB]


def link_down(document):
    next(li for li in document["links"] if li["ifname"] == WEB).update(flags=["BROADCAST"], operstate="DOWN")


def local_route(*routes):
    def change(document):
        document["routes"] = [r for r in document["routes"] if r["dst"] != "10.253.1.5/32"] + list(routes)

    return change


def sysctl(name, value):
    def change(document):
        if value is None:
            document["sysctls"].pop(name)
        else:
            document["sysctls"][name] = value

    return change


def neighbour(lladdr, *state, dst="10.253.1.5", dev=WEB):
    return lambda document: document["neighbours"].append({"family": "inet", "dst": dst, "dev": dev, "lladdr": lladdr, "state": list(state)})


def no_default(document):
    document["routes"] = [r for r in document["routes"] if r["dst"] != "0.0.0.0/0"]
    document["lookups"] = [entry for entry in document["lookups"] if entry["dst"] != "169.254.1.1"]


def unroutable(document):
    document["lookups"][0]["route"] = {"error": "Network is unreachable"}


def felix(running):
    return lambda document: document["calico"].update(felix={"running": running} if running is not None else {"error": "no process list"})


def pod_links(value):
    return lambda document: document["sandboxes"][0]["network"].update(links=value)


def unchanged(document):
    pass


POD = "shop/web-0"
FORWARDING, PROXY_ARP = (f"net/ipv4/conf/{WEB}/{name}" for name in ("forwarding", "proxy_arp"))


@pytest.mark.parametrize(
    ("kind", "of", "change", "outcome"),
    [
        ("veth", POD, unchanged, "ok"),
        ("veth", POD, drop_link, "veth.missing"),
        ("veth", POD, link_down, "veth.down"),
        ("veth", POD, small.lost("links"), "not_checked"),
        ("route.local", POD, unchanged, "ok"),
        ("route.local", POD, local_route(), "route.local.missing"),
        ("route.local", POD, local_route(small.route("10.253.1.5/32", "cali0", scope="link")), "route.local.different"),
        ("route.local", POD, local_route(small.route("10.253.1.5/32", WEB), small.route("10.253.1.5/32", "x", metric=9)), "ok"),
        ("route.local", POD, small.lost("routes"), "not_checked"),
        ("neighbour.pod", POD, unchanged, "ok"),
        ("neighbour.pod", POD, neighbour(MAC, "REACHABLE"), "ok"),
        ("neighbour.pod", POD, neighbour(None, "FAILED"), "ok"),
        ("neighbour.pod", POD, neighbour("00:00:5e:00:53:01", "STALE"), "neighbour.pod.wrong"),
        ("neighbour.pod", POD, neighbour("00:00:5e:00:53:01", "STALE", dev="eth0"), "ok"),
        ("neighbour.pod", POD, small.lost("neighbours"), "not_checked"),
        ("neighbour.pod", POD, small.together(neighbour("00:00:5e:00:53:01", "STALE"), small.lost("sandboxes")), "not_checked"),
        ("neighbour.pod", POD, small.together(neighbour("00:00:5e:00:53:01", "STALE"), pod_links({"error": "gone"})), "not_checked"),
        ("neighbour.pod", POD, small.together(neighbour("00:00:5e:00:53:01", "STALE"), pod_links([None])), "not_checked"),
        ("sysctl.ip_forward", "", unchanged, "ok"),
        ("sysctl.ip_forward", "", sysctl("net/ipv4/ip_forward", "0"), "forwarding.off"),
        ("sysctl.ip_forward", "", sysctl("net/ipv4/ip_forward", None), "not_checked"),
        ("sysctl.forwarding", POD, unchanged, "ok"),
        ("sysctl.forwarding", POD, sysctl(FORWARDING, "0"), "forwarding.interface.off"),
        ("sysctl.forwarding", POD, sysctl(FORWARDING, None), "not_checked"),
        ("sysctl.forwarding", POD, small.together(drop_link, sysctl(FORWARDING, "0")), "not_checked"),
        ("sysctl.proxy_arp", POD, unchanged, "ok"),
        ("sysctl.proxy_arp", POD, sysctl(PROXY_ARP, "0"), "proxy_arp.off"),
        ("sysctl.proxy_arp", POD, small.together(sysctl(PROXY_ARP, "0"), sysctl("net/ipv4/conf/all/proxy_arp", "1")), "ok"),
        ("sysctl.proxy_arp", POD, small.lost("sysctls"), "not_checked"),
        ("route.gateway", "", unchanged, "ok"),
        ("route.gateway", "", unroutable, "route.gateway.missing"),
        ("route.gateway", "", no_default, "route.gateway.missing"),
        ("route.gateway", "", small.lost("lookups"), "ok"),  # the default route is seen
        ("route.gateway", "", small.together(small.lost("lookups"), small.lost("routes")), "not_checked"),
        ("felix.running", "", felix(True), "ok"),
        ("felix.running", "", felix(False), "felix.down"),
        ("felix.running", "", felix(None), "not_checked"),
    ],
)
def test_checks(kind, of, change, outcome):
    found = small.verdict(small.diagnose(k8s01=change), kind, "k8s01", of)
    assert (found.finding.check if found.finding else found.outcome) == outcome
    assert found.reason or found.outcome != "not_checked"


@pytest.mark.parametrize(
    ("change", "cause", "fault", "risk", "before"),
    [
        (drop_link, "host_veth_missing", "F52", "R2", "running"),
        (link_down, "host_veth_missing", "F52", "R1", "down"),
        (local_route(), "local_pod_route_missing", "F20", "R0 R2", "running"),
        (local_route(small.route("10.253.1.5/32", "cali0", scope="link")), "pod_route_wrong_iface", "F21", "R0 R2", "running"),
        (sysctl("net/ipv4/ip_forward", "0"), "proxy_arp_or_forwarding_cleared", "F17", "R1", "0"),
        (sysctl(FORWARDING, "0"), "proxy_arp_or_forwarding_cleared", "F17", "R1", "0"),
        (sysctl(PROXY_ARP, "0"), "proxy_arp_or_forwarding_cleared", "F17", "R1", "0"),
        (no_default, "no_route_to_169_254_1_1", "F18", "R1 R0", ""),
        (neighbour("00:00:5e:00:53:01", "PERMANENT"), "stale_host_neighbour", "F53", "R1", "00:00:5e:00:53:01"),
        (felix(False), "felix_not_ready", "F43", "R2", "running"),
    ],
)
def test_causes(change, cause, fault, risk, before):
    diagnosis = small.diagnose(k8s01=change)
    (found,) = diagnosis.causes
    assert (found.id, found.fault, found.node) == (cause, fault, "k8s01")
    assert " ".join(remedy.risk for remedy in found.remedies) == risk
    remedy = next((remedy for remedy in found.remedies if remedy.risk != "R0"), found.remedies[0])
    assert (remedy.change[0], remedy.node) == (before, "k8s01")
    assert bool(remedy.way_back) == (remedy.risk != "R0")
    assert not diagnosis.unexplained


def test_a_dead_felix_belongs_to_the_route_that_it_does_not_write():
    diagnosis = small.diagnose(k8s01=small.together(local_route(), felix(False)))
    assert small.named(diagnosis) == ["local_pod_route_missing"]
    assert [finding.check for finding in diagnosis.causes[0].also] == ["felix.down"]


def test_a_wrong_neighbour_of_another_pod_counts_only_if_somebody_set_it():
    def other(document):
        document["pods"].append(small.pod("shop/other", "k8s01", "10.253.1.9"))

    cali = host_interface("shop", "other")
    network = {"links": [small.link(3, "eth0", address=MAC)]}

    def change(*state):
        return small.together(
            lambda document: document["sandboxes"].append({"ifname": cali, "network": network}),
            lambda document: document["links"].append(small.link(30, cali)),
            neighbour("00:00:5e:00:53:01", *state, dst="10.253.1.9", dev=cali),
        )

    for state, outcome in (("STALE", "ok"), ("PERMANENT", "finding")):
        found = small.verdict(small.diagnose(cluster=other, k8s01=change(state)), "neighbour.pod", "k8s01", "shop/other")
        assert found.outcome == outcome


def test_without_calico_its_interfaces_are_not_expected():
    diagnosis = small.diagnose(cluster=lambda document: document.update(daemonsets=[]))
    assert not [fact for fact in diagnosis.facts if fact.kind in ("veth", "route.local", "felix.running", "pod.route")]
    assert [fact for fact in diagnosis.facts if fact.kind == "sysctl.ip_forward"]


def test_the_exact_sysctl_is_set_back():
    (remedy,) = small.diagnose(k8s01=sysctl(PROXY_ARP, "0")).causes[0].remedies
    assert remedy.parameters == {"path": PROXY_ARP, "value": "1"}
    assert remedy.way_back == f"sysctl -w net.ipv4.conf.{WEB}.proxy_arp=0"


def no_routes(document):
    document["routes"] = [route for route in document["routes"] if not route["dst"].endswith("/32")]


def test_routes_of_pods_that_go_away_on_many_nodes_at_once():
    (cause,) = small.diagnose(cluster=typha, k8s01=no_routes, k8s02=no_routes).causes
    assert (cause.id, cause.fault, cause.node) == ("stale_typha_data", "F45", "k8s01") and {"shop/web-0", "shop/api-0"} <= set(cause.objects)
    assert [remedy.id for remedy in cause.remedies] == ["advise_typha_restart"]


def test_typha_is_restarted_before_the_nodes_whose_routes_stay_away():
    found = small.diagnose(cluster=small.together(typha, typha_pod), k8s01=no_routes, k8s02=no_routes).causes
    (cause,) = (cause for cause in found if cause.id == "stale_typha_data")
    steps = [(remedy.id, remedy.node) for remedy in cause.remedies]
    assert steps == [("restart_typha", ""), *((step, node) for node in ("k8s01", "k8s02") for step in ("wait", "restart_calico_node"))]


@pytest.mark.parametrize(
    "changes",
    [
        {"k8s01": no_routes, "k8s02": no_routes},
        {"cluster": typha, "k8s01": no_routes},
        {"cluster": typha, "k8s01": small.together(no_routes, dead), "k8s02": no_routes},
    ],
    ids=["no Typha", "one node", "a dead Felix of its own"],
)
def test_otherwise_each_is_a_cause_of_its_own(changes):
    assert set(small.named(small.diagnose(**changes))) == {"local_pod_route_missing"}
