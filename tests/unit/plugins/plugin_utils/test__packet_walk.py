# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _ipset
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._packet_walk import Flow, Walked, Walks
from ansible_collections.podnet.doctor.tests.unit import recorded

POD1, POD2, NODE1, NODE2, OUTSIDE, SERVICE = "10.253.1.5", "10.253.2.6", "10.2.7.201", "10.2.7.202", "10.2.7.9", "10.96.0.7"
TABLES = ("raw", "mangle", "nat", "filter")


def iptables(*rules: str, backend: str = "nft") -> dict[str, t.Any]:
    """Rules as `-t nat -A CHAIN ...`; the table is filter where none is named."""
    lines: list[str] = []
    for table in TABLES:
        mine = [rule.removeprefix(f"-t {table} ") for rule in rules if rule.startswith(f"-t {table} ") or (table == "filter" and rule.startswith(("-A", "-P")))]
        builtin = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
        policies = dict(rule.split()[1:3] for rule in mine if rule.startswith("-P"))
        named = sorted({rule.split()[1] for rule in mine if rule.startswith("-A")} - builtin)
        lines += [f"*{table}", *(f":{chain} {policies.get(chain, 'ACCEPT')} [9:90]" for chain in sorted(builtin)), *(f":{chain} - [0:0]" for chain in named)]
        lines += [f"[5:300] {rule}" for rule in mine if rule.startswith("-A")] + ["COMMIT"]
    return {"backend": backend, "family": "inet", "text": "\n".join(lines) + "\n"}


def table(name: str, *items: dict[str, t.Any], family: str = "ip") -> dict[str, t.Any]:
    return {"family": family, "name": name, "json": json.dumps({"nftables": list(items)})}


def facts(number: int, *rules: str, nft: tuple[t.Any, ...] = (), sets: str = "", **changed: t.Any) -> NodeFacts:
    own, other = (NODE1, NODE2) if number == 1 else (NODE2, NODE1)
    mine, theirs = (POD1, "10.253.2.0/26") if number == 1 else (POD2, "10.253.1.0/26")

    def route(dst: str, dev: str, gateway: str | None = None, kind: str = "unicast", number_of_table: int = 254) -> dict[str, t.Any]:
        return {"family": "inet", "table": number_of_table, "type": kind, "dst": dst, "dev": dev, **({"gateway": gateway} if gateway else {})}

    document = {
        "links": [{"ifname": name} for name in ("lo", "eth0", "cali1")],
        "addresses": [{"ifname": dev, "local": address, "prefixlen": 24, "family": "inet"} for dev, address in (("lo", "127.0.0.1"), ("eth0", own))],
        "routes": [route(own + "/32", "eth0", None, "local", 255), route(f"{mine}/32", "cali1"), route(theirs, "eth0", other), route("10.2.7.0/24", "eth0"),
                   route("0.0.0.0/0", "eth0", "10.2.7.254")],
        "rules": [],
        "netfilter": {"iptables": [iptables(*rules)], "nft": list(nft), "ipsets": _ipset.saved(sets)},
        **changed,
    }  # fmt: skip
    return NodeFacts(f"node{number}", document)


def walked(*first: str, second: tuple[str, ...] = (), flow: Flow | None = None, established: bool = False, **changed: t.Any) -> Walked:
    walks = Walks([facts(1, *first, **changed), facts(2, *second)])
    return walks.walk(flow or Flow("tcp", POD1, POD2, 8080, "node1"), established)


def test_nothing_in_the_way() -> None:
    assert walked().verdict == "works"
    assert walked(flow=Flow("icmp", POD1, POD2, None, "node1")).verdict == "works"
    assert walked(flow=Flow("udp", NODE1, POD2, 53, "node1", host=True)).verdict == "works"
    assert walked(flow=Flow("tcp", OUTSIDE, POD1, 80)).verdict == "works"
    assert walked(flow=Flow("tcp", POD1, OUTSIDE, 80, "node1")).verdict == "works"


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("-A FORWARD -p tcp -m tcp --dport 8080 -j DROP", "timeout"),
        ("-A FORWARD -p tcp -m tcp --sport 8080 -j DROP", "timeout"),  # the answer
        ("-A FORWARD -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j DROP", "timeout"),
        ("-A FORWARD -p tcp -m tcp --dport 8080 -j REJECT --reject-with tcp-reset", "refused"),
        ("-A FORWARD -i eth0 -m conntrack --ctstate NEW -j DROP", "works"),
        ("-A FORWARD -p udp -j DROP", "works"),
        ("-A INPUT -j DROP", "works"),
        ("-P FORWARD DROP", "timeout"),
        ("-t raw -A PREROUTING -s 10.253.2.0/26 -j DROP", "timeout"),
        ("-t mangle -A POSTROUTING -o eth0 -m mark --mark 0x0/0x1 -j DROP", "timeout"),
        ("-t nat -A PREROUTING -p udp -j DROP", "works"),
        ("-A FORWARD -m strange --thing 1 -j DROP", "unknown"),
        ("-A FORWARD -m strange --thing 1 -j LOG", "works"),
        ("-A FORWARD -m set --match-set nowhere src -j DROP", "unknown"),
        ("-A FORWARD -j STRANGE", "unknown"),
        ("-t raw -A PREROUTING -i cali1 -m rpfilter --validmark --invert -j DROP", "works"),
        ("-t raw -A PREROUTING -i cali1 -m rpfilter -j DROP", "timeout"),
        ("-t raw -A PREROUTING -i cali1 -j NOTRACK", "works"),
        ("-A FORWARD -o eth0 -m addrtype --dst-type LOCAL -j DROP", "works"),
        ("-A FORWARD -o eth0 -m addrtype ! --dst-type LOCAL -j DROP", "timeout"),
    ],
)
def test_one_rule(rule: str, verdict: str) -> None:
    result = walked(rule)
    assert result.verdict == verdict
    if verdict in ("timeout", "refused"):
        assert result.way is not None and result.way.ends_at == "node1"
        assert result.way.steps[-1].line.endswith(rule[rule.index("-A") :] if "-A" in rule else "policy drop")


def test_session_affinity_notes_the_client_and_goes_on() -> None:
    seen = f"-m recent --rcheck --seconds 10800 --reap --name SEP --mask 255.255.255.255 --rsource -j DNAT --to-destination {POD2}:8080"
    noted = f"-m recent --set --name SEP --mask 255.255.255.255 --rsource -p tcp -j DNAT --to-destination {POD2}:8080"
    rules = [f"-t nat -A PREROUTING -d {SERVICE}/32 {rule}" for rule in (seen, noted)]
    assert walked(*rules, flow=Flow("tcp", POD1, SERVICE, 80, "node1")).verdict == "works"


def test_other_protocols_with_ports() -> None:
    asked = Flow("sctp", POD1, POD2, 9999, "node1")
    assert walked("-A FORWARD -p sctp -m sctp --dport 9999 -j DROP", flow=asked).verdict == "timeout"
    assert walked("-A FORWARD -p udp -m udp --dport 9999 -j DROP", flow=asked).verdict == "works"


def test_a_node_takes_the_address_of_its_tunnel() -> None:
    far = [{"family": "inet", "table": 254, "type": "unicast", "dst": "10.253.2.0/26", "dev": "tunl0", "gateway": NODE2}]
    links = [{"ifname": "tunl0", "linkinfo": {"info_kind": "ipip"}}, {"ifname": "eth0"}]
    addresses = [*facts(1).addresses, {"ifname": "tunl0", "local": "10.253.1.1", "prefixlen": 32, "family": "inet"}]
    asked = Flow("tcp", NODE1, POD2, 80, "node1", host=True)
    drop = f"-A OUTPUT -s {NODE1}/32 -j DROP"
    routes = [*far, *(route for route in facts(1).routes if route["dst"] != "10.253.2.0/26")]
    assert walked(drop, flow=asked).verdict == "timeout"
    assert walked(drop, flow=asked, routes=routes, links=links, addresses=addresses).verdict != "timeout"
    assert walked("-A OUTPUT -s 10.253.1.1/32 -j DROP", flow=asked, routes=routes, links=links, addresses=addresses).verdict == "timeout"


def test_doubt_never_accepts() -> None:
    assert walked("-A FORWARD -m strange --thing 1 -j ACCEPT", "-P FORWARD DROP").verdict == "unknown"
    assert walked("-A FORWARD -m strange --thing 1 -j DROP", "-A FORWARD -j DROP").verdict == "timeout"
    many = [f"-A FORWARD -m strange --thing {n} -j MARK --set-xmark {n}/{n}" for n in range(9)]
    assert walked(*many).verdict == "unknown"
    assert walked("-A FORWARD -j deep", "-A deep -j deep").verdict == "unknown"


def test_marks_are_carried() -> None:
    mark = "-j MARK --set-xmark 0x10000/0x10000"
    accept = ("-A FORWARD -j policy", f"-A policy -s 10.253.1.0/26 {mark}", f"-A policy -d 10.253.1.0/26 {mark}")
    assert walked(*accept, "-A FORWARD -m mark ! --mark 0x10000/0x10000 -j DROP").verdict == "works"
    assert walked(*accept, "-A FORWARD -m mark --mark 0x10000/0x10000 -j DROP").verdict == "timeout"
    saved = ("-t mangle -A PREROUTING -i cali1 -j MARK --set-xmark 0x7/0xff", "-t mangle -A PREROUTING -i cali1 -j CONNMARK --save-mark")
    restored = "-t mangle -A PREROUTING -i eth0 -j CONNMARK --restore-mark"
    assert walked(*saved, restored, "-A FORWARD -i eth0 -m mark --mark 0x7 -j DROP").verdict == "timeout"
    assert walked(*saved, "-A FORWARD -i eth0 -m mark --mark 0x7 -j DROP").verdict == "works"


def test_marks_choose_routes() -> None:
    routes = [*facts(1).routes, {"family": "inet", "table": 77, "type": "blackhole", "dst": "0.0.0.0/0"}]
    rules = [{"family": "inet", "priority": 0, "table": 255}, {"family": "inet", "priority": 100, "fwmark": 0x40, "fwmask": 0x40, "table": 77},
             {"family": "inet", "priority": 32766, "table": 254}]  # fmt: skip
    assert walked(routes=routes, rules=rules).verdict == "works"
    result = walked("-t mangle -A PREROUTING -i cali1 -j MARK --set-xmark 0x40/0x40", routes=routes, rules=rules)
    assert result.verdict == "timeout" and "no route to" in result.reason


def test_untracked_answer_is_invalid() -> None:
    """The quirk of doNotTrack: the request was not tracked, its answer belongs to no connection."""
    untracked = "-t raw -A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j NOTRACK"
    invalid = "-A FORWARD -i cali1 -m conntrack --ctstate INVALID -j DROP"
    assert walked(second=(untracked,)).verdict == "works"
    result = walked(second=(untracked, invalid))
    assert (result.verdict, result.way and (result.way.phase, result.way.ends_at)) == ("timeout", ("answer", "node2"))


SERVICES = (
    f"-t nat -A PREROUTING -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j svc",
    f"-t nat -A OUTPUT -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j svc",
    "-t nat -A svc ! -s 10.253.0.0/16 -j MARK --set-xmark 0x4000/0x4000",
    f"-t nat -A svc -p tcp -j DNAT --to-destination {POD2}:8080",
    "-t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
)


def test_services_are_translated_there_and_back() -> None:
    asked = Flow("tcp", POD1, SERVICE, 80, "node1")
    result = walked(*SERVICES, flow=asked)
    assert result.verdict == "works" and result.way is not None and result.way.backend == (POD2, 8080)
    assert walked(*SERVICES, second=(f"-A FORWARD ! -s {POD1}/32 -o cali1 -j DROP",), flow=asked).verdict == "works"
    assert walked(*SERVICES, "-A FORWARD -d 10.96.0.7/32 -j DROP", flow=asked).verdict == "works"  # filters see the translated address
    assert walked(flow=asked).verdict == "unknown"  # it leaves for the default gateway
    own = Flow("tcp", NODE1, SERVICE, 80, "node1", host=True)
    assert walked(*SERVICES, flow=own).verdict == "works"
    assert walked(*SERVICES, second=(f"-A FORWARD ! -s {NODE1}/32 -o cali1 -j DROP",), flow=own).verdict == "works"


NEIGHBOUR = "10.253.1.6"


def on_one_bridge(*rules: str, **changed: t.Any) -> Walked:
    """Two pods of one node, both ports of cni0."""
    base = facts(1, *rules).document
    assert base is not None
    ports = [{"ifname": name, "master": "cni0", "linkinfo": {"info_kind": "veth"}} for name in ("veth1", "veth2")]
    route = {"family": "inet", "table": 254, "type": "unicast", "dst": "10.253.1.0/26", "dev": "cni0"}
    links = [{"ifname": "lo"}, {"ifname": "eth0"}, {"ifname": "cni0", "linkinfo": changed.pop("linkinfo", {"info_kind": "bridge"})}, *ports]
    routes = [*(one for one in base["routes"] if one["dev"] != "cali1"), route]
    document = {**base, "links": links, "routes": routes, "sysctls": {}, **changed}
    return Walks([NodeFacts("node1", document)]).walk(Flow("tcp", POD1, NEIGHBOUR, 8080, "node1"))


DROPS = "-A FORWARD -p tcp -m tcp --dport 8080 -j DROP"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"sysctls": {"net/bridge/bridge-nf-call-iptables": "1"}}, "timeout"),
        ({"sysctls": {"net/bridge/bridge-nf-call-iptables": "0"}}, "works"),
        ({"sysctls": {"net/bridge/bridge-nf-call-ip6tables": "1"}}, "works"),
        ({}, "works"),  # the module br_netfilter is not loaded
        ({"linkinfo": {"info_kind": "bridge", "info_data": {"nf_call_iptables": 1}}}, "timeout"),
        ({"sysctls": {"error": "Permission denied"}}, "unknown"),
    ],
)
def test_what_a_bridge_delivers_by_itself(changed: dict[str, t.Any], verdict: str) -> None:
    assert on_one_bridge(DROPS, **changed).verdict == verdict
    assert on_one_bridge(**changed).verdict == ("unknown" if verdict == "unknown" else "works")


def test_every_backend_is_walked() -> None:
    half = "-t nat -A svc -m statistic --mode random --probability 0.5 -j one"
    two = (*SERVICES[:3], half, f"-t nat -A one -p tcp -j DNAT --to-destination {POD1}:8080", *SERVICES[3:])
    asked = Flow("tcp", NODE1, SERVICE, 80, "node1", host=True)
    result = walked(*two, flow=asked)
    assert result.verdict == "works" and {way.backend for way in result.ways} == {(POD1, 8080), (POD2, 8080)}
    mixed = walked(*two, second=("-A FORWARD -o cali1 -j DROP",), flow=asked)
    assert (mixed.verdict, mixed.reason) == ("unknown", "some ways work, others do not")


def test_the_sender_feels_its_own_filter() -> None:
    own = {"second": (), "flow": Flow("udp", NODE1, POD2, 53, "node1", host=True)}
    assert walked("-A OUTPUT -p udp -j DROP", **own).verdict == "eperm"
    assert walked("-A OUTPUT -j DROP", flow=Flow("tcp", NODE1, POD2, 53, "node1", host=True)).verdict == "timeout"
    assert walked(second=("-A OUTPUT -j DROP",), flow=Flow("udp", POD1, NODE2, 53, "node1")).verdict == "timeout"


def test_sets() -> None:
    sets = f"create web hash:net family inet\nadd web 10.253.1.0/24\nadd web {POD1} nomatch\n"
    assert walked("-A FORWARD -m set --match-set web src -j DROP", sets=sets, flow=Flow("tcp", OUTSIDE, POD1, 80)).verdict == "works"
    assert walked("-A FORWARD -o eth0 -m set ! --match-set web src -j DROP", sets=sets).verdict == "timeout"


@pytest.mark.parametrize(
    ("more", "protocol", "port", "verdict"),
    [
        ("", "tcp", 8080, "timeout"),
        ("", "tcp", 8081, "works"),
        ("", "udp", 8080, "works"),
        (f"add named {POD1},tcp:40000\n", "tcp", 8081, "unknown"),  # a client may have this port
        (f"add named {POD1},tcp:4000\n", "tcp", 8081, "works"),
        ("add named what,x\n", "tcp", 8080, "timeout"),
        ("add named what,x\n", "tcp", 8081, "unknown"),
        ("test named 10.0.0.1\n", "tcp", 8081, "unknown"),
    ],
)
def test_sets_with_ports(more: str, protocol: t.Any, port: int, verdict: str) -> None:
    sets = f"create named hash:ip,port family inet\nadd named {POD2},tcp:8080\n{more}"
    assert walked("-A FORWARD -m set --match-set named dst,dst -j DROP", sets=sets, flow=Flow(protocol, POD1, POD2, port, "node1")).verdict == verdict


def chain(name: str, hook: str, priority: int = 0, kind: str = "filter", policy: str = "accept") -> dict[str, t.Any]:
    return {"chain": {"family": "ip", "table": "t", "name": name, "type": kind, "hook": hook, "prio": priority, "policy": policy}}


def nft_rule(name: str, *statements: t.Any) -> dict[str, t.Any]:
    return {"rule": {"chain": name, "expr": list(statements)}}


def asks(left: t.Any, right: t.Any, operator: str = "==") -> dict[str, t.Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


STATUS = {"ct": {"key": "status"}}
DESTINATION = {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}


def test_nft_status_is_a_word_or_a_bit() -> None:
    """`ct status != dnat` holds the whole status against one bit, so it is true of translated traffic, too."""
    asked = Flow("tcp", NODE1, SERVICE, 80, "node1", host=True)

    def with_status(*match: t.Any) -> Walked:
        return walked(*SERVICES, nft=(table("t", chain("out", "output"), nft_rule("out", asks(STATUS, "dnat", *match), {"drop": None})),), flow=asked)

    assert with_status("!=").verdict == "timeout"
    assert with_status("in").verdict == "timeout"
    assert with_status("==").verdict == "works"


def test_nft_verdict_maps() -> None:
    to_svc = {"goto": {"target": "svc"}}
    services = {"name": "services", "type": ["ipv4_addr", "inet_proto", "inet_service"], "map": "verdict", "elem": [[{"concat": [SERVICE, "tcp", 80]}, to_svc]]}
    chance = {"key": {"numgen": {"mode": "random", "mod": 2, "offset": 0}}, "data": {"set": [[0, {"goto": {"target": "a"}}], [1, {"goto": {"target": "b"}}]]}}
    proxy = table(
        "t", {"map": services}, chain("pre", "prerouting", -100, "nat"), *({"chain": {"name": name}} for name in ("svc", "a", "b")),
        nft_rule("pre", {"vmap": {"key": DESTINATION, "data": "@services"}}), nft_rule("svc", {"vmap": chance}),
        nft_rule("a", {"dnat": {"addr": POD2, "port": 8080}}), nft_rule("b", {"dnat": {"addr": POD2, "port": 8081}}),
    )  # fmt: skip
    asked = Flow("tcp", POD1, SERVICE, 80, "node1")
    result = walked(nft=(proxy,), flow=asked)
    assert result.verdict == "works" and {way.backend for way in result.ways} == {(POD2, 8080), (POD2, 8081)}
    assert walked(nft=(proxy,), second=("-A FORWARD -p tcp -m tcp --dport 8081 -j DROP",), flow=asked).verdict == "unknown"


def test_nft_sets() -> None:
    members = [{"prefix": {"addr": "10.253.2.0", "len": 24}}, {"range": ["10.9.0.1", "10.9.0.9"]}]
    banned = {"set": {"name": "banned", "type": "ipv4_addr", "flags": ["interval"], "elem": members}}
    drop = nft_rule("fwd", asks({"payload": {"protocol": "ip", "field": "daddr"}}, "@banned"), {"drop": None})
    assert walked(nft=(table("t", banned, chain("fwd", "forward"), drop),)).verdict == "timeout"
    assert walked(nft=(table("t", banned, chain("fwd", "forward"), drop),), flow=Flow("tcp", OUTSIDE, POD1, 80)).verdict == "works"
    assert walked(nft=(table("t", chain("fwd", "forward"), drop),)).verdict == "unknown"  # the set is not there


def test_order_of_the_hooks() -> None:
    """What is marked earlier is seen later, whichever tool wrote it."""
    def marked_at(priority: int) -> str:
        mark = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 8]}}}
        return walked("-A FORWARD -m mark --mark 0x8/0x8 -j DROP", nft=(table("t", chain("f", "forward", priority), nft_rule("f", mark)),)).verdict

    assert marked_at(-10) == "timeout"
    assert marked_at(10) == "works"
    foreign = table("fw", chain("f", "forward", 10, policy="drop"))
    result = walked("-A FORWARD -j ACCEPT", nft=(foreign,))
    assert result.verdict == "timeout" and result.way is not None and result.way.steps[-1].base.table == "ip fw"


def test_established() -> None:
    no_new = "-A FORWARD -m conntrack --ctstate NEW -j DROP"
    assert walked(no_new).verdict == "timeout"
    assert walked(no_new, established=True).verdict == "works"


def test_what_was_not_read_is_unknown() -> None:
    assert Walks([facts(1)]).walk(Flow("tcp", POD1, POD2, 80, "node1")).verdict != "works" or Walks([facts(1)]).home(POD2) is None
    assert Walks([facts(1), NodeFacts("node2", None, "did not answer")]).walk(Flow("tcp", POD2, POD1, 80, "node2")).verdict == "unknown"
    assert walked(netfilter={"error": "no"}).verdict == "unknown"
    assert walked(netfilter={"iptables": [], "nft": {"error": "nft is not installed"}}).verdict == "unknown"


@pytest.mark.parametrize("name", ["np-and-peer", "hep-donottrack", "nft-hep-no-policy", "nft-np-nodeport-cluster"])
def test_measured_cells(name: str) -> None:
    """Some of the measured truth tables; `make policy` has them all."""
    where = recorded.policy_folder()
    if where is None:
        pytest.skip(recorded.ABSENT)
    base = recorded.opened(where, name)
    about = recorded.read_json(base / "about.json")
    walks = Walks(NodeFacts(node.name, recorded.node_in(base, node.name)) for node in (base / "nodes").iterdir())
    ends = {end["name"]: end for end in about["sources"]} | {f"service:{service['name']}": service for service in about["services"]}
    ends |= {f"nodeport:{end['node']}": end for end in about["sources"] if end["kind"] == "host"}
    wrong = []
    for cell in about["cells"]:
        source = ends[cell["source"]]
        flow = Flow(cell["protocol"].lower(), source["ip"], ends[cell["destination"]]["ip"], cell["port"], source["node"], source["kind"] == "host")
        if walks.walk(flow).verdict != cell["result"]:
            wrong.append(cell)
    assert not wrong


PIECES = [
    "-A FORWARD", "-A a", "-j a", "-g b", "-A b", "-p tcp", "-m tcp --dport 1:9", "-j DROP", "-m mark --mark 0x1/0x1", "! -s 10.0.0.0/8", "-j REJECT",
    "-j MARK --set-xmark 0x1/0x1", "-m set --match-set s src", "-m addrtype --dst-type LOCAL", "-j DNAT --to-destination x", "-m tcp --dport x",
    "-m conntrack --ctstate DNAT", "-j MASQUERADE", "-m statistic --mode random --probability 0.5", "-m icmp --icmp-type any",
]  # fmt: skip
RULES = st.lists(st.sampled_from(PIECES), max_size=6)


@settings(max_examples=200)
@given(st.lists(RULES, max_size=6), st.text(max_size=30))
def test_property_any_rules_are_walked(rules: list[list[str]], sets: str) -> None:
    rules = [rule for rule in rules if rule and rule[0].startswith("-A") and sum(word.startswith("-A") for word in rule) == 1]
    result = walked(*(" ".join(rule) for rule in rules), sets="create s hash:net family inet\n" + sets)
    assert result.verdict in ("works", "timeout", "refused", "unknown")
