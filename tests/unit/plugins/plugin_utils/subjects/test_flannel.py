# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.tests.unit import small, small_flannel
from ansible_collections.podnet.doctor.tests.unit.small import together
from ansible_collections.podnet.doctor.tests.unit.small_flannel import NODES, annotate, diagnose, drop, forward, put

MAC2 = NODES["fl-2"][2]


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_a_healthy_cluster_raises_nothing_and_looks_at_everything(backend):
    diagnosis = diagnose(backend=backend)
    assert diagnosis.findings == [] and diagnosis.blind is None
    assert diagnosis.outcome == "unknown"  # no packet was seen
    assert not [v for v in diagnosis.judged.values() if v.outcome == "not_checked"]
    kinds = {fact.kind for fact in diagnosis.facts.values()}
    assert {"flannel.lease", "podcidr", "flannel.running", "flannel.subnet_env", "flannel.route", "underlay.route", "bridge", "bridge.port", "veth"} <= kinds
    assert ({"flannel.device", "flannel.vtep", "flannel.neighbour", "flannel.fdb"} <= kinds) is (backend == "vxlan")


def prefix(name):
    return f"{NODES[name][1]}.0/24"


CASES = {
    # change of fl-1, change of fl-2, change of the cluster, backend, (cause, fault, node, objects)
    "fdb missing": (drop("fdb", mac=MAC2), None, None, "vxlan", ("flannel_vtep_stale", "F76", "fl-1", [MAC2])),
    "fdb elsewhere": (put("fdb", {"dst": "192.0.2.99"}, mac=MAC2), None, None, "vxlan", ("flannel_vtep_stale", "F76", "fl-1", [MAC2])),
    "neighbour missing": (drop("neighbours", dst="10.244.1.0"), None, None, "vxlan", ("flannel_vtep_stale", "F76", "fl-1", ["10.244.1.0"])),
    "neighbour wrong": (put("neighbours", {"lladdr": "66:00:00:00:00:01"}, dst="10.244.1.0"), None, None, "vxlan",
                        ("flannel_vtep_stale", "F76", "fl-1", ["10.244.1.0"])),
    "device made anew": (None, together(drop("fdb", ifname="flannel.1"), drop("neighbours", dev="flannel.1"), drop("routes", dev="flannel.1")), None, "vxlan",
                         ("flannel_vtep_stale", "F76", "fl-2", ["flannel.1"])),
    "other MAC": (None, together(put("links", {"address": "66:00:00:00:00:02"}, ifname="flannel.1"), drop("neighbours", dev="flannel.1")), None, "vxlan",
                  ("flannel_vtep_stale", "F76", "fl-2", ["flannel.1"])),
    "public-ip": (put("fdb", {"dst": "192.188.1.1"}, mac=MAC2), None, annotate("fl-2", public_ip="192.188.1.1"), "vxlan",
                  ("flannel_public_ip_wrong", "F75", "fl-2", ["Node/fl-2"])),
    "public-ip, host-gw": (put("routes", {"gateway": "192.0.2.112"}, dst="10.244.1.0/24"), None, annotate("fl-2", public_ip="192.0.2.112"), "host-gw",
                           ("flannel_public_ip_wrong", "F75", "fl-2", ["Node/fl-2"])),
    "route missing": (drop("routes", dst="10.244.1.0/24"), None, None, "vxlan", ("flannel_peer_route_missing", None, "fl-1", ["10.244.1.0/24"])),
    "route missing, host-gw": (together(drop("routes", dst="10.244.1.0/24"), lambda d: d["flannel"].update(flanneld={"running": False})), None, None,
                               "host-gw", ("flannel_peer_route_missing", None, "fl-1", ["10.244.1.0/24"])),
    "route elsewhere": (put("routes", {"gateway": "192.0.2.99"}, dst="10.244.1.0/24"), None, None, "host-gw",
                        ("flannel_peer_route_wrong", None, "fl-1", ["10.244.1.0/24"])),
    "device gone": (None, together(drop("links", ifname="flannel.1"), drop("addresses", ifname="flannel.1"), drop("routes", dev="flannel.1"),
                                   drop("neighbours", dev="flannel.1"), drop("fdb", ifname="flannel.1")), None, "vxlan",
                    ("flannel_device_missing", None, "fl-2", ["flannel.1"])),
    "device down": (None, together(put("links", {"flags": []}, ifname="flannel.1"), drop("routes", dev="flannel.1")), None, "vxlan",
                    ("flannel_device_down", None, "fl-2", ["flannel.1"])),
    "subnet.env": (None, lambda d: d["flannel"].update(subnet_env=None, flanneld={"running": False}), None, "vxlan",
                   ("subnet_env_missing", "F77", "fl-2", ["/run/flannel/subnet.env"])),
    "subnet.env of another node": (None, lambda d: d["flannel"]["subnet_env"].update(FLANNEL_SUBNET="10.244.7.1/24"), None, "vxlan",
                                   ("subnet_env_missing", "F77", "fl-2", ["/run/flannel/subnet.env"])),
    "flanneld dead": (None, lambda d: d["flannel"].update(flanneld={"running": False}), None, "vxlan", ("flanneld_not_running", None, "fl-2", ["flanneld"])),
    "no podCIDR": (None, None, lambda d: d["nodes"][1]["spec"].update(podCIDRs=[]), "vxlan",
                   ("podcidr_missing_or_overlapping", "F78", "fl-2", ["Node/fl-2"])),
    "podCIDR of another node": (None, None, lambda d: d["nodes"][2]["spec"].update(podCIDRs=["10.244.1.0/24"]), "vxlan",
                                ("podcidr_missing_or_overlapping", "F78", "fl-2", ["Node/fl-2", "Node/fl-3"])),
    "no lease": (None, None, lambda d: d["nodes"][1]["metadata"].update(annotations={}), "vxlan", ("flannel_lease_missing", None, "fl-2", ["Node/fl-2"])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_named_alone(name):
    first, second, cluster, backend, expected = CASES[name]
    changes = {key: change for key, change in (("fl_1", first), ("fl_2", second), ("cluster", cluster)) if change is not None}
    diagnosis = diagnose(backend=backend, **changes)
    assert [(c.id, c.fault, c.node, list(c.objects)) for c in diagnosis.causes] == [expected]
    assert diagnosis.unexplained == []
    critical = any(finding.severity == "critical" for finding in diagnosis.findings)
    assert (diagnosis.outcome == "broken") is (critical and name not in ("no podCIDR", "no lease", "podCIDR of another node"))


def test_an_overlap_is_named_once_and_the_twins_addresses_follow_from_it():
    def same_network(document):
        document["nodes"][2]["spec"]["podCIDRs"] = ["10.244.0.0/23"]
        document["pods"].append(small.pod("shop/twin-0", "fl-3", "10.244.1.2"))

    diagnosis = diagnose(cluster=same_network)
    assert small.named(diagnosis) == ["podcidr_missing_or_overlapping"]
    assert {f.check for f in diagnosis.explained_by(diagnosis.causes[0])} >= {"pod.address.duplicate"}


def test_public_ips_of_another_network_everywhere_are_a_choice():
    def vagrant(document):
        for number, node in enumerate(document["nodes"]):
            annotate(node["metadata"]["name"], public_ip=f"198.51.100.{number}")(document)

    first = together(*(put("fdb", {"dst": f"198.51.100.{n}"}, mac=NODES[f"fl-{n + 1}"][2]) for n in (1, 2)))
    second = together(*(put("fdb", {"dst": f"198.51.100.{n}"}, mac=NODES[f"fl-{n + 1}"][2]) for n in (0, 2)))
    assert diagnose(cluster=vagrant, fl_1=first, fl_2=second).findings == []


@pytest.mark.parametrize(("forward", "reverse", "named"), [(True, True, []), (False, None, ["flannel_public_ip_wrong"]),
                                                           (None, True, ["flannel_public_ip_wrong"])])  # fmt: skip
def test_another_public_ip_at_which_packets_arrive_is_a_choice(forward, reverse, named):
    evidence = {"probes": [small.probe("forward", forward), small.probe("reverse", reverse)]}
    for backend, first in (("vxlan", put("fdb", {"dst": "198.51.100.12"}, mac=MAC2)),
                           ("host-gw", put("routes", {"gateway": "198.51.100.12"}, dst="10.244.1.0/24"))):  # fmt: skip
        diagnosis = diagnose(evidence=evidence, backend=backend, cluster=annotate("fl-2", public_ip="198.51.100.12"), fl_1=first)
        assert small.named(diagnosis) == named


@pytest.mark.parametrize(
    ("overwrite", "remedies"),
    [(None, ["restart_flannel", "advise_public_ip"]), ("192.188.1.1", ["set_flannel_address"]), ("192.188.1.2", ["advise_public_ip"])],
)
def test_what_corrects_the_address_that_flannel_announces(overwrite, remedies):
    wrong = {"public_ip": "192.188.1.1", **({"public_ip_overwrite": overwrite} if overwrite else {})}
    (cause,) = diagnose(cluster=annotate("fl-2", **wrong), fl_1=put("fdb", {"dst": "192.188.1.1"}, mac=MAC2)).causes
    assert [remedy.id for remedy in cause.remedies] == remedies
    if remedies == ["set_flannel_address"]:
        assert cause.remedies[0].parameters == {"node": "fl-2", "value": NODES["fl-2"][0], "was": "192.188.1.1"}


def test_two_entries_with_one_dst_are_normal():
    def old_entry_too(document):
        document["fdb"].append({"mac": "66:00:00:00:00:01", "ifname": "flannel.1", "dst": NODES["fl-2"][0], "state": "permanent", "flags": ["self"]})

    assert diagnose(fl_1=old_entry_too).findings == []


def direct(document):
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": True}}
    document["configmaps"][0]["data"]["net-conf.json"] = json.dumps(conf)


def straight(far):
    net, address, mac = f"{NODES[far][1]}.0/24", NODES[far][0], NODES[far][2]

    def lookups(document):
        for entry in document["lookups"]:
            if entry["dst"].startswith(NODES[far][1] + ".") and entry["route"]["dev"] == "flannel.1":
                entry["route"].update(dev="eth0", gateway=address)

    return together(put("routes", {"dev": "eth0", "gateway": address}, dst=net), drop("fdb", mac=mac), drop("neighbours", lladdr=mac), lookups)


def test_direct_routing_needs_no_tunnel_entries():
    assert diagnose(cluster=direct, fl_1=straight("fl-2"), fl_2=straight("fl-1")).findings == []
    assert small.named(diagnose(fl_1=straight("fl-2"))) == ["flannel_vtep_stale"]  # without DirectRouting it is a fault


def test_where_the_configuration_could_not_be_read_both_ways_are_right():
    def unread(document):
        document["configmaps"] = {"error": "Forbidden"}

    assert diagnose(cluster=unread).findings == []
    assert diagnose(cluster=unread, fl_1=straight("fl-2"), fl_2=straight("fl-1")).findings == []


def test_k3s_has_no_daemonset_and_its_flanneld_is_not_looked_for():
    def k3s(document):
        document["daemonsets"] = []

    diagnosis = diagnose(cluster=k3s, fl_1=put("links", {"address": "66:00:00:00:00:02"}, ifname="flannel.1"))
    assert "flannel.running" not in {fact.kind for fact in diagnosis.facts.values()}
    assert [r.risk for r in diagnosis.causes[0].remedies] == ["R0"]


EXACT = {
    "fdb missing": ("set_fdb", {"mac": MAC2, "dev": "flannel.1", "dst": "192.0.2.12"}, f"bridge fdb del {MAC2} dev flannel.1 dst 192.0.2.12 self"),
    "fdb elsewhere": ("set_fdb", {"mac": MAC2, "dev": "flannel.1", "dst": "192.0.2.12"},
                      f"bridge fdb replace {MAC2} dev flannel.1 dst 192.0.2.99 self permanent"),
    "neighbour missing": ("set_neighbour", {"dst": "10.244.1.0", "dev": "flannel.1", "lladdr": MAC2}, "ip neigh del 10.244.1.0 dev flannel.1"),
    "neighbour wrong": ("set_neighbour", {"dst": "10.244.1.0", "dev": "flannel.1", "lladdr": MAC2},
                        "ip neigh replace 10.244.1.0 lladdr 66:00:00:00:00:01 dev flannel.1 nud permanent"),
    "route missing": ("add_route", {"dst": "10.244.1.0/24", "gateway": "10.244.1.0", "dev": "flannel.1"},
                      "ip route del 10.244.1.0/24 via 10.244.1.0 dev flannel.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_a_single_entry_is_written_by_itself(name):
    [remedy] = diagnose(fl_1=CASES[name][0]).causes[0].remedies
    assert (remedy.id, dict(remedy.parameters), remedy.way_back) == EXACT[name]
    assert (remedy.risk, remedy.node, remedy.wait_seconds) == ("R1", "fl-1", 10)


@pytest.mark.parametrize("name", ["device made anew", "other MAC", "device gone", "device down", "subnet.env", "flanneld dead"])
def test_more_than_a_few_entries_are_flannelds_to_write(name):
    [remedy] = diagnose(fl_2=CASES[name][1]).causes[0].remedies
    assert (remedy.id, remedy.risk, remedy.node, dict(remedy.parameters)) == ("restart_flannel", "R2", "fl-2", {"component": "flannel"})


def test_a_dead_flanneld_is_restarted_and_its_entries_are_not_written_by_hand():
    dead = together(drop("fdb", mac=MAC2), lambda d: d["flannel"].update(flanneld={"running": False}))
    assert [remedy.id for remedy in diagnose(fl_1=dead).causes[0].remedies] == ["restart_flannel"]


def test_an_unknown_backend_is_not_judged():
    def wireguard(document):
        for node in document["nodes"]:
            annotate(node["metadata"]["name"], backend_type="wireguard", backend_data="{}")(document)

    diagnosis = diagnose(cluster=wireguard)
    assert diagnosis.findings == []
    assert any("wireguard is not judged" in v.reason for v in diagnosis.judged.values())


SECTIONS = ["links", "addresses", "routes", "neighbours", "fdb", "sysctls", "flannel", "netfilter", "sandboxes", "lookups"]
FROM_THE_API = {"flannel.public_ip.wrong", "podcidr.duplicate", "pod.address.duplicate"}


def test_what_is_taken_away_is_not_checked_and_never_a_fault():
    before = diagnose().judged
    touched = set()
    for section in SECTIONS:
        after = diagnose(fl_1=small.lost(section), fl_2=small.lost(section)).judged
        assert not [v for v in after.values() if v.outcome == "finding"], section
        changed = {v.check for fact, v in before.items() if v.outcome == "ok" and after[fact].outcome == "not_checked"}
        assert changed, f"no check reads {section}"
        touched |= changed
    assert {v.check for v in before.values() if v.outcome == "ok"} - touched == FROM_THE_API


def test_nodes_that_gave_nothing_are_not_accused():
    whole = small_flannel.documents()
    question = diagnose().question
    lost = Documents(whole.cluster, {name: NodeFacts(name, None, "is unreachable (ssh timeout)") for name in question.nodes})
    diagnosis = Diagnosis(question, lost)
    assert diagnosis.findings == [] and diagnosis.outcome == "unknown"


@pytest.mark.parametrize("section", ["nodes", "pods", "daemonsets", "configmaps"])
def test_a_lost_api_section_never_accuses(section):
    question = diagnose().question
    known = small_flannel.documents(cluster=small.lost(section))
    diagnosis = Diagnosis(question, known)
    assert diagnosis.findings == [] and diagnosis.outcome == "unknown"


@pytest.mark.parametrize("data", ["", "[]", "{", '{"VNI": "x", "VtepMAC": 5}'])
def test_annotations_that_cannot_be_understood_do_not_raise(data):
    diagnosis = diagnose(cluster=annotate("fl-2", backend_data=data))
    assert diagnosis.findings == []
    assert any("tells no VtepMAC" in v.reason or "does not tell" in v.reason for v in diagnosis.judged.values())


def filter_table(text):
    return lambda document: document["netfilter"]["iptables"][0].update(text=text)


def test_forward_drop_without_flannels_rules():
    (cause,) = diagnose(fl_1=filter_table(forward("DROP"))).causes
    assert (cause.id, cause.fault, cause.node) == ("flannel_forward_drop", "F77", "fl-1")
    assert "7 packets" in cause.roots[0].evidence


def test_forward_drop_with_flannels_rules_is_fine():
    rules = ("-A FORWARD -j FLANNEL-FWD", "-A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT", "-A FLANNEL-FWD -d 10.244.0.0/16 -j ACCEPT")
    assert diagnose(fl_1=filter_table(forward("DROP", *rules))).findings == []


def test_forward_that_was_not_read():
    verdicts = diagnose(fl_1=lambda document: document.update(netfilter={"error": "Permission denied"})).judged.values()
    assert [v.outcome for v in verdicts if v.fact.kind == "flannel.forward" and v.fact.node == "fl-1"] == ["not_checked"]
