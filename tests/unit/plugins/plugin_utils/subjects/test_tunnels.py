# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Node
from ansible_collections.podnet.doctor.plugins.plugin_utils.subjects.tunnels import vtep_mac
from ansible_collections.podnet.doctor.tests.unit import small

MAC = {"k8s01": "66:c7:17:06:2e:36", "k8s02": "66:e5:2a:d3:5a:f3"}
VTEP = {name: cidr.replace("/26", "") for name, cidr in small.BLOCKS.items()}


def node(name, **annotations):
    metadata = {"name": name, "annotations": {f"projectcalico.org/{key}": value for key, value in annotations.items()}}
    return Node.of({"metadata": metadata, "spec": {}, "status": {}})


def test_the_mac_of_a_tunnel_end():
    """The vector of Calico's own source."""
    assert vtep_mac(node("remotehostname"), "ipv4") == "66:3e:ca:a4:db:65"
    assert vtep_mac(node("k8s01", VXLANTunnelMACAddr="66:00:11:22:33:44"), "ipv4") == "66:00:11:22:33:44"
    assert vtep_mac(node("k8s01"), "ipv6") != vtep_mac(node("k8s01"), "ipv4")


def vxlan(document):
    env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"})
    document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16", "vxlanMode": "Always"}
    for entry in document["nodes"]:
        name = entry["metadata"]["name"]
        entry["metadata"]["annotations"].update({"projectcalico.org/IPv4VXLANTunnelAddr": VTEP[name], "projectcalico.org/VXLANTunnelMACAddr": MAC[name]})
    for block in document["ipamblocks"]:
        block["spec"]["allocations"] = [0, *[None] * 4, 0, None, 0]  # the tunnel, and the pods of both nodes


def device(name):
    other = next(n for n in MAC if n != name)

    def change(document):
        info = {"info_kind": "vxlan", "info_data": {"id": 4096, "port": 4789}}
        document["links"].append(small.link(4, "vxlan.calico", address=MAC[name], linkinfo=info))
        document["addresses"].append({"ifname": "vxlan.calico", "family": "inet", "local": VTEP[name], "prefixlen": 32})
        document["routes"] = [r for r in document["routes"] if r.get("dev") != "tunl0"]
        document["routes"].append(small.route(small.BLOCKS[other], "vxlan.calico", gateway=VTEP[other], flags=["onlink"]))
        document["neighbours"].append({"dst": VTEP[other], "dev": "vxlan.calico", "lladdr": MAC[other], "state": ["PERMANENT"]})
        document["fdb"] = [{"mac": MAC[other], "ifname": "vxlan.calico", "dst": small.ADDRESSES[other], "state": "permanent", "flags": ["self"]}]
        document["lookups"] = []

    return change


def diagnose(*changes, cluster=lambda document: None):
    return small.diagnose(cluster=small.together(vxlan, cluster), k8s01=small.together(device("k8s01"), *changes), k8s02=device("k8s02"))


def annotate(name, key, value):
    def change(document):
        for entry in document["nodes"]:
            if entry["metadata"]["name"] == name:
                entry["metadata"]["annotations"][f"projectcalico.org/{key}"] = value

    return change


def link(**fields):
    return lambda document: next(li for li in document["links"] if li["ifname"] == "vxlan.calico").update(fields)


def test_a_healthy_cluster_is_silent():
    diagnosis = diagnose()
    assert diagnosis.findings == []
    kinds = {"tunnel.device", "tunnel.conflict", "tunnel.address", "vtep", "vtep.allocated", "vxlan.neighbour", "vxlan.fdb"}
    assert kinds <= {fact.kind for fact, verdict in diagnosis.judged.items() if verdict.outcome == "ok"}


def no_device(document):
    document["links"] = [li for li in document["links"] if li["ifname"] != "vxlan.calico"]


SECOND = small.link(7, "vxlan-old", linkinfo={"info_kind": "vxlan", "info_data": {"id": 4096, "port": 4789}})
OTHER_PORT = small.link(7, "flannel.1", linkinfo={"info_kind": "vxlan", "info_data": {"id": 4096, "port": 8472}})


@pytest.mark.parametrize(
    ("change", "cluster", "cause", "fault", "check"),
    [
        (link(flags=["BROADCAST"]), None, "tunnel_device_missing_or_down", "F34", "tunnel.device.down"),
        (no_device, None, "tunnel_device_missing_or_down", "F34", "tunnel.device.missing"),
        (link(address="66:00:00:00:00:01"), None, "duplicate_vtep_mac", "F40", "tunnel.mac.different"),
        (lambda d: d["links"].append(SECOND), None, "vxlan_conflicting_device", "F39", "tunnel.conflict"),
        (lambda d: d.update(fdb=[]), None, "vxlan_fdb_or_neigh_drift", "F38", "vxlan.fdb.missing"),
        (lambda d: d["fdb"][0].update(dst="10.2.7.9"), None, "vxlan_fdb_or_neigh_drift", "F38", "vxlan.fdb.different"),
        (lambda d: d.update(neighbours=[]), None, "vxlan_fdb_or_neigh_drift", "F38", "vxlan.neighbour.missing"),
        (lambda d: d["neighbours"][0].update(lladdr="66:00:00:00:00:01"), None, "vxlan_fdb_or_neigh_drift", "F38", "vxlan.neighbour.different"),
        (None, annotate("k8s02", "IPv4VXLANTunnelAddr", VTEP["k8s01"]), "duplicate_tunnel_ip", "F37", "vtep.address.duplicate"),
        (None, annotate("k8s02", "VXLANTunnelMACAddr", MAC["k8s01"]), "duplicate_vtep_mac", "F40", "vtep.mac.duplicate"),
        (None, annotate("k8s02", "IPv4VXLANTunnelAddr", "10.253.9.9"), "tunnel_address_missing_or_mismatch", "F35", "vtep.address.unallocated"),
        (None, annotate("k8s02", "IPv4VXLANTunnelAddr", ""), "tunnel_address_missing_or_mismatch", "F35", "vtep.absent"),
    ],
)
def test_causes(change, cluster, cause, fault, check):
    diagnosis = diagnose(change or small.together(), cluster=cluster or small.together())
    first = next(c for c in diagnosis.causes if c.id == cause)
    assert (first.fault, check in {root.check for root in first.roots}) == (fault, True)


TUNNEL_S, POD_S = {"type": "vxlanTunnelAddress", "node": "k8s02"}, {"namespace": "shop", "pod": "api-0", "node": "k8s02"}


@pytest.mark.parametrize(
    ("secondary", "remedy"),
    [(TUNNEL_S, "recreate_pod"), ({**TUNNEL_S, "node": "k8s01"}, "advise_recreate_pod"), (POD_S, "restart_calico_node"), ({}, "advise_recreate_pod")],
)
def test_whoever_has_not_been_given_the_address_gets_another(secondary, remedy):
    def same(document):
        annotate("k8s02", "IPv4VXLANTunnelAddr", "10.253.2.7")(document)
        (spec,) = (block["spec"] for block in document["ipamblocks"] if block["spec"]["cidr"] == "10.253.2.0/26")
        spec.update(allocations=[*[None] * 7, 0], attributes=[{"handle_id": "x", "secondary": secondary}])

    (cause,) = (c for c in diagnose(cluster=same).causes if c.id == "tunnel_ip_equals_pod_ip")
    assert [(found.id, found.node) for found in cause.remedies] == [(remedy, "k8s02")]


def test_a_device_in_the_way_is_deleted_only_where_no_flannel_runs():
    def conflict(document):
        document["links"].append(SECOND)

    def with_flannel(document):
        document["daemonsets"].append({"metadata": {"name": "kube-flannel-ds"}, "spec": {"template": {"spec": {"containers": [{"name": "kube-flannel"}]}}}})

    def remedies(cluster):
        (found,) = [cause for cause in diagnose(conflict, cluster=cluster).causes if cause.id == "vxlan_conflicting_device"]
        return [(remedy.id, remedy.risk, dict(remedy.parameters)) for remedy in found.remedies]

    assert remedies(small.together()) == [("delete_link", "R2", {"ifname": "vxlan-old", "kind": "vxlan"})]
    assert remedies(with_flannel) == [("advise_delete_device", "R0", {})]


def test_another_port_is_no_conflict():
    assert diagnose(lambda d: d["links"].append(OTHER_PORT)).findings == []


@pytest.mark.parametrize(
    ("section", "kinds"),
    [("fdb", {"vxlan.fdb"}), ("neighbours", {"vxlan.neighbour"}), ("links", {"tunnel.device", "tunnel.conflict"}), ("addresses", {"tunnel.address"})],
)
def test_what_was_not_read_is_not_checked(section, kinds):
    diagnosis = diagnose(small.lost(section))
    assert diagnosis.findings == []
    assert kinds <= {fact.kind for fact, verdict in diagnosis.judged.items() if verdict.outcome == "not_checked" and fact.node == "k8s01"}


def test_a_dead_node_address_explains_the_fdb():
    diagnosis = diagnose(lambda d: d["fdb"][0].update(dst="192.188.1.1"), cluster=annotate("k8s02", "IPv4Address", "192.188.1.1/24"))
    assert diagnosis.causes[0].id == "node_ip_wrong_nic"
    assert "vxlan.fdb.different" in {f.check for f in diagnosis.explained_by(diagnosis.causes[0])}
