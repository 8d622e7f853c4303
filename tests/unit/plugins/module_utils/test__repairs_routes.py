# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each change of routes and neighbours on a real kernel, in namespaces that are thrown away."""

from __future__ import annotations

import json
import socket
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _routes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Kernel
from ansible_collections.podnet.doctor.tests.unit.small_node import NOTHING, Node


@pytest.fixture
def node(namespaces: t.Any) -> Node:
    return Node(namespaces())


def test_the_way_to_the_pods_gateway(node: Node) -> None:
    assert node.do("add_gateway_route", dev="eth0") == NOTHING  # there is a default route
    node.space.ip("route del default")
    node.twice("add_gateway_route", "", "169.254.1.1/32 dev eth0 scope link", dev="eth0")
    assert "there is no interface nowhere" in node.refused("add_gateway_route", dev="nowhere")


def test_a_route_of_several_next_hops_comes_back(node: Node) -> None:
    node.space.ip("link set eth0 down")  # its next hops are dead, and are told so
    node.space.ip("link set eth0 up")
    node.space.ip("route add 10.253.4.0/26 proto static mtu 1400 src 10.2.7.202 nexthop via 10.2.7.9 weight 2 nexthop via 10.2.7.8")
    node.space.ip("link set far0 down")
    route = routes(node)["10.253.4.0/26 0"]
    node.twice("delete_route", "10.253.4.0/26 proto static metric 0", route=route)


def routes(node: Node) -> dict[str, dict[str, t.Any]]:
    def read() -> list[dict[str, t.Any]]:
        with Kernel(Deadline(5)) as kernel:
            return _routes.read(kernel, kernel.links, ("inet",))

    return {f"{route['dst']} {route['metric']}": route for route in inside(node.space.path, read, Deadline(10)) if route["table"] == 254}


def test_routes(node: Node) -> None:
    for line in ("10.253.2.0/26 proto static", "10.253.2.0/26 proto bird metric 32", "10.253.3.0/26 proto static metric 7"):
        node.space.ip(f"route add via 10.2.7.9 {line}")
    found = routes(node)
    node.twice("delete_route", "10.253.2.0/26 via 10.2.7.9 dev eth0 proto static metric 0", route=found["10.253.2.0/26 0"])
    assert set(routes(node)) == set(found) - {"10.253.2.0/26 0"}
    for mine in ("10.253.2.0/26 32", "10.2.7.0/24 0"):
        assert "belongs to Calico or to the kernel" in node.refused("delete_route", route=found[mine])
    other = {**found["10.253.3.0/26 7"], "gateway": "10.2.7.8"}
    assert node.do("delete_route", route=other) == NOTHING  # it was replaced meanwhile


def test_neighbours(node: Node) -> None:
    node.space.ip("neigh add 192.188.1.7 lladdr 00:00:5e:00:53:01 dev br0 nud permanent")
    node.twice("delete_neighbour", "192.188.1.7 dev br0 lladdr 00:00:5e:00:53:01 PERMANENT", dst="192.188.1.7", dev="br0")
    node.space.ip("link add flannel.1 type bridge")
    node.space.ip("neigh add 10.0.0.1 lladdr 00:00:5e:00:53:01 dev flannel.1 nud permanent")
    assert "belongs to the tunnel" in node.refused("delete_neighbour", dst="10.0.0.1", dev="flannel.1")


def test_the_entries_of_a_tunnel(node: Node) -> None:
    node.space.ip("link add flannel.1 type vxlan id 1 dstport 8472 local 10.2.7.202 dev eth0 nolearning")
    node.space.ip("link set flannel.1 up")
    mac, old = "0a:00:00:00:00:01", "66:00:00:00:00:01"
    neighbour = {"dst": "10.244.1.0", "dev": "flannel.1", "lladdr": mac}
    node.twice("set_neighbour", "", f"10.244.1.0 dev flannel.1 lladdr {mac} PERMANENT", **neighbour)
    node.space.ip(f"neigh replace 10.244.1.0 lladdr {old} dev flannel.1 nud permanent")
    line = "10.244.1.0 dev flannel.1 lladdr {} PERMANENT"
    node.twice("set_neighbour", line.format(old), line.format(mac), **neighbour)

    fdb = {"mac": mac, "dev": "flannel.1", "dst": "10.2.7.201"}
    line = f"{mac} dev flannel.1 dst {{}} self permanent"
    node.twice("set_fdb", "", line.format("10.2.7.201"), **fdb)
    node.twice("set_fdb", line.format("10.2.7.201"), line.format("10.2.7.203"), **{**fdb, "dst": "10.2.7.203"})
    shown = [entry for entry in json.loads(node.space.run("bridge", "-j", "fdb", "show", "dev", "flannel.1").stdout) if entry.get("dst")]
    assert [(entry["mac"], entry["dst"], entry["flags"], entry["state"]) for entry in shown] == [(mac, "10.2.7.203", ["self"], "permanent")]

    route = {"dst": "10.244.1.0/24", "gateway": "10.244.1.0", "dev": "flannel.1"}
    node.twice("add_route", "", "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink", **route)
    assert "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink" in node.space.ip("route")
    assert "there is a route to 10.244.1.0/24 already" in node.refused("add_route", **{**route, "gateway": "10.244.7.0"})


@pytest.mark.parametrize(
    ("remedy", "parameters", "reason"),
    [
        ("set_neighbour", {"dst": "10.244.1.0", "dev": "eth0", "lladdr": "0a:00:00:00:00:01"}, "eth0 is no VXLAN device of flannel or Calico"),
        ("set_neighbour", {"dst": "10.244.1.0", "dev": "flannel.7", "lladdr": "0a:00:00:00:00:01"}, "there is no interface flannel.7"),
        ("set_neighbour", {"dst": "x", "dev": "flannel.1", "lladdr": "0a:00:00:00:00:01"}, "x is no IPv4 address"),
        ("set_neighbour", {"dst": "10.244.1.0", "dev": "flannel.1", "lladdr": "0a:00"}, "0a:00 is no MAC address"),
        ("set_fdb", {"mac": "0a:00:00:00:00:01", "dev": "flannel.1", "dst": "fe80::1"}, "fe80::1 is no IPv4 address"),
        ("set_fdb", {"mac": "0a:00:00:00:00:01", "dev": "flannel.1\n", "dst": "10.2.7.1"}, "is no VXLAN device of flannel or Calico"),
        ("add_route", {"dst": "0.0.0.0/0", "gateway": "10.244.1.0", "dev": "flannel.1"}, "0.0.0.0/0 is more than the pods of a node"),
        ("add_route", {"dst": "10.244.1.7/24", "gateway": "10.244.1.0", "dev": "flannel.1"}, "10.244.1.7/24 is no IPv4 prefix"),
        ("add_route", {"dst": "10.244.1.0/24", "dev": "flannel.1"}, "the parameter gateway is missing"),
    ],
)
def test_what_is_no_entry_of_a_tunnel(node: Node, remedy: str, parameters: dict[str, str], reason: str) -> None:
    node.space.ip("link add flannel.1 type vxlan id 1 dstport 8472 dev eth0 nolearning")
    assert reason in node.refused(remedy, **parameters)


def rules(node: Node) -> list[dict[str, t.Any]]:
    def read() -> list[dict[str, t.Any]]:
        with Kernel(Deadline(5)) as kernel:
            return _links.rules(kernel)

    return [rule for rule in inside(node.space.path, read, Deadline(10)) if rule["priority"] not in (0, 32766, 32767)]


def test_a_rule_of_nm_cloud_setup(node: Node) -> None:
    node.space.ip("rule add from 10.2.7.202/32 lookup 30400 priority 30400")
    node.space.ip("rule add from 10.2.7.203/32 lookup 30400 priority 30400")
    before = rules(node)
    mine = next(rule for rule in before if rule["src"] == "10.2.7.202/32")
    done = node.do("delete_rule", rule=mine)
    assert (done["before"], done["after"]) == ("ip rule 30400 (from 10.2.7.202/32 lookup 30400)", "")
    assert rules(node) == [rule for rule in before if rule != mine]
    assert node.do("delete_rule", rule=mine) == NOTHING
    steps = json.loads(json.dumps(done["back"]))
    assert node.take_back(steps)["changed"] and sorted(map(str, rules(node))) == sorted(map(str, before))
    assert not node.take_back(steps)["changed"]


@pytest.mark.parametrize(
    "line",
    [
        "from 10.2.7.202/32 lookup 30400 priority 30401", "from 10.2.7.0/24 lookup 30400 priority 30400", "from 10.2.7.202/32 lookup 100 priority 100",
        "from 10.2.7.202/32 to 10.9.0.0/16 lookup 30400 priority 30400", "from 10.2.7.202/32 fwmark 0x1 lookup 30400 priority 30400",
        "not from 10.2.7.202/32 lookup 30400 priority 30400", "from 10.2.7.202/32 iif eth0 lookup 30400 priority 30400", "lookup 30400 priority 30400",
    ],
)  # fmt: skip
def test_other_rules_stay(node: Node, line: str) -> None:
    node.space.ip(f"rule add {line}")
    (rule,) = rules(node)
    assert "is none of nm-cloud-setup's" in node.refused("delete_rule", rule=rule)
    assert rules(node) == [rule]


def test_a_rule_must_be_given(node: Node) -> None:
    assert "the parameter rule is missing" in node.refused("delete_rule", rule="30400")


def test_a_default_route_stays_whose_interface_somebody_uses(node: Node) -> None:
    node.space.ip("route add default via 192.188.1.9 dev br0 metric 50")
    route = {**routes(node)["0.0.0.0/0 50"]}

    def connect() -> tuple[socket.socket, socket.socket]:
        return socket.create_server(("192.188.1.1", 22)), socket.create_connection(("192.188.1.1", 22))

    server, client = inside(node.space.path, connect, Deadline(5))
    with server, client:
        assert "established TCP connections end at 192.188.1.1" in node.refused("delete_route", route=route, unused=True)
        assert node.do("delete_route", check=True, route=route)["changed"], "it was not asked to look"


def test_a_second_default_route(node: Node) -> None:
    node.space.ip("route add default via 192.188.1.9 dev br0 metric 50")
    route = routes(node)["0.0.0.0/0 50"]
    node.twice("delete_route", "0.0.0.0/0 via 192.188.1.9 dev br0 proto boot metric 50", route=route, unused=True)
    assert "0.0.0.0/0 0" in routes(node)
