# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.modules import calico_node_info, neighbor_info, netfilter_info, route_info, veth_info
from ansible_collections.podnet.doctor.tests.unit.plugins import support

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


def test_routes(run: t.Any, network: support.Network) -> None:
    node = network.nodes[0]
    node.ip("route add 10.9.0.0/24 table 200 nexthop via 192.0.2.12 dev eth0 nexthop via 192.0.2.13 dev eth0")
    flow = {"dst": "10.244.1.2", "src": "10.244.0.2", "iif": "cali00"}
    result = run(route_info, {"protocol": "bird", "family": "inet", "flows": [flow]}, node)
    assert [route["dst"] for route in result["routes"]] == ["10.244.1.0/26"]
    assert result["lookups"][0]["route"]["gateway"] == "192.0.2.12"
    assert {rule["family"] for rule in result["rules"]} == {"inet"}
    assert [route["table"] for route in run(route_info, {"table": 200}, node)["routes"]] == [200]
    assert [route["dst"] for route in run(route_info, {"dst": "10.244.0.2"}, node)["routes"]] == ["10.244.0.2/32"]
    assert [route["dst"] for route in run(route_info, {"dst": "default"}, node)["routes"]] == ["0.0.0.0/0"]
    assert all("eth0" in str(route) for route in run(route_info, {"dev": "eth0", "table": 200}, node)["routes"])
    result = run(route_info, {"dst": "nonsense"}, node)
    assert result["failed"] is True and result["msg"] == "dst: nonsense is not an address or a prefix"


def test_neighbours(run: t.Any, network: support.Network) -> None:
    node = network.nodes[0]
    node.ip("neigh add 192.0.2.12 lladdr 52:54:00:6f:a7:2c dev eth0 nud permanent")
    node.ip("neigh add 10.244.0.2 lladdr 52:54:00:6f:a7:2d dev cali00 nud stale")
    result = run(neighbor_info, {"state": ["PERMANENT"], "family": "inet", "dev": "eth0"}, node)
    assert result["neighbours"] == [{"family": "inet", "dst": "192.0.2.12", "dev": "eth0", "lladdr": "52:54:00:6f:a7:2c", "state": ["PERMANENT"]}]
    assert "fdb" not in result
    assert all(row["ifname"] == "eth0" for row in run(neighbor_info, {"fdb": True, "dev": "eth0"}, node)["fdb"])


def test_packet_filters(run: t.Any, namespaces: t.Any) -> None:
    if not (shutil.which("iptables-nft-save") and shutil.which("nft")):
        pytest.skip("needs iptables and nft")
    space = namespaces()
    space.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "179", "-j", "DROP")
    space.run("ip6tables-nft", "-N", "other")
    space.run("nft", "add table inet firewall")
    result = run(netfilter_info, {}, space)
    place = {"backend": "nft", "family": "inet", "table": "filter", "chain": "INPUT"}
    told = {"line": "-A INPUT -p tcp -m tcp --dport 179 -j DROP", "target": "DROP", "packets": 0, "bytes": 0, "understood": True}
    assert result["rules"] == [{**place, **told}] and result["errors"] == [] and result["changed"] is False
    assert {**place, "policy": "ACCEPT", "packets": 0} in result["chains"]
    assert [(table["family"], table["name"]) for table in result["nft"]] == [("inet", "firewall")]
    assert [chain["chain"] for chain in run(netfilter_info, {"family": "inet6", "chain": ["other"]}, space)["chains"]] == ["other"]
    assert run(netfilter_info, {"table": "nat"}, space)["rules"] == []


def test_veths(run: t.Any, network: support.Network) -> None:
    network.stay(network.pods[0])
    result = run(veth_info, {"names": ["cali00", "cali99"]}, network.nodes[0])
    (veth,) = result["veths"]
    assert result["missing"] == ["cali99"]
    assert veth["peer"]["ifname"] == "eth0" and "10.244.0.2/32" in veth["peer"]["addresses"]
    assert len(veth["sandbox"]["pids"]) == 1
    assert {veth["ifname"] for veth in run(veth_info, {}, network.nodes[0])["veths"]} == {"eth0", "cali00"}


def test_calico_node(run: t.Any, network: support.Network) -> None:
    result = run(calico_node_info, {"bird_socket": "/nowhere/bird.ctl"}, network.nodes[0])
    assert result["bird"]["ipv4"]["reason"] == "absent" and "/nowhere/bird.ctl" in result["bird"]["ipv4"]["error"]
    if support.some_process_is_hidden():  # Felix may be among what is hidden
        assert "Permission denied" in result["calico"]["error"]
    else:
        assert result["calico"]["felix"]["liveness"] == {"error": "connection refused by 127.0.0.1:9099"}


@pytest.mark.parametrize("module", [veth_info, calico_node_info])
def test_not_root(run: t.Any, no_root: None, module: t.Any) -> None:
    assert run(module)["msg"].endswith("run this task with become: true")


def test_deadline(run: t.Any, network: support.Network) -> None:
    result = run(neighbor_info, {"timeout": 0.000001}, network.nodes[0])
    assert (result["failed"] is True and "deadline" in result["msg"]) or "no answer" in result["msg"]
