# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

FAR = "10.253.2.0/26"
RIGHT = small.route(FAR, "tunl0", gateway="10.2.7.202", protocol="bird", flags=["onlink"])


def instead(*routes):
    def change(document):
        document["routes"] = [r for r in document["routes"] if r["dst"] != FAR] + list(routes)

    return change


def in_bird(state="*"):
    def change(document):
        nexthops = [{"gateway": "10.2.7.202", "dev": "tunl0"}]
        document["bird"]["ipv4"]["routes"] = [{"prefix": FAR, "protocol": "Mesh_k8s02", "state": state, "nexthops": nexthops}]

    return change


def verdict(*changes, kind="route.block", of=FAR, node="k8s01", **more):
    return small.verdict(small.diagnose(k8s01=small.together(*changes), **more), kind, node, of)


def pool(**spec):
    return lambda document: document["ippools"][0].update(spec={"cidr": "10.253.0.0/16", **spec})


# ----------------------------------------------------------------------------- what must be there


def test_what_is_expected():
    fact = verdict().fact
    assert fact.value == {"encapsulation": "ipip", "gateway": "10.2.7.202", "dev": "tunl0", "owner": "k8s02"}
    bgp = {"bird.running", "bgp.session", "bgp.topology", "bgp.graceful_restart"}
    assert {need.kind for need in fact.needs} == {"node.address", "route.alien", "ipam.affinity", "vtep", "tunnel.device", *bgp}


@pytest.mark.parametrize(
    ("route", "outcome"),
    [
        (RIGHT, "ok"),
        ({**RIGHT, "gateway": "192.188.1.1"}, "route.block.different"),
        ({**RIGHT, "dev": "eth0"}, "route.block.different"),
        ({**RIGHT, "type": "unreachable"}, "route.block.different"),
        ({**RIGHT, "nexthops": [{"gateway": "10.2.7.202", "dev": "tunl0"}] * 2}, "route.block.different"),
        ({**RIGHT, "table": 100}, "route.block.missing"),
        ({**RIGHT, "dst": "10.253.2.0/27"}, "route.block.missing"),
    ],
)
def test_ipip(route, outcome):
    found = verdict(instead(route))
    assert (found.finding.check if found.finding else found.outcome) == outcome


@pytest.mark.parametrize(
    ("spec", "mask", "route", "outcome"),
    [
        ({}, "24", small.route(FAR, "eth0", gateway="10.2.7.202", protocol="bird"), "ok"),
        ({}, "24", small.route(FAR, "eth0", gateway="10.2.7.9", protocol="bird"), "route.block.different"),
        ({}, "24", small.route(FAR, "tunl0", gateway="10.2.7.202", protocol="bird"), "route.block.different"),
        ({}, "32", small.route(FAR, "eth0", gateway="10.2.7.254", protocol="bird"), "ok"),  # a router in between
        ({"ipipMode": "CrossSubnet"}, "24", small.route(FAR, "eth0", gateway="10.2.7.202", protocol="bird"), "ok"),
        ({"ipipMode": "CrossSubnet"}, "24", RIGHT, "route.block.different"),
        ({"ipipMode": "CrossSubnet"}, "32", RIGHT, "ok"),
    ],
)
def test_without_a_tunnel_and_across_subnets(spec, mask, route, outcome):
    def change(document):
        pool(**spec)(document)
        for node in document["nodes"]:
            annotations = node["metadata"]["annotations"]
            annotations["projectcalico.org/IPv4Address"] = annotations["projectcalico.org/IPv4Address"].replace("/24", f"/{mask}")

    found = verdict(instead(route), cluster=change)
    assert (found.finding.check if found.finding else found.outcome) == outcome


def test_the_lowest_metric_counts():
    assert verdict(instead(RIGHT, {**RIGHT, "gateway": "10.2.7.9", "metric": 100})).outcome == "ok"
    assert verdict(instead({**RIGHT, "metric": 100}, {**RIGHT, "gateway": "10.2.7.9"})).outcome == "finding"


@pytest.mark.parametrize("section", ["routes", "ippools"])
def test_without_its_data_it_is_not_checked(section):
    if section == "routes":
        assert verdict(small.lost("routes")).outcome == "not_checked"
    else:
        found = verdict(instead(RIGHT), cluster=lambda document: document.update(ippools=[]))
        assert found.outcome == "not_checked"
        assert "no IP pool" in found.reason


def test_a_borrowed_address_has_a_route_of_its_own():
    def guest(document):
        document["pods"].append(small.pod("shop/guest", "k8s02", "10.253.1.9"))

    found = verdict(of="10.253.1.9/32", cluster=guest)
    assert found.finding.check == "route.block.missing"
    assert found.fact.value["owner"] == "k8s02"


# ----------------------------------------------------------------------------- routes of somebody else


@pytest.mark.parametrize(
    ("route", "alien"),
    [
        (small.route(FAR, "eth0", gateway="10.2.7.9", protocol="static"), True),
        (small.route(FAR, "eth0", gateway="10.2.7.9", protocol="kernel"), True),
        (small.route("10.253.2.0/27", "eth0", gateway="10.2.7.9", protocol="dhcp"), True),
        (small.route(FAR, type="blackhole", protocol="static"), True),
        (small.route(FAR, "eth0", protocol="kernel", scope="link"), True),  # a bridge with the pods' network
        (small.route("10.253.0.0/16", "eth0", gateway="10.2.7.9", protocol="static"), False),  # wider: BIRD's is preferred
        (small.route(FAR, "eth0", gateway="10.2.7.9", protocol="static", table=100), False),
        (small.route("10.253.2.7/32", "cali12345", scope="link"), False),
        (small.route(FAR, "vxlan.calico", gateway="10.253.2.0", protocol="80"), False),
        (RIGHT, False),
        (small.route("10.9.0.0/24", "eth0", protocol="static"), False),
        (small.route("junk", "eth0", protocol="static"), False),
        (small.route("fd00::/64", "eth0", protocol="static", family="inet6"), False),
    ],
)
def test_whose_route_it_is(route, alien):
    found = verdict(lambda document: document["routes"].append(route), kind="route.alien")
    assert (found.outcome == "finding") is alien


def test_a_static_route_is_the_root_and_is_deleted():
    static = small.route(FAR, "eth0", gateway="10.2.7.9", protocol="static")
    diagnosis = small.diagnose(k8s01=small.together(instead(static), in_bird("!")))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node) == ("remote_block_route_missing_bird_has_it", "F22", "k8s01")
    assert "BIRD could not install its own" in cause.roots[0].evidence
    assert cause.roots[0].sources == ("kernel k8s01", "bird k8s01")
    (remedy,) = cause.remedies
    assert (remedy.id, remedy.risk, remedy.parameters["route"]) == ("delete_route", "R1", static)
    assert remedy.way_back == "ip route add 10.253.2.0/26 via 10.2.7.9 dev eth0 proto static"
    assert "route.block.different" in {f.check for f in diagnosis.explained_by(cause)}


@pytest.mark.parametrize(("protocol", "announced"), [("static", True), ("boot", True), ("kernel", False)])
def test_bird_announces_what_somebody_added_but_nothing_of_the_kernel(protocol, announced):
    diagnosis = small.diagnose(k8s01=instead(small.route(FAR, "eth0", gateway="10.2.7.9", protocol=protocol)))
    assert ("announces it to the others" in diagnosis.causes[0].why[0]) is announced


# ----------------------------------------------------------------------------- causes of a missing one


def test_bird_has_it_and_the_kernel_not():
    diagnosis = small.diagnose(k8s01=small.together(instead(), in_bird()))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault) == ("remote_block_route_missing_bird_has_it", "F22")
    assert cause.roots[0].sources == ("kernel k8s01", "bird k8s01")
    assert [remedy.id for remedy in cause.remedies] == ["restart_calico_node"]


def test_bird_has_none_either():
    diagnosis = small.diagnose(k8s01=instead())
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node) == ("remote_block_route_missing_not_learned", "F23", "k8s01")
    assert diagnosis.confidence(cause) == "possible"
    assert not cause.remedies, "the owner's BIRD does not have it either"


def has_its_block(document):
    document["bird"]["ipv4"]["routes"].append({"prefix": FAR, "type": "blackhole", "nexthops": [], "protocol": "static1", "state": "*"})


def test_the_owner_is_asked_again_where_it_has_the_block_and_a_session():
    (cause,) = small.diagnose(k8s01=instead(), k8s02=has_its_block).causes
    (remedy,) = cause.remedies
    assert (remedy.id, remedy.risk, remedy.node) == ("reload_protocol", "R1", "k8s01")
    assert remedy.parameters == {"protocol": "Mesh_k8s02", "family": "ipv4", "prefix": FAR, "direction": "in"}


def test_the_owner_is_not_asked_for_what_must_not_be_announced_or_where_there_is_no_session():
    kept = small.diagnose(k8s01=instead(), k8s02=has_its_block, cluster=pool(disableBGPExport=True))
    assert "remote_block_route_missing_not_learned" in {cause.id for cause in kept.causes}
    assert "reload_protocol" not in {remedy.id for cause in kept.causes for remedy in cause.remedies}
    down = small.diagnose(k8s01=small.together(instead(), session_down), k8s02=has_its_block)
    assert "reload_protocol" not in {remedy.id for cause in down.causes for remedy in cause.remedies}


def by_router(document):
    document["bgpconfigurations"] = [{"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": False}}]
    document["bgppeers"] = [{"metadata": {"name": "router"}, "spec": {"peerIP": "10.2.7.254", "asNumber": 64512}}]


def calls_router(document):
    session = document["bird"]["ipv4"]["protocols"][0]
    session["name"], session["bgp"]["neighbor_address"] = "Global_10_2_7_254", "10.2.7.254"


def test_where_a_router_is_between_them_it_is_asked_and_then_told():
    towards_router = {"k8s01": small.together(instead(), calls_router), "k8s02": small.together(has_its_block, calls_router)}
    (cause,) = small.diagnose(cluster=by_router, **towards_router).causes
    ask, tell = cause.remedies
    assert (ask.id, ask.node, ask.only_if, ask.parameters["direction"]) == ("reload_protocol", "k8s01", "", "in")
    assert (tell.id, tell.risk, tell.node, tell.only_if) == ("reload_protocol", "R1", "k8s02", "10.2.7.254 has not got it either")
    assert tell.parameters == {"protocol": "Global_10_2_7_254", "family": "ipv4", "prefix": FAR, "direction": "out"}
    gone = {**towards_router, "k8s02": small.together(has_its_block, calls_router, session_down)}
    assert "reload_protocol" not in {remedy.id for cause in small.diagnose(cluster=by_router, **gone).causes for remedy in cause.remedies}


def session_down(document):
    document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Active"


def test_felix_writes_them_where_there_is_no_bird():
    def vxlan(document):
        env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"})
        pool(vxlanMode="Always")(document)
        for node in document["nodes"]:
            node["metadata"]["annotations"]["projectcalico.org/IPv4VXLANTunnelAddr"] = small.BLOCKS[node["metadata"]["name"]].replace("/26", "")

    def device(document):
        document["links"].append(small.link(4, "vxlan.calico", address="66:c7:17:06:2e:36"))
        document["addresses"].append({"ifname": "vxlan.calico", "family": "inet", "local": "10.253.1.0", "prefixlen": 32})

    diagnosis = small.diagnose(cluster=vxlan, k8s01=small.together(instead(), device))
    assert "felix_owned_route_missing" in small.named(diagnosis)


# ----------------------------------------------------------------------------- the own block


def test_the_blackhole_of_the_own_block():
    own = "10.253.1.0/26"
    assert verdict(kind="route.blackhole", of=own).outcome == "ok"

    def gone(document):
        document["routes"] = [r for r in document["routes"] if r["type"] != "blackhole"]

    found = verdict(gone, kind="route.blackhole", of=own)
    assert (found.finding.check, found.finding.severity) == ("route.blackhole.missing", "latent")
    assert verdict(small.lost("routes"), kind="route.blackhole", of=own).outcome == "not_checked"
