# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _compact, _entries
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack

NODES, PODS, LIMIT = 1000, 110, 10_000


def random_hex(*words, size):
    return hashlib.sha256(repr(words).encode()).hexdigest()[:size]


def mac(*words):
    text = random_hex(*words, size=12)
    return ":".join(text[at : at + 2] for at in range(0, 12, 2))


def node(number):
    return f"10.2.{number // 200}.{number % 200 + 1}"


def block(number):
    spread = int(random_hex("block", number // 4, size=4), 16) // 4 * 4 + number % 4  # as IPAM spreads them over the pool
    return f"10.{64 + spread // 1024}.{spread // 4 % 256}.{spread % 4 * 64}"


def pods(number):
    base = block(number).rpartition(".")
    for place in range(PODS):
        name = random_hex(number, place, size=11)
        uid = random_hex("uid", number, place, size=32)
        address = f"{base[0]}.{int(base[2]) + place}" if place < 64 else f"10.200.{number % 200}.{place}"  # its second block
        yield address, f"cali{name}", f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"


def tables(number):
    mine = list(pods(number))
    vteps = [(block(n), mac("vtep", n)) for n in range(NODES)]
    return {
        "blocks": [row for n in range(NODES) for row in ((f"{block(n)}/26", node(n)), (f"{block(n)}/26", block(n)))],
        "peers": [(node(n),) for n in range(NODES)],
        "vteps": vteps,
        "tunnel_ends": [(vtep[1], node(n)) for n, vtep in enumerate(vteps)],
        "pods": [(uid, ifname, address) for address, ifname, uid in mine],
        "pod_routes": [(f"{address}/32", ifname) for address, ifname, _uid in mine],
        "pod_neighbours": [(address, ifname) for address, ifname, _uid in mine],
        "pod_links": [(ifname,) for _address, ifname, _uid in mine],
    }


def document(number, vxlan=False):
    """What a node of a large cluster says, as the collectors say it."""
    mine, others = list(pods(number)), [n for n in range(NODES) if n != number]
    device = "vxlan.calico" if vxlan else "tunl0"
    routes, links, addresses, neighbours, fdb, sysctls, sandboxes, sessions, learned = [], [], [], [], [], {}, [], [], []

    def route(dst, **more):
        shape = {"family": "inet", "table": 254, "type": "unicast", "dst": dst, "protocol": "boot", "scope": "global", "metric": 0, "flags": []}
        routes.append({**shape, **more})

    route("0.0.0.0/0", gateway="10.2.255.254", dev="eth0", protocol="dhcp")
    route(f"{block(number)}/26", type="blackhole", protocol="80" if vxlan else "bird")
    for place, other in enumerate(others):
        route(f"{block(other)}/26", gateway=block(other) if vxlan else node(other), dev=device, protocol="boot" if vxlan else "bird", flags=["onlink"])
        if vxlan:
            neighbours.append({"family": "inet", "dst": block(other), "dev": device, "lladdr": mac("vtep", other), "state": ["PERMANENT"]})
            fdb.append({"mac": mac("vtep", other), "ifname": device, "dst": node(other), "state": "permanent", "flags": ["self"]})
        else:
            name = f"Mesh_{node(other).replace('.', '_')}"
            bgp = {"state": "Established", "neighbor_address": node(other), "neighbor_as": 64512, "neighbor_id": node(other), "source_address": node(number),
                   "session": "internal multihop AS4", "hold_timer": f"{place * 7 % 240}/240"}  # fmt: skip
            sessions.append({"name": name, "proto": "BGP", "table": "master", "state": "up", "since": f"2026-11-2{place % 9}", "info": "Established",
                             "imported": place % 5, "exported": 2, "preferred": place % 5, "bgp": bgp})  # fmt: skip
            learned.append({"prefix": f"{block(other)}/26", "type": "unicast", "nexthops": [{"gateway": node(other), "dev": device}],
                            "protocol": name, "since": f"10:{place % 60:02}:11", "from": node(other), "state": "*", "preference": 100})  # fmt: skip
        neighbours.append({"family": "inet", "dst": node(other), "dev": "eth0", "lladdr": mac("eth0", other), "state": [["REACHABLE"], ["STALE"]][place % 2]})
    links.append({"ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "operstate": "UP", "address": mac("eth0", number),
                  "stats64": {"rx": {"bytes": 918273645}, "tx": {"bytes": 1827364}}})  # fmt: skip
    for place, (address, ifname, uid) in enumerate(mine):
        links.append({"ifindex": 10 + place * 3, "ifname": ifname, "flags": ["UP", "LOWER_UP"], "mtu": 1480, "operstate": "UP",
                      "link_netnsid": place, "link_index": 3, "address": "ee:ee:ee:ee:ee:ee",
                      "linkinfo": {"info_kind": "veth"}, "stats64": {"rx": {"bytes": place * 77777}}})  # fmt: skip
        addresses.append({"ifname": ifname, "family": "inet6", "local": "fe80::ecee:eeff:feee:eeee", "prefixlen": 64, "scope": "link"})
        route(f"{address}/32", dev=ifname, scope="link")
        route("fe80::/64", dev=ifname, family="inet6", protocol="kernel", metric=256)
        neighbours.append({"family": "inet", "dst": address, "dev": ifname, "lladdr": mac("pod", number, place), "state": [["STALE"], ["DELAY"]][place % 2]})
        for family, name in (("ipv4", "forwarding"), ("ipv4", "proxy_arp"), ("ipv4", "rp_filter"), ("ipv4", "route_localnet"), ("ipv6", "disable_ipv6")):
            sysctls[f"net/{family}/conf/{ifname}/{name}"] = "0" if name == "disable_ipv6" else "1"
        inner = {
            "links": [{"ifindex": 3, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1480, "operstate": "UP", "address": mac("pod", number, place),
                       "stats64": {"rx": {"bytes": place * 555}}}],
            "addresses": [{"ifname": "eth0", "family": "inet", "local": address, "prefixlen": 32, "scope": "global"}],
            "routes": [{"family": "inet", "table": 254, "type": "unicast", "dst": "0.0.0.0/0", "gateway": "169.254.1.1", "dev": "eth0"}],
            "neighbours": [{"family": "inet", "dst": "169.254.1.1", "dev": "eth0", "lladdr": "ee:ee:ee:ee:ee:ee", "state": ["REACHABLE"]}],
            "rules": [], "sysctls": {"net/ipv4/ip_forward": "0"},
        }  # fmt: skip
        sandboxes.append({"netns": 4026532000 + place, "nsid": place, "pids": [1000 + place * 13], "container_id": random_hex("c", number, place, size=64),
                          "pod_uid": uid, "ifname": ifname, "network": inner})  # fmt: skip
    daemon = {"error": "no BIRD", "reason": "absent"} if vxlan else {
        "socket": "/run/calico/bird.ctl", "version": "v0.3.3+birdv1.6.8", "status": {"router_id": node(number)}, "protocols": sessions, "routes": learned,
    }  # fmt: skip
    return {
        "schema": "podnet.doctor/node/1", "host": f"n{number}", "node": f"n{number}", "seconds": 0.3, "identity": {"hostname": f"n{number}"}, "links": links,
        "addresses": addresses, "routes": routes, "rules": [], "neighbours": neighbours, "fdb": fdb, "sysctls": sysctls, "bird": {"ipv4": daemon},
        "calico": {"felix": {"running": True}}, "sandboxes": sandboxes,
        "counters": {"snmp": {"Ip": dict.fromkeys(map(str, range(60)), number)}, "arp_cache": {"entries": 40, "table_fulls": 0}},
    }  # fmt: skip


@pytest.mark.parametrize("vxlan", [False, True], ids=["ipip", "vxlan"])
def test_a_healthy_node_of_a_thousand_answers_in_ten_kilobytes(vxlan):
    whole, known = document(7, vxlan), tables(7)
    small = _compact.compact(whole, known)
    size = len(pack(small))
    assert size < LIMIT < len(pack(whole)), (size, {name: len(pack(section)) for name, section in small.items()})


@pytest.mark.parametrize("vxlan", [False, True], ids=["ipip", "vxlan"])
def test_nothing_that_is_judged_gets_lost(vxlan):
    whole, known = document(7, vxlan), json.loads(json.dumps(tables(7)))
    again = _compact.expand(json.loads(json.dumps(_compact.compact(whole, known))), known, _compact.Expander())

    def key(entry):
        return json.dumps(entry, sort_keys=True)

    for section in ("routes", "addresses", "fdb"):
        assert sorted(map(key, again[section])) == sorted(map(key, whole[section]))
    assert again["sysctls"] == whole["sysctls"]
    assert {link["ifname"]: (link["flags"], link["address"]) for link in again["links"]} == {
        link["ifname"]: (link["flags"], link["address"]) for link in whole["links"]
    }
    assert {box["ifname"]: box["network"]["routes"] for box in again["sandboxes"]} == {box["ifname"]: box["network"]["routes"] for box in whole["sandboxes"]}
    if not vxlan:
        first, second = ({p["name"]: (p["state"], p["bgp"]["neighbor_as"]) for p in d["bird"]["ipv4"]["protocols"]} for d in (again, whole))
        assert first == second and len(first) == NODES - 1
        assert {r["prefix"]: r["nexthops"] for r in again["bird"]["ipv4"]["routes"]} == {r["prefix"]: r["nexthops"] for r in whole["bird"]["ipv4"]["routes"]}


def test_a_wrong_entry_is_told_in_full():
    whole, known = document(7), tables(7)
    whole["routes"][20]["gateway"] = "192.0.2.1"
    whole["bird"]["ipv4"]["protocols"][5]["bgp"]["state"] = "Connect"
    box, pod = whole["sandboxes"][3], whole["neighbours"][-1]
    pod["lladdr"] = "02:00:00:00:00:01"
    small = json.loads(json.dumps(_compact.compact(whole, known)))
    again = _compact.expand(small, json.loads(json.dumps(known)), _compact.Expander())
    assert len(pack(small)) < LIMIT
    assert whole["routes"][20] in again["routes"] and len(again["routes"]) == len(whole["routes"])
    (dead,) = (p for p in again["bird"]["ipv4"]["protocols"] if p["bgp"]["state"] != "Established")
    assert dead["since"] and dead["name"] == whole["bird"]["ipv4"]["protocols"][5]["name"]
    assert [n["lladdr"] for n in again["neighbours"] if n["dev"] == pod["dev"]] == ["02:00:00:00:00:01"]
    macs = {b["ifname"]: b["network"]["links"][0]["address"] for b in again["sandboxes"]}
    assert macs[pod["dev"]] == whole["sandboxes"][-1]["network"]["links"][0]["address"]  # the two that differ are told as they are
    assert macs[box["ifname"]] == f"mac-of-{box['ifname']}"


@pytest.mark.parametrize("lladdr", [None, "02:00:00:00:00:01"], ids=["right", "wrong"])
def test_pods_on_a_bridge_have_their_neighbour_entry_there(lladdr):
    whole, known = document(7), tables(7)
    box, pod = whole["sandboxes"][-1], whole["neighbours"][-1]
    inside = box["network"]["links"][0]["address"]
    pod.update(dev="cni0", lladdr=lladdr or inside)
    again = _compact.expand(_compact.compact(whole, known), known, _compact.Expander())
    (entry,) = (n for n in again["neighbours"] if n["dst"] == pod["dst"] and n["dev"] == "cni0")
    (link,) = (b["network"]["links"][0] for b in again["sandboxes"] if b["ifname"] == box["ifname"])
    assert (entry["lladdr"] == link["address"]) is (lladdr is None)


def test_neighbours_that_do_not_answer_are_never_left_out():
    whole = document(7)
    for entry in whole["neighbours"][-200:]:
        if entry["dev"] == "eth0":
            entry.update(state=["FAILED"])
    again = _compact.expand(_compact.compact(whole, tables(7)), tables(7), _compact.Expander())
    failed = [entry["dst"] for entry in whole["neighbours"] if entry["state"] == ["FAILED"]]
    assert failed and {entry["dst"] for entry in again["neighbours"] if entry["state"] == ["FAILED"]} == set(failed)
    assert sum(entry["dev"] == "eth0" and entry["state"] != ["FAILED"] for entry in again["neighbours"]) == _compact.MOST_NEIGHBOURS


def test_other_tables_are_refused():
    small = _compact.compact(document(7), tables(7))
    with pytest.raises(ValueError, match="other expectations"):
        _compact.expand(small, tables(8), _compact.Expander())


def test_errors_of_sections_stay():
    whole = {"schema": "x", "routes": {"error": "no"}, "bird": {"ipv4": {"error": "refused"}}, "sysctls": {"error": "no"}, "links": {"error": "no"}}
    assert _compact.expand(_compact.compact(whole, {}), {}, _compact.Expander()) == whole


TEXT = st.text(alphabet="01ab._:\x00\x01", max_size=4)
VALUE = st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=4)


@given(st.lists(st.fixed_dictionaries({"dst": TEXT, "gateway": TEXT | st.none()}, optional={"more": VALUE})), st.lists(st.tuples(TEXT, TEXT), max_size=6))
def test_property_entries_come_back(entries, rows):
    known = {"blocks": rows}
    section = json.loads(json.dumps(_compact.tabulate(entries, _compact.SPECS["routes"], known)))
    again = _compact.Expander().entries(section, known)
    assert sorted(map(json.dumps, again)) == sorted(map(json.dumps, entries))


JSON = st.recursive(st.none() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6)


@given(JSON)
def test_property_what_is_no_section_is_a_value_error(section):
    if isinstance(section, dict):
        with pytest.raises(ValueError):
            _compact.Expander().entries({"shapes": [section]}, {})


def test_a_closed_document_is_unpacked_again():
    small, known = _compact.compact(document(7), tables(7)), tables(7)
    opened = _compact.Opened(small, known, _compact.Expander(), pack(small))
    before = _entries.plain(opened)
    opened.close()
    assert opened.closed is not small and _entries.plain(opened) == before and "expected" not in opened and len(opened) == len(before)
    lasting = _compact.Opened(small, known, _compact.Expander())
    lasting.close()
    assert lasting.closed is small


def test_a_document_whose_section_is_none_is_refused():
    known = tables(7)
    for broken in ({"shapes": [["blocks", "text", "1"]], "rest": []}, {"shapes": [["elsewhere", {}, "1"]], "rest": []}, {"shapes": [], "rest": [1]},
                   {"shapes": [["blocks", {}, "nothing"]], "rest": []}, {"shapes": [["blocks", {}]], "rest": []}, {"shapes": 1, "rest": []}):  # fmt: skip
        small = {**_compact.compact(document(7), known), "routes": broken}
        with pytest.raises(ValueError):
            _compact.Opened(small, known, _compact.Expander())
