# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each change on a real kernel, in namespaces that are thrown away."""

from __future__ import annotations

import json
import re
import socket
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _repairs, _routes, _steps
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Kernel, Refused

ADDRESS = {"ifname": "br0", "address": "192.188.1.1/24"}
NOTHING = {"changed": False, "before": "", "after": "", "back": [], "guard": ""}


class Node:
    """A namespace with an uplink, and a stray interface."""

    def __init__(self, space: t.Any) -> None:
        self.space = space
        for line in (
            "link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up", "addr add 10.2.7.202/24 dev eth0",
            "route add default via 10.2.7.254", "link add br0 type bridge", "link set br0 up", "addr add 192.188.1.1/24 dev br0",
        ):  # fmt: skip
            space.ip(line)

    def do(self, remedy: str, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
        return inside(self.space.path, lambda: _repairs.carry_out(remedy, parameters, Deadline(10), check), Deadline(20))

    def refused(self, remedy: str, **parameters: t.Any) -> str:
        before = self.state()
        with pytest.raises(Refused) as caught:
            self.do(remedy, **parameters)
        assert self.state() == before
        return str(caught.value)

    def state(self) -> str:
        """What a person configured; carriers and what IPv6 learns change by themselves."""
        links = [(link["ifname"], "UP" in link["flags"], link.get("master")) for link in self.space.json("link")]
        commands = ("-o addr", "-4 route show table all", "-4 neigh show nud permanent")
        shown = [str(sorted(re.sub(r"^[0-9]+: ", "", line) for line in self.space.ip(line).splitlines() if "fe80" not in line)) for line in commands]
        entries = [entry for entry in json.loads(self.space.run("bridge", "-j", "fdb", "show").stdout) if entry.get("dst")]
        values = self.space.run("sysctl", "-a", "--pattern", r"^net\.ipv4\.(conf|ip_forward)").stdout
        ports = [(link["ifname"], link["linkinfo"].get("info_slave_data", {}).get("state")) for link in self.space.json("link") if "linkinfo" in link]
        return "\n".join([str(links), *shown, str(entries), values, str(ports)]).replace(" linkdown", "").replace("NO-CARRIER,", "")

    def twice(self, remedy: str, before: str, after: str = "", back: bool = True, **parameters: t.Any) -> None:
        """In check mode, for real, taken back and that a second time, and for real again; then nothing is left to do."""
        was = self.state()
        assert self.do(remedy, check=True, **parameters) == {**NOTHING, "changed": True, "before": before, "after": after}
        assert self.state() == was
        done = self.do(remedy, **parameters)
        assert {key: done[key] for key in ("changed", "before", "after", "guard")} == {"changed": True, "before": before, "after": after, "guard": ""}
        assert bool(done["back"]) == back
        if back:
            assert self.state() != was
            steps = json.loads(json.dumps(done["back"]))  # as it travels
            assert self.take_back(steps, check=True) == NOTHING and self.state() != was
            assert self.take_back(steps) == {**NOTHING, "changed": True}
            assert self.state() == was
            assert self.take_back(steps)["changed"] in (False, "set" in remedy)  # an entry is written, whatever it was
            assert self.state() == was
            self.do(remedy, **parameters)
        assert self.do(remedy, **parameters) == NOTHING

    def take_back(self, steps: list[dict[str, t.Any]], check: bool = False) -> dict[str, t.Any]:
        return inside(self.space.path, lambda: _repairs.take_back({"steps": steps}, Deadline(10), check), Deadline(20))


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
    monkeypatch.setattr(_repairs, "_received", lambda _kernel, _index: next(counts))
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


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("x", "the parameter steps is missing"),
        (["x"], "the parameter steps is missing"),
        ([{"sysctl": "kernel/panic", "value": "1"}], "kernel/panic=1 is not a setting that a repair changes"),
        ([{"netlink": 32, "flags": 0, "body": ""}], "32 is not a change that a repair makes"),
        ([{"netlink": 16, "flags": 0, "body": "xx"}], "a step of the way back cannot be read"),
        ([{"bird": "/run/x", "command": "down"}], "None is not a change that a repair makes"),
    ],
)
def test_what_is_no_way_back(node: Node, steps: t.Any, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        node.take_back(steps)


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


def test_sysctls(node: Node) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "0")
    node.twice("set_sysctl", "net.ipv4.ip_forward = 0", "net.ipv4.ip_forward = 1", path="net/ipv4/ip_forward", value="1")
    node.space.sysctl("net/ipv4/conf/br0/proxy_arp", "0")
    node.twice("set_sysctl", "net.ipv4.conf.br0.proxy_arp = 0", "net.ipv4.conf.br0.proxy_arp = 1", path="net/ipv4/conf/br0/proxy_arp", value="1")
    assert "cannot be read: No such file" in node.refused("set_sysctl", path="net/ipv4/conf/nowhere/proxy_arp", value="1")


@pytest.fixture
def kept_file(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    path = tmp_path / "99-podnet-doctor.conf"
    for module in (_repairs, _steps):
        monkeypatch.setattr(module, "KEPT_SETTINGS", str(path))
    return path


FORWARDING = {"path": "net/ipv4/ip_forward", "value": "1", "persistent": True}


def test_a_setting_outlives_a_boot_where_that_was_asked_for(node: Node, kept_file: t.Any) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "0")
    assert node.do("set_sysctl", check=True, **FORWARDING)["changed"] and not kept_file.exists()
    done = node.do("set_sysctl", **FORWARDING)
    assert done["before"] == f"net.ipv4.ip_forward = 0; net.ipv4.ip_forward not in {kept_file}"
    assert done["after"] == f"net.ipv4.ip_forward = 1; net.ipv4.ip_forward = 1 in {kept_file}"
    assert kept_file.read_text() == f"{_steps.HEADER}net.ipv4.ip_forward = 1\n" and kept_file.stat().st_mode & 0o777 == 0o644
    assert node.do("set_sysctl", **FORWARDING) == NOTHING
    assert node.take_back(json.loads(json.dumps(done["back"])))["changed"] and not kept_file.exists()
    assert node.space.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "0"


def test_what_was_kept_before_stays(node: Node, kept_file: t.Any) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "1")
    kept_file.write_text("net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 0\n")
    done = node.do("set_sysctl", **FORWARDING)
    assert kept_file.read_text() == "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 1\n"
    node.take_back(done["back"])
    assert kept_file.read_text() == "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 0\n"


def test_what_is_made_anew_with_its_interface_cannot_be_kept(node: Node, kept_file: t.Any) -> None:
    assert "no file can keep it" in node.refused("set_sysctl", path="net/ipv4/conf/br0/proxy_arp", value="1", persistent=True)
    node.space.sysctl("net/ipv4/conf/all/rp_filter", "1")
    assert node.do("set_sysctl", path="net/ipv4/conf/all/rp_filter", value="0", persistent=True)["changed"]


@pytest.mark.parametrize("text", ["kernel.panic = 1\n", "net.ipv4.ip_forward = 1 # and\n", "net.ipv4.conf.br0.proxy_arp = 1\n", 7, None])
def test_a_way_back_writes_only_settings_into_the_file(node: Node, kept_file: t.Any, text: t.Any) -> None:
    with pytest.raises(Refused, match="is not a setting that a repair keeps"):
        node.take_back([{"kept": text}])
    assert not kept_file.exists()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kernel/panic", "1"),
        ("net/ipv4/ip_forward/../../../kernel/panic", "1"),
        ("net/ipv4/conf/../../../kernel/proxy_arp", "1"),
        ("net/ipv4/conf/eth0/accept_local", "1"),
        ("net/ipv4/ip_forward", "3"),
        ("net/netfilter/nf_conntrack_max", "0"),
        ("net/netfilter/nf_conntrack_max", "99999999"),
        ("net/ipv4/neigh/default/gc_thresh4", "4096"),
        ("net/ipv4/ip_forward", "1\n"),
        ("net/ipv4/ip_forward\n", "1"),
        ("/etc/passwd", "1"),
    ],
)
def test_other_settings_are_none_of_its_business(path: str, value: str) -> None:
    with pytest.raises(Refused, match="is not a setting that a repair changes"):
        _repairs.set_sysctl(t.cast("Kernel", None), {"path": path, "value": value})


@pytest.mark.parametrize(
    ("remedy", "parameters", "sentence"),
    [
        ("delete_address", {"ifname": "br0"}, "the parameter address is missing"),
        ("delete_address", {"ifname": "br0", "address": "junk"}, "junk is no address with a prefix length"),
        ("delete_link", {"ifname": ""}, "the parameter ifname is missing"),
        ("delete_route", {"route": "default"}, "the parameter route is missing"),
        ("delete_neighbour", {"dst": "10.0.0.1"}, "the parameter dev is missing"),
        ("set_sysctl", {"path": "net/ipv4/ip_forward", "value": 1}, "the parameter value is missing"),
    ],
)
def test_what_must_be_given(remedy: str, parameters: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        _repairs.REMEDIES[remedy](t.cast("Kernel", None), parameters)


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


def test_limits_are_only_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_repairs, "read_setting", lambda _path: "262144")
    wanted = {"path": "net/netfilter/nf_conntrack_max", "value": "524288"}
    state = _repairs.set_sysctl(t.cast("Kernel", None), wanted)
    assert (state.before, state.after) == ("net.netfilter.nf_conntrack_max = 262144", "net.netfilter.nf_conntrack_max = 524288")
    assert state.back == [{"sysctl": wanted["path"], "value": "262144"}]
    assert _repairs.set_sysctl(t.cast("Kernel", None), {**wanted, "value": "131072"}) == _repairs.AS_IT_MUST_BE


def test_one_tracked_flow(node: Node) -> None:
    node.space.run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    for port in ("40053", "40054"):
        flow = ["-p", "udp", "-s", "10.253.1.5", "-d", "10.96.0.10", "--sport", port, "--dport", "53"]
        reply = ["-r", "10.253.9.9", "-q", "10.253.1.5", "--reply-port-src", "53", "--reply-port-dst", port]
        done = node.space.run("conntrack", "-I", *flow, *reply, "-t", "600")
        if done.returncode:
            pytest.skip(f"no entry can be made here: {done.stderr}")
    mine = {"src": "10.253.1.5", "dst": "10.96.0.10", "sport": 40053, "dport": 53, "gone": "10.253.9.9"}
    assert node.do("delete_connection", **{**mine, "gone": "10.253.9.8"}) == NOTHING, "it leads elsewhere by now"
    node.twice("delete_connection", "udp 10.253.1.5:40053 to 10.96.0.10:53 answered by 10.253.9.9", back=False, **mine)
    left = node.space.run("conntrack", "-L", "-p", "udp").stdout
    assert "sport=40054" in left and "sport=40053" not in left
    assert "sport and dport must be ports" in node.refused("delete_connection", **{**mine, "sport": "40053"})
    assert "x is no address" in node.refused("delete_connection", **{**mine, "gone": "x"})


class Birdc:
    """The control socket, and what was said to it."""

    said: t.ClassVar[list[str]] = []

    def __init__(self, path: str, deadline: Deadline, restricted: bool = True) -> None:
        assert path == "/run/bird.ctl" and restricted is False

    def __enter__(self) -> Birdc:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, command: str) -> str:
        self.said.append(command)
        return "0009 Mesh_10_2_7_202: restarted"


@pytest.mark.parametrize(("info", "said"), [("Connect  Socket: refused", ['restart "Mesh_10_2_7_202"']), ("Established", [])])
def test_a_session_is_restarted_unless_it_is_established(node: Node, monkeypatch: pytest.MonkeyPatch, info: str, said: list[str]) -> None:
    session = {"name": "Mesh_10_2_7_202", "proto": "BGP", "state": "start", "info": info}
    daemon = {"socket": "/run/bird.ctl", "protocols": [session, {"name": "kernel1", "proto": "Kernel"}]}
    monkeypatch.setattr(_repairs._bird_socket, "read", lambda family, deadline, processes: daemon)
    monkeypatch.setattr(_repairs._bird_socket, "Conversation", Birdc)
    monkeypatch.setattr(Birdc, "said", [])
    asked = {"protocol": "Mesh_10_2_7_202", "family": "ipv4"}
    assert _repairs.carry_out("restart_protocol", asked, Deadline(10), True)["changed"] is bool(said)
    assert Birdc.said == [], "check mode only looks"
    done = _repairs.carry_out("restart_protocol", asked, Deadline(10), False, 60)
    assert (done["changed"], done["guard"], Birdc.said) == (bool(said), "", said)
    for protocol in ("kernel1", "Mesh_10_2_7_209", 'x"; disable "y'):
        with pytest.raises(Refused):
            _repairs.carry_out("restart_protocol", {**asked, "protocol": protocol}, Deadline(10), False)
    assert Birdc.said == said
