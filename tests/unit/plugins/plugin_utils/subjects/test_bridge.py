# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.small import together
from ansible_collections.podnet.doctor.tests.unit.small_flannel import diagnose, drop, put, veth

API = veth("shop/api-0")


def port_state(state):
    def change(document):
        next(link for link in document["links"] if link["ifname"] == API)["linkinfo"]["info_slave_data"]["state"] = state

    return change


def inside(part, value):
    def change(document):
        document["sandboxes"][0]["network"][part] = value

    return change


CASES = {
    "veth down": (together(put("links", {"flags": [], "operstate": "DOWN"}, ifname=API), port_state("disabled")),
                  ("host_veth_missing", "F52", ["shop/api-0"])),
    "no way into the pod": (together(drop("links", ifname=API), lambda d: d["sandboxes"][0].pop("ifname")), ("host_veth_missing", "F52", ["shop/api-0"])),
    "port disabled": (port_state("disabled"), ("bridge_port_disabled", None, ["shop/api-0", API])),
    "no port": (put("links", {"master": None}, ifname=API), ("veth_not_on_bridge", None, ["shop/api-0", API])),
    "port of another bridge": (put("links", {"master": "br0"}, ifname=API), ("veth_not_on_bridge", None, ["shop/api-0", API])),
    "bridge down": (together(put("links", {"flags": []}, ifname="cni0"), drop("routes", dev="cni0")), ("bridge_down", None, ["cni0"])),
    "bridge gone": (together(drop("links", ifname="cni0"), drop("addresses", ifname="cni0"), drop("routes", dev="cni0"), drop("neighbours", dev="cni0"),
                             put("links", {"master": None}, ifname=API)), ("bridge_missing", None, ["cni0"])),
    "bridge of another podCIDR": (together(put("addresses", {"local": "10.244.7.1"}, ifname="cni0"), put("routes", {"dst": "10.244.7.0/24"}, dev="cni0"),
                                           inside("neighbours", [{"family": "inet", "dst": "10.244.1.1", "dev": "eth0", "state": ["FAILED"]}])),
                                  ("cni0_mismatch", "F77", ["cni0"])),
    "connected route gone": (drop("routes", dev="cni0"), ("local_pod_route_missing", "F20", ["shop/api-0"])),
    "pod has no default route": (inside("routes", []), ("pod_side_broken", "F51", ["shop/api-0"])),
    "pod has another gateway": (inside("routes", [small.route("0.0.0.0/0", "eth0", gateway="10.244.1.9")]), ("pod_side_broken", "F51", ["shop/api-0"])),
    "pod knows a wrong MAC": (inside("neighbours", [{"family": "inet", "dst": "10.244.1.1", "dev": "eth0", "lladdr": "66:00:00:00:00:01",
                                                     "state": ["PERMANENT"]}]), ("pod_side_broken", "F51", ["shop/api-0"])),
    "node knows a wrong MAC": (put("neighbours", {"lladdr": "66:00:00:00:00:01", "state": ["PERMANENT"]}, dst="10.244.1.2"),
                               ("stale_host_neighbour", "F53", ["shop/api-0"])),
    "nothing is forwarded": (lambda d: d["sysctls"].update({"net/ipv4/ip_forward": "0"}),
                             ("proxy_arp_or_forwarding_cleared", "F17", ["net.ipv4.ip_forward"])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_named_alone(name):
    change, expected = CASES[name]
    diagnosis = diagnose(fl_2=change)
    assert [(c.id, c.fault, list(c.objects)) for c in diagnosis.causes] == [expected]
    assert diagnosis.causes[0].node == "fl-2" and diagnosis.outcome == "broken" and diagnosis.unexplained == []
    assert not any("Felix" in line for line in diagnosis.causes[0].why)


def test_a_veth_that_is_down_can_be_set_up():
    diagnosis = diagnose(fl_2=CASES["veth down"][0])
    [remedy] = diagnosis.causes[0].remedies
    assert (remedy.id, dict(remedy.parameters)) == ("set_link_up", {"ifname": API})


@pytest.mark.parametrize(("name", "state", "back"), [("port disabled", "disabled", f"bridge link set dev {API} state 0"),
                                                     ("no port", "", f"ip link set {API} nomaster")])  # fmt: skip
def test_a_port_can_be_put_back(name, state, back):
    [remedy] = diagnose(fl_2=CASES[name][0]).causes[0].remedies
    assert (remedy.id, dict(remedy.parameters), remedy.way_back) == ("set_bridge_port", {"ifname": API, "master": "cni0"}, back)
    assert remedy.change == (state, "forwarding")


def test_a_port_of_another_bridge_is_somebodys_decision():
    assert [remedy.risk for remedy in diagnose(fl_2=CASES["port of another bridge"][0]).causes[0].remedies] == ["R0"]


def test_the_path_passes_the_bridge():
    kinds = [(hop.kind, hop.node, hop.device) for hop in diagnose().path.forward]
    assert kinds == [
        ("pod", "fl-1", "eth0"), ("veth", "fl-1", None), ("bridge", "fl-1", "cni0"), ("node", "fl-1", None), ("tunnel", "fl-1", "flannel.1"),
        ("wire", None, None), ("tunnel", "fl-2", "flannel.1"), ("node", "fl-2", None), ("bridge", "fl-2", "cni0"), ("veth", "fl-2", None),
        ("pod", "fl-2", "eth0"),
    ]  # fmt: skip
    assert [hop.kind for hop in diagnose(backend="host-gw").path.forward if hop.kind == "tunnel"] == []


def test_pods_of_one_node_meet_on_the_bridge():
    diagnosis = diagnose(destination="shop/cron-0")
    assert [hop.kind for hop in diagnosis.path.forward] == ["pod", "veth", "bridge", "veth", "pod"]
    assert diagnosis.findings == [] and diagnosis.outcome == "unknown"  # netfilter may see bridged packets, too, and was not read


def test_other_pods_of_the_node_are_looked_at_and_are_not_on_the_path():
    diagnosis = diagnose(fl_1=put("links", {"master": None}, ifname=veth("shop/cron-0")))
    assert small.named(diagnosis) == ["veth_not_on_bridge"]
    assert not diagnosis.affects_path(diagnosis.causes[0])


def test_a_node_without_pods_needs_no_bridge():
    def nobody(document):
        document["pods"] = [pod for pod in document["pods"] if pod["spec"]["nodeName"] != "fl-2"]

    diagnosis = diagnose(destination="node/fl-2", cluster=nobody, fl_2=together(drop("links", ifname="cni0"), drop("addresses", ifname="cni0")))
    assert diagnosis.findings == []


@pytest.mark.parametrize("loss", [lambda s: s.pop("pod_uid"), lambda s: s.update(network={"error": "gone"})])
def test_a_pod_whose_namespace_is_not_known_is_not_checked(loss):
    diagnosis = diagnose(fl_2=lambda d: loss(d["sandboxes"][0]))
    assert diagnosis.findings == []
    assert small.verdict(diagnosis, "pod.link", "fl-2", "shop/api-0").outcome == "not_checked"
