# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collectors against what ``ip -d -j`` says of the same kernel."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _iproute, _links, _neighbours, _netns, _routes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink

ROUTES = """
    addr add 192.0.2.11/24 dev eth0
    addr add 198.51.100.1 peer 198.51.100.2/32 dev eth1
    addr add 203.0.113.1/28 broadcast 203.0.113.15 dev eth1 label eth1:old
    addr add 203.0.113.2/28 dev eth1 noprefixroute
    addr add 10.9.9.9/24 dev eth1 valid_lft 1000 preferred_lft 500
    addr add 2001:db8::11/64 dev eth0 nodad
    addr add 2001:db8:1::11/64 dev eth1 nodad preferred_lft 0
    route add default via 192.0.2.1
    route add 10.0.0.0/26 via 192.0.2.12 proto bird
    route add 10.0.0.64/26 via 192.0.2.12 dev eth0 proto bird metric 1024 onlink
    route add 10.0.1.0/26 via 203.0.113.99 dev eth0 onlink proto 80 mtu 1450
    route add blackhole 10.0.2.0/26 proto 80
    route add unreachable 10.0.3.0/26
    route add prohibit 10.0.4.0/26 metric 7
    route add throw 10.0.5.0/26 table 200
    route add 10.0.6.7/32 dev eth1 scope link
    route add 10.0.7.0/26 proto 17 nexthop via 192.0.2.12 dev eth0 weight 3 nexthop via 203.0.113.3 dev eth1
    route add 10.0.8.0/26 via 192.0.2.12 src 192.0.2.11 table 70000 mtu lock 1400
    route add 10.0.9.0/26 via inet6 2001:db8::1 dev eth0
    route add 10.0.10.0/26 via 192.0.2.99 dev eth0 tos 0x10
    route add broadcast 10.0.11.255 dev eth0 table local scope link
    route add local 10.0.12.0/24 dev lo table local
    -6 route add default via 2001:db8::1 metric 5
    -6 route add fd00::/64 via 2001:db8::2 proto bird
    -6 route add fd01::/64 proto bird nexthop via 2001:db8::2 dev eth0 weight 2 nexthop via 2001:db8:1::3 dev eth1
    -6 route add blackhole fd02::/64
    -6 route add unreachable fd03::/64 table 200
    -6 route add fd04::1 dev eth1 mtu 1430
    rule add from 10.0.0.0/8 lookup 200 pref 2000
    rule add not fwmark 0x100000/0x100000 lookup 1 pref 99
    rule add fwmark 0x10 iif eth0 lookup 70000 pref 100
    rule add to 10.1.2.3 oif eth1 blackhole pref 101
    rule add from 10.7.0.0/16 goto 32766 pref 102
    rule add from all lookup main suppress_prefixlength 0 pref 103
    rule add from 10.8.0.0/16 prohibit pref 104
    -6 rule add from fd00::/8 lookup 200 pref 2000
    neigh add 192.0.2.12 lladdr 52:54:00:6f:a7:2c dev eth0 nud permanent
    neigh add 192.0.2.13 lladdr 52:54:00:6f:a7:2d dev eth0 nud stale
    neigh add 192.0.2.14 dev eth0 nud failed
    neigh add 2001:db8::2 lladdr 52:54:00:6f:a7:2e dev eth0 nud reachable router
    neigh add proxy 192.0.2.15 dev eth0
"""


@contextlib.contextmanager
def nameless() -> t.Iterator[int]:
    """A process in a network namespace that has no name; `ip` then shows the number of its namespace, as on a real node."""
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as process:
        try:
            own, end = os.readlink("/proc/self/ns/net"), time.monotonic() + 5
            while os.readlink(f"/proc/{process.pid}/ns/net") == own and time.monotonic() < end:
                time.sleep(0.01)
            yield process.pid
        finally:
            process.kill()


def build(space: t.Any, far: int) -> None:
    """A node with links, addresses, routes, rules and neighbours of many kinds. far: a process in another namespace."""
    space.ip("link add eth0 type veth peer name far0")
    space.ip("link add eth1 type bridge")
    for link in (
        "eth1.7 link eth1 type vlan id 7",
        "bond0 type bond mode active-backup",
        "tunl1 type ipip local 192.0.2.11 remote 192.0.2.12",
        "red type vrf table 77",
    ):
        space.offer(f"link add {link}")
    space.ip("link add vxlan.calico address 66:00:00:00:00:01 type vxlan id 4096 dstport 4789 local 192.0.2.11 dev eth0 nolearning")
    space.ip("link add vxlan-v6.calico type vxlan id 4097 dstport 4789 local 2001:db8::11 dev eth0 nolearning")
    space.ip("link add port0 type veth peer name port1")
    space.ip("link set port0 master eth1")
    space.ip(f"link set port1 netns {far}")
    for name in ("eth0", "far0", "eth1", "vxlan.calico", "port0"):
        space.ip(f"link set {name} up")
    space.ip("tuntap add tunl0 mode tun")
    for line in ROUTES.strip().splitlines():
        space.ip(line.strip())
    space.run("bridge", "fdb", "add", "66:00:00:00:00:02", "dev", "vxlan.calico", "dst", "192.0.2.12", "self", "permanent")
    space.run("bridge", "fdb", "add", "66:00:00:00:00:03", "dev", "port0", "master", "static")
    space.run("bridge", "fdb", "add", "66:00:00:00:00:04", "dev", "port0", "master", "dynamic")


def collect(path: str) -> dict[str, t.Any]:
    """Everything that is read over netlink, in the namespace at this path."""
    deadline = Deadline(10)

    def read() -> dict[str, t.Any]:
        with Rtnetlink(deadline) as kernel:
            payloads = _links.dump(kernel)
            index = _links.indexes(payloads)
            return {
                "links": _links.links(payloads, index),
                "addresses": _links.addresses(kernel, index),
                "rules": _links.rules(kernel),
                "routes": _routes.read(kernel, index),
                "neighbours": _neighbours.read(kernel, index),
                "fdb": _neighbours.read_fdb(kernel, index),
            }

    return _netns.inside(path, read, deadline)


def order(entries: list[dict[str, t.Any]]) -> list[str]:
    """A list whose order does not matter, one text an entry so that a difference is easy to see."""
    return sorted(str(sorted(entry.items())) for entry in entries)


def quiet(link: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in link.items() if name != "stats64"}


@pytest.fixture
def node(namespaces: t.Any) -> t.Iterator[t.Any]:
    space = namespaces()
    with nameless() as far:
        build(space, far)
        yield space


def test_like_ip(node: t.Any) -> None:
    found = collect(node.path)
    links = _iproute.links(node.json("link"))
    assert order([quiet(link) for link in found["links"]]) == order([quiet(link) for link in links])
    assert all(set(link["stats64"]["rx"]) == {"bytes", "packets", "errors", "dropped"} for link in found["links"])
    assert order(found["addresses"]) == order(_iproute.addresses(node.json("addr")))
    routes = _iproute.routes(node.json("-4", "route", "show", "table", "all"), "inet")
    routes += _iproute.routes(node.json("-6", "route", "show", "table", "all"), "inet6")
    assert len(routes) > 40
    assert order(found["routes"]) == order(routes)
    rules = _iproute.rules(node.json("-4", "rule"), "inet") + _iproute.rules(node.json("-6", "rule"), "inet6")
    assert order(found["rules"]) == order(rules)
    neighbours = _iproute.neighbours(node.json("neigh", "show", "nud", "all"))
    wanted = [neighbour for neighbour in neighbours if neighbour["state"] != ["NOARP"] and neighbour["state"]]
    assert order(found["neighbours"]) == order(wanted)
    assert order(found["fdb"]) == order(_iproute.fdb(node.run("bridge", "-j", "fdb").stdout))
    assert any(row.get("dst") == "192.0.2.12" for row in found["fdb"])


def test_like_pyroute2(node: t.Any) -> None:
    from pyroute2.iproute.linux import IPRoute

    def read() -> list[t.Any]:
        with IPRoute() as kernel:
            return list(kernel.get_routes())

    def text(family: int, destination: str | None, length: int) -> str:
        return f"{destination or ('0.0.0.0' if family == 2 else '::')}/{length}"

    def key(message: t.Any) -> tuple[t.Any, ...]:
        attrs = dict(message["attrs"])
        metrics = attrs.get("RTA_METRICS")
        hops = attrs.get("RTA_MULTIPATH") or []
        return (
            text(message["family"], attrs.get("RTA_DST"), message["dst_len"]),
            attrs.get("RTA_TABLE"),
            attrs.get("RTA_PRIORITY", 0),
            attrs.get("RTA_GATEWAY") or "",
            attrs.get("RTA_PREFSRC") or "",
            (metrics.get_attr("RTAX_MTU") if metrics else None) or 0,
            tuple(sorted((hop.get_attr("RTA_GATEWAY"), hop["hops"] + 1) for hop in hops)),
        )

    def own(route: dict[str, t.Any]) -> tuple[t.Any, ...]:
        hops = route.get("nexthops", [])
        gateway = route.get("gateway", "")
        return (
            route["dst"],
            route["table"],
            route["metric"],
            "" if ":" in gateway and route["family"] == "inet" else gateway,
            route.get("prefsrc", ""),
            route.get("mtu", 0),
            tuple(sorted((hop["gateway"], hop["weight"]) for hop in hops)),
        )

    end = time.monotonic() + 10
    while True:  # the kernel adds routes of IPv6 by itself for a while: two readings between which nothing changed are compared
        before = sorted(key(message) for message in _netns.inside(node.path, read, Deadline(20)))
        ours = sorted(own(route) for route in collect(node.path)["routes"])
        after = sorted(key(message) for message in _netns.inside(node.path, read, Deadline(20)))
        if before == after or time.monotonic() > end:
            break
    assert ours == after


def their(space: t.Any, what: str) -> list[t.Any]:
    """What pyroute2 itself reads there."""
    from pyroute2.iproute.linux import IPRoute

    def read() -> list[t.Any]:
        with IPRoute() as kernel:
            return list(getattr(kernel, what)())

    return t.cast("list[t.Any]", _netns.inside(space.path, read, Deadline(20)))


def test_links_like_pyroute2(node: t.Any) -> None:
    ours = {link["ifindex"]: link for link in collect(node.path)["links"]}
    theirs = their(node, "get_links")
    assert len(ours) == len(theirs) > 7
    for message in theirs:
        link, get = ours[message["index"]], message.get_attr
        info = get("IFLA_LINKINFO")
        assert (link["ifname"], link["mtu"], link["operstate"]) == (get("IFLA_IFNAME"), get("IFLA_MTU"), get("IFLA_OPERSTATE"))
        assert link.get("link_netnsid") == get("IFLA_LINK_NETNSID")
        assert link.get("master") == (ours[get("IFLA_MASTER")]["ifname"] if get("IFLA_MASTER") else None)
        assert (link["link_type"] in ("ipip", "sit", "tunnel6", "gre", "gre6")) or link.get("address") == get("IFLA_ADDRESS")
        assert link.get("linkinfo", {}).get("info_kind") == (info.get_attr("IFLA_INFO_KIND") if info is not None else None)
        assert ("UP" in link["flags"], "LOWER_UP" in link["flags"]) == (bool(message["flags"] & 1), bool(message["flags"] & 0x10000))
        stats = get("IFLA_STATS64")
        assert link["stats64"]["tx"]["dropped"] >= stats["tx_dropped"] - 64 and link["stats64"]["rx"]["packets"] <= stats["rx_packets"]


def test_addresses_and_rules_like_pyroute2(node: t.Any) -> None:
    ours = collect(node.path)
    found = [
        (m["prefixlen"], m.get_attr("IFA_LOCAL") or m.get_attr("IFA_ADDRESS"), m.get_attr("IFA_LABEL"), m.get_attr("IFA_BROADCAST"))
        for m in their(node, "get_addr")
    ]
    assert len(found) > 6
    assert sorted(map(str, found)) == sorted(str((a["prefixlen"], a["local"], a.get("label"), a.get("broadcast"))) for a in ours["addresses"])
    rules = [
        (
            message.get_attr("FRA_PRIORITY") or 0,
            message.get_attr("FRA_SRC"),
            message.get_attr("FRA_DST"),
            message.get_attr("FRA_FWMARK"),
            message.get_attr("FRA_GOTO"),
            message.get_attr("FRA_IIFNAME"),
            message.get_attr("FRA_OIFNAME"),
        )
        for message in their(node, "get_rules")
        if message["family"] in (2, 10)
    ]
    own = [
        (
            rule["priority"],
            rule["src"].partition("/")[0] if "src" in rule else None,
            rule["dst"].partition("/")[0] if "dst" in rule else None,
            rule.get("fwmark"),
            rule.get("goto"),
            rule.get("iif"),
            rule.get("oif"),
        )
        for rule in ours["rules"]
    ]
    assert len(rules) > 10 and sorted(map(str, rules)) == sorted(map(str, own))


def test_one_table(node: t.Any) -> None:
    def read(table: int) -> list[dict[str, t.Any]]:
        with Rtnetlink(Deadline(10)) as kernel:
            return _routes.read(kernel, {}, table=table)

    whole = collect(node.path)["routes"]
    for table in (200, 254, 255, 70000, 4711, -1):
        found = _netns.inside(node.path, lambda number=table: read(number), Deadline(10))  # type: ignore[misc]
        assert sorted(route["dst"] for route in found) == sorted(route["dst"] for route in whole if route["table"] == table)


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    """Raw route, neighbour and FDB messages of this machine and a few made up ones."""
    with Rtnetlink(Deadline(5)) as kernel:
        found = kernel.dump(26, bytes(12)) + kernel.dump(30, bytes(12)) + kernel.dump(18, bytes(16))
    return [*found, b"\x02\x20\0\0\xfe\x0c\0\x01\0\0\0\0" + b"\x08\0\x01\0\x0a\0\0\x01" + b"\x18\0\x09\0" + b"\x14\0\0\0\1\0\0\0\x08\0\x05\0\x0a\0\0\2\0\0\0\0"]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_property_mutated_messages(messages: list[bytes], data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(messages)))
    for _turn in range(data.draw(st.integers(0, 6))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(payload[: data.draw(st.integers(0, len(payload)))]) + data.draw(st.binary(max_size=40))
    for decode in (_routes.decode, _neighbours.decode_neighbour, _neighbours.decode_fdb):
        decode(cut, {1: "lo"})
        _routes.decode(cut, {}, cached=True)
    for read in (_links.address, _links.links):
        read([cut] if read is _links.links else cut, {1: "lo"})  # type: ignore[operator]
    _links.rule(cut)
    _links.indexes([cut])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_property_many_are_like_one_by_one(messages: list[bytes], data: st.DataObject) -> None:
    payloads = []
    for payload in data.draw(st.lists(st.sampled_from(messages), max_size=12)):
        mutable = bytearray(payload)
        for _turn in range(data.draw(st.integers(0, 3))):
            mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
        payloads.append(bytes(mutable))
    one_by_one = [route for route in (_routes.decode(payload, {1: "lo"}) for payload in payloads) if route is not None]
    assert _routes.decode_all(payloads, {1: "lo"}) == one_by_one
