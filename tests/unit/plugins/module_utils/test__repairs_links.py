# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each change of interfaces and addresses on a real kernel, in namespaces that are thrown away."""

from __future__ import annotations

import json
import socket
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _offload, _repairs_links
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused
from ansible_collections.podnet.doctor.tests.unit.small_node import ADDRESS, NOTHING, Node


@pytest.fixture
def node(namespaces: t.Any) -> Node:
    return Node(namespaces())


def test_a_stray_address_is_deleted_and_nothing_else(node: Node) -> None:
    node.twice("delete_address", "192.188.1.1/24 dev br0", **ADDRESS)
    assert "10.2.7.202" in held(node) and "192.188.1.1" not in held(node)
    assert node.do("delete_address", **{**ADDRESS, "ifname": "nowhere"}) == NOTHING


def test_another_address_of_its_network_takes_its_place(node: Node) -> None:
    node.space.ip("addr add 192.188.1.2/24 dev br0")
    node.space.sysctl("net/ipv4/conf/br0/promote_secondaries", "1")
    done = node.do("delete_address", **ADDRESS)
    assert {"192.188.1.2", "10.2.7.202"} <= set(held(node)) and "192.188.1.1" not in held(node)
    node.take_back(done["back"])
    assert sorted(held(node)) == ["10.2.7.202", "127.0.0.1", "192.188.1.1", "192.188.1.2"], "which of the two is first is another matter"


def held(node: Node) -> list[str]:
    return [a["local"] for link in node.space.json("-4", "addr") for a in link["addr_info"]]


def test_the_nodes_own_address_stays(node: Node) -> None:
    kept = node.refused("delete_address", **ADDRESS, intended="192.188.1.1")
    assert kept == "192.188.1.1/24 dev br0 stays: 192.188.1.1 is the node's Kubernetes address"
    assert "br0 stays: 192.188.1.1 is the node's Kubernetes address" in node.refused("delete_link", ifname="br0", intended="192.188.1.1")


def test_an_address_stays_that_would_take_others_along(node: Node) -> None:
    node.space.sysctl("net/ipv4/conf/br0/promote_secondaries", "0")
    node.space.ip("addr add 192.188.1.2/24 dev br0")
    assert "the kernel would delete 192.188.1.2 with it" in node.refused("delete_address", **ADDRESS)
    node.twice("delete_address", "192.188.1.2/24 dev br0", **{**ADDRESS, "address": "192.188.1.2/24"})


def test_an_address_stays_that_a_route_sends_from(node: Node) -> None:
    node.space.ip("route add 10.9.0.0/16 via 10.2.7.9 src 192.188.1.1")
    assert "the route to 10.9.0.0/16 sends from it" in node.refused("delete_address", **ADDRESS)


def test_a_link_stays_that_somebody_uses(node: Node, namespaces: t.Any) -> None:
    for line in ("link add v0 type veth peer name v1", "link add mv0 link br0 type macvlan", "link set v0 master br0", "link add br1 type bridge"):
        node.space.ip(line)
    assert "mv0 is made on top of it" in node.refused("delete_link", ifname="br0")
    assert "v0 stays: it is a port of br0" in node.refused("delete_link", ifname="v0")
    node.space.ip(f"link set v1 netns {namespaces().name}")
    assert "its other end is in another network namespace" in node.refused("delete_link", ifname="v0")
    node.space.ip("link set br1 up")
    node.space.ip("neigh add 192.188.1.9 lladdr 00:00:5e:00:53:09 dev br1 nud reachable")
    assert "neighbour 192.188.1.9 was reached over it just now" in node.refused("delete_link", ifname="br1")


def test_a_link_stays_that_carries_packets(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.space.ip("link add br9 type bridge")
    counts = iter((7, 9))
    monkeypatch.setattr(_repairs_links, "_received", lambda _kernel, _index: next(counts))
    assert node.refused("delete_link", ifname="br9") == "br9 stays: it received 2 packets within 1 s"


def test_a_link_stays_that_a_connection_ends_at(node: Node) -> None:
    node.space.ip("link add br8 type bridge")
    node.space.ip("link set br8 up")
    node.space.ip("addr add 192.188.8.1/24 dev br8")

    def connect() -> tuple[socket.socket, socket.socket]:
        return socket.create_server(("192.188.8.1", 22)), socket.create_connection(("192.188.8.1", 22))

    server, client = inside(node.space.path, connect, Deadline(5))
    with server, client:
        assert "established TCP connections of this node end at 192.188.8.1" in node.refused("delete_link", ifname="br8")


def test_an_address_stays_that_carries_something(node: Node) -> None:
    assert node.do("delete_address", check=True, **{**ADDRESS, "address": "192.188.1.1/25"}) == NOTHING  # not that one
    assert "the route to everything uses eth0" in node.refused("delete_address", ifname="eth0", address="10.2.7.202/24")
    node.space.ip("route add 10.9.0.0/16 proto static nexthop via 192.188.1.9 nexthop via 10.2.7.9")
    assert "192.188.1.1/24 dev br0 stays: the route to 10.9.0.0/16 uses br0" in node.refused("delete_address", **ADDRESS)


def test_an_address_stays_that_a_connection_ends_at(node: Node) -> None:
    def connect() -> tuple[socket.socket, socket.socket]:
        server = socket.create_server(("192.188.1.1", 22))
        client = socket.create_connection(("192.188.1.1", 22))
        return server, client

    server, client = inside(node.space.path, connect, Deadline(5))
    with server, client:
        assert "established TCP connections of this node end at 192.188.1.1" in node.refused("delete_address", **ADDRESS)


def test_an_address_of_ipv6(node: Node) -> None:
    node.space.ip("addr add fd00::7/64 dev br0 nodad")
    node.twice("delete_address", "fd00::7/64 dev br0", ifname="br0", address="fd00::7/64")


def test_links(node: Node) -> None:
    node.space.ip("link add port0 type veth peer name port1")
    node.space.ip("link set port0 master br0")
    assert "br0 stays: port0 is a port of it" in node.refused("delete_link", ifname="br0")
    node.space.ip("link set port0 nomaster")
    assert "the route to everything uses eth0" in node.refused("delete_link", ifname="eth0")
    assert "no virtual interface" in node.refused("delete_link", ifname="lo")
    node.twice("delete_link", "link br0", back=False, ifname="br0")
    node.space.ip("link set port0 down")
    node.twice("set_link_up", "port0 down", "port0 up", ifname="port0")
    assert "there is no interface br0" in node.refused("set_link_up", ifname="br0")


def test_a_port_of_the_pods_bridge(node: Node) -> None:
    for line in ("link add cni0 type bridge", "link set cni0 up", "link add veth1 type veth peer name eth9", "link set veth1 up", "link set eth9 up"):
        node.space.ip(line)
    port = {"ifname": "veth1", "master": "cni0"}

    def slave() -> t.Any:
        (link,) = node.space.json("link", "show", "veth1")
        return link.get("master"), (link["linkinfo"].get("info_slave_data") or {}).get("state")

    node.twice("set_bridge_port", "veth1 without a master", "veth1 master cni0 state forwarding", **port)
    assert slave() == ("cni0", "forwarding")
    assert node.space.run("bridge", "link", "set", "dev", "veth1", "state", "0").returncode == 0
    node.twice("set_bridge_port", "veth1 master cni0 state disabled", "veth1 master cni0 state forwarding", **port)
    assert slave() == ("cni0", "forwarding")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"ifname": "nowhere", "master": "cni0"}, "there is no interface nowhere"),
        ({"ifname": "eth0", "master": "br0"}, "br0 is not the bridge of flannel's pods"),
        ({"ifname": "br0", "master": "cni0"}, "br0 is no veth"),
        ({"ifname": "taken", "master": "cni0"}, "taken is no veth, or a port of br0"),
        ({"ifname": "asleep", "master": "cni0"}, "asleep is down"),
    ],
)
def test_what_is_not_made_a_port(node: Node, parameters: dict[str, str], reason: str) -> None:
    veths = ("link add taken type veth peer name far1", "link set taken master br0", "link add asleep type veth peer name far2")
    for line in ("link add cni0 type bridge", *veths):
        node.space.ip(line)
    assert reason in node.refused("set_bridge_port", **parameters)


def test_the_checksums_of_a_tunnel(node: Node) -> None:
    node.space.ip("link add vxlan.calico type vxlan id 4096 dstport 4789 local 10.2.7.202 dev eth0 nolearning")

    def left_to_the_driver() -> bool | None:
        return inside(node.space.path, lambda: _offload.transmit_checksum("vxlan.calico"), Deadline(5))

    assert left_to_the_driver() is True
    assert node.do("set_offload", check=True, ifname="vxlan.calico")["changed"] and left_to_the_driver() is True
    done = node.do("set_offload", ifname="vxlan.calico")
    assert (done["before"], done["after"]) == ("vxlan.calico tx-checksumming on", "vxlan.calico tx-checksumming off")
    assert left_to_the_driver() is False and node.do("set_offload", ifname="vxlan.calico") == NOTHING
    assert node.take_back(json.loads(json.dumps(done["back"])))["changed"] and left_to_the_driver() is True
    assert not node.take_back(done["back"])["changed"]
    node.space.ip("link del vxlan.calico")
    assert not node.take_back(done["back"])["changed"], "it is gone meanwhile"


def test_the_checksums_of_other_interfaces_are_none_of_its_business(node: Node) -> None:
    assert "eth0 is no VXLAN device of flannel or Calico" in node.refused("set_offload", ifname="eth0")
    assert "vxlan.calico does not say" in node.refused("set_offload", ifname="vxlan.calico")
    for step in ({"offload": "eth0", "on": False}, {"offload": "vxlan.calico", "on": "x"}, {"offload": None, "on": True}):
        with pytest.raises(Refused, match="is no VXLAN device"):
            node.take_back([step])


def test_a_vxlan_device_is_deleted_only_where_it_is_in_the_way_of_calicos(node: Node) -> None:
    for name, vni in (("vxlan-old", 4096), ("vxlan.calico", 4097)):
        node.space.ip(f"link add {name} type vxlan id {vni} dstport 4789 local 10.2.7.202 dev eth0 nolearning")
    assert "no virtual interface" in node.refused("delete_link", ifname="vxlan-old")
    assert "no virtual interface" in node.refused("delete_link", ifname="vxlan.calico", kind="vxlan")
    assert "no virtual interface" in node.refused("delete_link", ifname="lo", kind="vxlan")
    node.space.ip("link set vxlan-old up")
    node.space.ip("route add 10.9.0.0/16 dev vxlan-old")
    assert "the route to 10.9.0.0/16 uses vxlan-old" in node.refused("delete_link", ifname="vxlan-old", kind="vxlan")
    node.space.ip("route del 10.9.0.0/16 dev vxlan-old")
    node.twice("delete_link", "link vxlan-old", back=False, ifname="vxlan-old", kind="vxlan")
