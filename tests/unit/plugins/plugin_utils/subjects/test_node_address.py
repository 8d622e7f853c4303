# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils.subjects.node_address import removal_obstacles
from ansible_collections.podnet.doctor.tests.unit import small

STRAY = "192.188.1.1"
METHOD = "IP_AUTODETECTION_METHOD"


def announce(address, node=1, method=None, **more):
    def change(document):
        document["nodes"][node]["metadata"]["annotations"].update({"projectcalico.org/IPv4Address": f"{address}/24", **more})
        if method:
            env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
            env.append({"name": "IP_AUTODETECTION_METHOD", "value": method})

    return change


def hold(address=STRAY, ifname="br0"):
    def change(document):
        document["links"].append(small.link(20, ifname))
        document["addresses"].append({"ifname": ifname, "family": "inet", "local": address, "prefixlen": 24})

    return change


def session(state, towards=None):
    def change(document):
        protocol = document["bird"]["ipv4"]["protocols"][0]
        protocol["bgp"]["state"] = state
        if towards:
            protocol["bgp"]["neighbor_address"] = towards

    return change


def broken(**more):
    changes = {"cluster": announce(STRAY), "k8s02": small.together(hold(), session("Connect")), "k8s01": session("Connect", STRAY)}
    return small.diagnose(**{**changes, **more})


def verdict(diagnosis, node="k8s02"):
    return small.verdict(diagnosis, "node.address", node)


def test_right():
    assert verdict(small.diagnose()).outcome == "ok"


def test_a_stray_address_is_seen_by_the_api_the_kernel_and_the_peer():
    finding = verdict(broken()).finding
    assert (finding.check, finding.actual, finding.fact.value) == ("node.address.wrong", STRAY, "10.2.7.202")
    assert finding.sources == ("api", "kernel k8s02", "bird k8s01")
    assert f"inet {STRAY}/24 dev br0" in finding.evidence


def test_a_stray_address_is_deleted_and_only_then_restarted():
    (cause,) = broken().causes
    assert (cause.id, cause.fault, cause.node, cause.objects) == ("node_ip_wrong_nic", "F01", "k8s02", [STRAY])
    assert "an address of its interface br0" in cause.summary
    delete, restart, lasting = cause.remedies
    assert (delete.id, delete.risk, delete.parameters["address"]) == ("delete_address", "R1", f"{STRAY}/24")
    assert delete.way_back == f"ip address add {STRAY}/24 dev br0"
    assert delete.wait_seconds == 90
    assert (restart.id, restart.risk, restart.only_if) == ("restart_calico_node", "R2", "k8s02 does not announce 10.2.7.202 within 90 s")
    assert (lasting.id, lasting.risk, lasting.change) == ("set_autodetection", "R3", ("first-found", "kubernetes-internal-ip"))
    assert lasting.parameters == {"namespace": "kube-system", "was": "first-found"} and lasting.way_back.endswith("IP_AUTODETECTION_METHOD-")
    assert lasting.only_if == "" and "calico-node of all 2 nodes is made again, 1 at a time" in lasting.blast_radius


def daemonset(**more):
    def change(document):
        announce(STRAY)(document)
        found = document["daemonsets"][0]
        found["metadata"].update(more.get("metadata", {}))
        found["spec"].update(more.get("spec", {}))
        found["spec"]["template"]["spec"]["containers"][0]["env"] += more.get("env", [])

    return change


def lasting_remedy(**changes):
    return next((r for r in broken(**changes).causes[0].remedies if r.id.endswith("_autodetection")), None)


def test_the_operator_is_told_through_its_installation():
    found = lasting_remedy(cluster=daemonset(metadata={"ownerReferences": [{"kind": "Installation"}]}, env=[{"name": METHOD, "value": "first-found"}]))
    assert found.object.startswith("Installation/default") and found.action.startswith("kubectl patch installation default")


@pytest.mark.parametrize(
    ("given", "at_once", "seconds"),
    [(None, 1, 180), (1, 1, 180), (2, 2, 120), ("100%", 2, 120), ("30%", 1, 180), (0, 1, 180), ("x", 1, 180)],
)
def test_how_many_nodes_at_a_time_and_how_long(given, at_once, seconds):
    found = lasting_remedy(cluster=daemonset(spec={"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": given}}}))
    assert f", {at_once} at a time;" in found.blast_radius and found.wait_seconds == seconds


def test_a_method_that_was_named_is_named_again_on_the_way_back():
    found = lasting_remedy(cluster=daemonset(env=[{"name": METHOD, "value": "skip-interface=eth9"}]))
    assert found.way_back.endswith("IP_AUTODETECTION_METHOD=skip-interface=eth9") and found.parameters["was"] == "skip-interface=eth9"
    odd = lasting_remedy(cluster=daemonset(env=[{"name": METHOD, "value": "skip-interface=eth9; reboot"}]))
    assert odd.way_back.endswith("'IP_AUTODETECTION_METHOD=skip-interface=eth9; reboot'")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": daemonset(metadata={"ownerReferences": [{"kind": "Addon"}]})}, "Addon makes its DaemonSet, and would write it anew"),
        ({"cluster": daemonset(metadata={"name": "canal"})}, "the DaemonSet calico-node was not read"),
        ({"cluster": daemonset(spec={"updateStrategy": {"type": "OnDelete"}})}, "made again only when somebody deletes them (OnDelete)"),
        ({"cluster": daemonset(env=[{"name": METHOD, "value": "skip-interface=eth9", "valueFrom": {}}])}, "comes from elsewhere"),
        ({"k8s01": lambda document: document.clear()}, "no interface of k8s01 is known to have 10.2.7.201"),
        ({"cluster": small.together(announce(STRAY), lambda d: d["nodes"][0]["status"].clear())}, "k8s01 would announce no address"),
        (
            {"cluster": small.together(announce(STRAY), lambda d: d["nodes"][0]["metadata"].update(labels={"route-reflector": "true"}, annotations={
                **d["nodes"][0]["metadata"]["annotations"], "projectcalico.org/RouteReflectorClusterID": "1.0.0.1"}))},
            "k8s01 is the only route reflector",
        ),
    ],
)  # fmt: skip
def test_the_method_stays_where_it_would_not_do_for_every_node(changes, reason):
    found = lasting_remedy(**changes)
    assert (found.id, found.risk) == ("advise_autodetection", "R0") and reason in found.action


def test_kubernetes_own_address_is_not_asked_for_twice():
    assert lasting_remedy(cluster=daemonset(env=[{"name": METHOD, "value": "kubernetes-internal-ip"}])) is None


def test_an_address_of_another_node_that_was_detected_is_not_written_over():
    diagnosis = small.diagnose(cluster=announce(small.ADDRESSES["k8s01"]), k8s02=hold(small.ADDRESSES["k8s01"], "vip0"))
    causes = [cause for cause in diagnosis.causes if cause.id == "duplicate_node_ip"]
    assert causes and all([remedy.id for remedy in cause.remedies] == ["set_autodetection"] for cause in causes)


def test_an_address_that_no_interface_has():
    diagnosis = broken(k8s02=session("Connect"))
    finding = verdict(diagnosis).finding
    assert "no interface of k8s02 has it" in finding.evidence
    assert diagnosis.causes[0].remedies == []
    assert "which no interface of it has" in diagnosis.causes[0].summary


@pytest.mark.parametrize("section", ["addresses", "links", "routes"])
def test_half_an_answer_names_the_cause_without_a_change(section):
    diagnosis = broken(k8s02=small.together(hold(), session("Connect"), small.lost(section)))
    assert diagnosis.causes[0].id == "node_ip_wrong_nic"
    assert {remedy.risk for remedy in diagnosis.causes[0].remedies} <= {"R0", "R3"}


def test_the_right_address_that_no_interface_has_any_more():
    def drop(document):
        document["addresses"] = [a for a in document["addresses"] if a["ifname"] != "eth0"]

    finding = verdict(small.diagnose(k8s02=drop)).finding
    assert (finding.check, finding.hint["stale"]) == ("node.address.wrong", True)


def test_a_second_nic_on_purpose_is_no_finding():
    interfaces = {"projectcalico.org/Interfaces": json.dumps([{"name": "eth1", "addresses": ["172.16.0.2"]}])}
    change = announce("172.16.0.2", method="interface=eth1", **interfaces)
    diagnosis = small.diagnose(cluster=change, k8s02=hold("172.16.0.2", "eth1"))
    assert verdict(diagnosis).outcome == "ok"
    assert verdict(diagnosis).fact.value == "172.16.0.2"


def test_every_node_on_another_network_is_a_choice():
    both = small.together(announce("172.16.0.1", 0), announce("172.16.0.2", 1))
    diagnosis = small.diagnose(cluster=both, k8s01=hold("172.16.0.1", "eth1"), k8s02=hold("172.16.0.2", "eth1"))
    assert verdict(diagnosis).outcome == verdict(diagnosis, "k8s01").outcome == "ok"


def test_an_unusual_address_that_works_is_not_applicable():
    diagnosis = small.diagnose(cluster=announce(STRAY), k8s02=hold(), k8s01=session("Established", STRAY))
    assert verdict(diagnosis).outcome == "not_applicable"
    assert "Established" in verdict(diagnosis).reason


def test_no_address_at_all():
    def silent(document):
        del document["nodes"][1]["metadata"]["annotations"]["projectcalico.org/IPv4Address"]

    diagnosis = small.diagnose(cluster=silent)
    assert verdict(diagnosis).finding.check == "node.address.absent"
    assert "node_ip_wrong_nic" in small.named(diagnosis)

    def policy_only(document):
        silent(document)
        env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "CALICO_NETWORKING_BACKEND", "value": "none"})

    assert verdict(small.diagnose(cluster=policy_only)).outcome == "not_applicable"


def test_no_calico_no_address():
    diagnosis = small.diagnose(cluster=lambda document: document.update(daemonsets=[]))
    assert verdict(diagnosis).outcome == "not_applicable"


def test_nothing_says_which_address_is_right():
    def nothing(document):
        announce(STRAY, method="cidr=junk")(document)

    assert verdict(broken(cluster=nothing)).outcome == "not_checked"


def test_a_node_that_could_not_be_asked_is_judged_by_the_api_and_its_peers():
    interfaces = {"projectcalico.org/Interfaces": json.dumps([{"name": "br0", "addresses": [STRAY]}])}
    diagnosis = broken(cluster=announce(STRAY, **interfaces), k8s02=lambda document: document.clear())
    finding = verdict(diagnosis).finding
    assert finding.check == "node.address.wrong"
    assert "bird k8s01" in finding.sources
    assert not any(source.startswith("kernel") for source in finding.sources)
    assert all(remedy.risk == "R0" for cause in diagnosis.causes for remedy in cause.remedies)


# ------------------------------------------------------------------ when an address must stay


def advice(diagnosis):
    remedies = diagnosis.causes[0].remedies
    assert {remedy.risk for remedy in remedies} <= {"R0", "R3"}
    return remedies[0].action


def test_it_stays_where_a_route_uses_its_interface():
    changes = small.together(hold(), session("Connect"), lambda d: d["routes"].append(small.route("10.9.0.0/16", "br0", gateway="192.188.1.9")))
    assert "the route to 10.9.0.0/16 uses br0" in advice(broken(k8s02=changes))


def test_it_stays_where_the_simulation_chooses_something_else():
    changes = small.together(hold(), session("Connect"), hold("198.51.100.7", "br1"))
    assert "would choose 198.51.100.7, not 10.2.7.202" in advice(broken(k8s02=changes))


def test_it_stays_where_nothing_can_be_simulated():
    def unasked(document):
        announce(STRAY, method="can-reach=8.8.8.8")(document)

    assert "is not known" in advice(broken(cluster=unasked))


def test_it_stays_where_no_peer_was_seen_to_fail():
    assert "no other node's BIRD" in advice(broken(k8s01=small.lost("bird")))


def without_bird(document):
    announce(STRAY)(document)
    document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"})


def no_carrier(document):
    next(link for link in document["links"] if link["ifname"] == "br0")["flags"] = ["UP", "NO-CARRIER"]


def sends_there(document):
    document.setdefault("fdb", []).append({"mac": "66:00:00:00:00:02", "ifname": "vxlan.calico", "dst": STRAY, "state": "permanent"})


@pytest.mark.parametrize(
    ("k8s02", "k8s01", "text"),
    [
        (small.together(hold(), no_carrier), small.lost("bird"), f"no other node was seen to send its tunnel's packets to {STRAY}"),
        (hold(), sends_there, "br0 has a carrier, so somebody may use it"),
        (small.together(hold(), no_carrier), sends_there, ""),
    ],
)
def test_without_bird_another_node_sends_its_tunnel_there(k8s02, k8s01, text):
    diagnosis = broken(cluster=without_bird, k8s02=k8s02, k8s01=k8s01)
    if text:
        assert text in advice(diagnosis)
    else:
        assert [remedy.id for remedy in diagnosis.causes[0].remedies][:2] == ["delete_address", "restart_calico_node"]


def test_without_autodetection_deleting_would_change_nothing():
    def fixed(document):
        announce(STRAY)(document)
        document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "IP", "value": STRAY}]

    remedies = broken(cluster=fixed).causes[0].remedies
    assert [(remedy.id, remedy.risk) for remedy in remedies] == [("set_node_address", "R3")]


@pytest.mark.parametrize(
    ("section", "value", "reason"),
    [
        ("routes", [small.route("10.0.0.0/8", nexthops=[{"gateway": "x", "dev": "br0"}])], "the route to 10.0.0.0/8 uses br0"),
        ("routes", [small.route("192.188.1.0/24", "br0", protocol="kernel"), small.route("192.188.1.255/32", "br0", table=255)], None),
        ("lookups", [{"dst": "10.2.7.202", "route": {"dev": "br0"}}], "node 10.2.7.202 is reached over br0"),
        ("lookups", [{"dst": "10.9.9.9", "route": {"dev": "br0"}}], None),
        ("routes", {"error": "Permission denied"}, "k8s01: routes: Permission denied"),
        ("lookups", {"error": "Permission denied"}, "k8s01: lookups: Permission denied"),
    ],
)
def test_what_an_interface_carries(section, value, reason):
    facts = NodeFacts("k8s01", {**small.node_document("k8s01"), section: value})
    assert removal_obstacles(facts, "br0", Cluster(small.cluster_document())) == ([reason] if reason else [])


def twin(address, ready):
    def change(document):
        document["nodes"].append({"metadata": {"name": "other", "annotations": {"projectcalico.org/IPv4Address": f"{small.ADDRESSES['k8s02']}/24"}}, "spec": {},
                                  "status": {"addresses": [{"type": "InternalIP", "address": address}],
                                             "conditions": [{"type": "Ready", "status": ready}]}})  # fmt: skip

    return change


def test_two_nodes_with_one_address():
    (cause,) = small.diagnose(cluster=twin("10.2.7.203", "True")).causes
    assert (cause.id, cause.fault, cause.node) == ("duplicate_node_ip", "F50", "other")


def test_a_node_that_was_renamed():
    (cause,) = small.diagnose(cluster=twin(small.ADDRESSES["k8s02"], "Unknown")).causes
    assert (cause.id, cause.fault, cause.node) == ("node_renamed", None, "other")
    assert [remedy.id for remedy in cause.remedies] == ["advise_delete_node"], "nobody says that k8s02 is well"


def test_what_a_renamed_node_announces_is_taken_away_where_the_other_is_well():
    def well(document):
        twin(small.ADDRESSES["k8s02"], "Unknown")(document)
        document["nodes"][1]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]

    (cause,) = small.diagnose(cluster=well).causes
    clear, advice = cause.remedies
    assert (clear.id, clear.risk, clear.node, advice.id) == ("clear_node_address", "R3", "", "advise_delete_node")
    address = f"{small.ADDRESSES['k8s02']}/24"
    assert clear.parameters == {"node": "other", "annotation": "projectcalico.org/IPv4Address", "was": address, "twin": "k8s02"}


def test_a_mask_that_is_not_the_interfaces():
    def narrow(document):
        document["nodes"][0]["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = f"{small.ADDRESSES['k8s01']}/32"

    diagnosis = small.diagnose(cluster=narrow)
    cause = next(c for c in diagnosis.causes if c.id == "node_mask_32")
    assert (cause.fault, cause.node, diagnosis.severity(cause)) == ("F26", "k8s01", "latent")
