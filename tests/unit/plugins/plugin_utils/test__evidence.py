# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils._marks import FLOWS
from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence, _grid
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import MOST_WAYS
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import resolve as resolve_service
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _seen_text
from ansible_collections.podnet.doctor.tests.unit import small, small_services
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOSTS = {"k8s01": "one", "k8s02": "two"}
ID = "0" * 32
CLUSTER = small.documents().cluster


def question(source="shop/web-0", destination="shop/api-0", protocol="tcp", port=8080):
    return resolve(small.documents().cluster, source, destination, protocol, port)


# ---------------------------------------------------------------------------- what is sent


def sent(asked, hosts=None):
    return _evidence.probes(CLUSTER, asked, HOSTS if hosts is None else hosts)


def test_every_node_listens_and_each_end_sends():
    found = sent(question())
    assert {host: {phase: [a["direction"] for a in found[host][phase]] for phase in _evidence.PHASES} for host in found} == {
        "one": {"arm": ["both"], "fire": ["forward"], "collect": ["both"]},
        "two": {"arm": ["both"], "fire": ["reverse"], "collect": ["both"]},
    }
    (fire,), (back,) = found["one"]["fire"], found["two"]["fire"]
    assert (fire["dst"], fire["source"], fire["port"], fire["pod"]["ip"]) == ("10.253.2.7", "10.253.1.5", 8080, "10.253.1.5")
    assert back["port"] is None  # nobody asked for a port of the source
    assert len({arguments["id"] for host in found for phase in _evidence.PHASES for arguments in found[host][phase]}) == 1
    assert fire["flow"] != back["flow"]
    (arm,) = found["two"]["arm"]
    assert ([pod["ip"] for pod in arm["pods"]], arm["vxlan_ports"]) == (["10.253.2.7"], [4789, 8472])


def test_another_port_of_vxlan_is_listened_on_too():
    document = small.cluster_document()
    document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16", "vxlanMode": "Always"}
    document["felixconfigurations"] = [{"metadata": {"name": "default"}, "spec": {"vxlanPort": 4790}}]
    assert _evidence.probes(Cluster(document), question(), HOSTS)["one"]["arm"][0]["vxlan_ports"] == [4790, 4789, 8472]


def test_a_port_of_udp_is_sent_to_as_such():
    (fire,) = sent(question(protocol="udp"))["one"]["fire"]
    assert (fire["port"], fire["protocol"]) == (8080, "udp")
    assert probe(question(protocol="udp"), fire={"fired": [{"protocol": "udp", "port": 8080, "sent": 3, "replied": 0}]})["answers_question"] is True


def test_echoes_of_full_size_say_nothing_of_what_was_asked():
    large = [(node, {**entry, "train": "full"}) for node, entry in seen(4, 0)]
    entry = probe(question(port=None), sights=large, fire={"fired": [{"protocol": "icmp", "size": 1480, "sent": 3, "replied": 0}]})
    assert (entry["id"], entry["size"], entry["arrived"], entry["answers_question"]) == ("forward-full", 1480, False, False)
    assert entry["lost"]["hop"] == "wire:k8s01:k8s02"
    assert Evidence({"probes": [entry]}).arrived("forward") is None
    assert Evidence({"probes": [entry]}).of_full_size("forward")["size"] == 1480


def test_what_is_not_ours_is_only_sent_to():
    found = sent(question(destination="192.0.2.9"))
    assert {phase: len(found["one"][phase]) for phase in _evidence.PHASES} == {"arm": 1, "fire": 1, "collect": 1}
    assert sent(question(), {"k8s01": "one"}).keys() == {"one"}
    assert sent(question(), {"k8s02": "two"}) == {}  # an answer without its question proves nothing


def test_two_pods_of_one_node_are_listened_in_by_one_capture():
    document = small.cluster_document()
    for pod in document["pods"]:
        pod["spec"]["nodeName"] = "k8s01"
    here = Cluster(document)
    found = _evidence.probes(here, resolve(here, "shop/web-0", "shop/api-0", "tcp", 8080), {"k8s01": "one"})
    assert {phase: len(found["one"][phase]) for phase in _evidence.PHASES} == {"arm": 1, "fire": 2, "collect": 1}
    assert [pod["ip"] for pod in found["one"]["arm"][0]["pods"]] == ["10.253.1.5", "10.253.2.7"]


# ---------------------------------------------------------------------------- what came of it

NEAR, FAR = question().source.ifname, question().destination.ifname
# (node, where, link of the host that leads to the pod, way, in a tunnel) in the order of the way; the reverse is the same with in and out exchanged
WAY = [
    ("k8s01", "pod", "eth0", "out", None), ("k8s01", "host", NEAR, "in", None), ("k8s01", "host", "tunl0", "out", None),
    ("k8s01", "host", "eth0", "out", "ipip"), ("k8s02", "host", "eth0", "in", "ipip"), ("k8s02", "host", "tunl0", "in", None),
    ("k8s02", "host", FAR, "out", None), ("k8s02", "pod", "eth0", "in", None),
]  # fmt: skip


def sight(place, kind="request", count=3, **more):
    node, where, ifname, way, encapsulation = place
    entry = {"where": where, "ifname": ifname, "way": way, "encapsulation": encapsulation, "flow": 0, "train": "tcp", "kind": kind, "repeated": 0,
             "ttl": 63, "numbers": [[number, 1.0 + number] for number in range(count)], "sources": ["10.253.1.5"],
             "destinations": ["10.253.2.7"], "texts": []}  # fmt: skip
    return node, {**entry, **({"pod": 0} if where == "pod" else {}), **more}


def back(place):
    return (*place[:3], {"in": "out", "out": "in"}[place[3]], place[4])


def seen(requests=8, replies=8):
    """Sights of so many links of the way there, and of the way back."""
    answers = [sight(back(place), "reply", sources=["10.253.2.7"], destinations=["10.253.1.5"]) for place in WAY[::-1][:replies]]
    return [sight(place) for place in WAY[:requests]] + answers


def probe(asked=None, sights=None, **more):
    """One forward train; more: changes of what a phase returned, by its name and, of captures, the node's (arm_k8s02)."""
    asked = asked or question()
    sights = seen() if sights is None else sights
    parts = {"fire": {"id": ID, "fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 3, "rtt": {"min": 0.1, "max": 0.2}}]}}
    for node, link in (("k8s01", NEAR), ("k8s02", FAR)):
        captures = [{"where": "host"}, {"where": "pod", "pod": 0, "ifname": link}]
        parts[f"arm_{node}"] = {"id": ID, "armed": True, "captures": captures, "missing": []}
        parts[f"collect_{node}"] = {"id": ID, "captured": True, "seen": [entry for where, entry in sights if where == node]}
    parts = {name: {**part, **more.get(name, {})} if more.get(name, {}) is not None else {} for name, part in parts.items()}
    found = _evidence.Registered({"forward": parts["fire"]})
    for node in asked.nodes:
        found.armed[node], found.collected[node] = parts[f"arm_{node}"], parts[f"collect_{node}"]
    document = _evidence.document(CLUSTER, asked, found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    (entry,) = document["probes"]
    return entry


def kinds(hops):
    return [hop["hop"].partition(":")[0] for hop in hops]


def test_seen_at_every_hop():
    entry = probe()
    assert (entry["arrived"], entry["answers_question"], entry["sent"], entry["replied"]) == (True, True, 3, 3)
    for name in ("hops", "back"):
        assert kinds(entry[name]) == ["pod", "veth", "node", "tunnel", "wire", "tunnel", "node", "veth", "pod"]
        assert {hop["packets"] for hop in entry[name]} == {3}
        assert [hop["node"] for hop in entry[name]][:4] == [{"hops": "k8s01", "back": "k8s02"}[name]] * 4
    assert [hop.get("encapsulation") for hop in entry["hops"]] == [None, None, None, "ipip", "ipip", None, None, None, None]
    assert [hop.get("seconds") for hop in entry["hops"]][:6] == [None, 0.0, 0.0, 0.0, None, 0.0]
    assert "lost" not in entry and "rewritten" not in entry
    evidence = Evidence({"probes": [entry]})
    assert evidence.arrived("forward") is evidence.arrived("reverse") is True


# how many links of the way a packet was seen on, and the hops that it passed last and not any more
LOST = [
    (0, None, "pod:shop/web-0"), (1, "pod:shop/web-0", "veth:k8s01:{near}"), (2, "veth:k8s01:{near}", "node:k8s01"),
    (3, "node:k8s01", "tunnel:k8s01"), (4, "tunnel:k8s01", "wire:k8s01:k8s02"), (5, "wire:k8s01:k8s02", "tunnel:k8s02"),
    (6, "tunnel:k8s02", "node:k8s02"), (7, "veth:k8s02:{far}", "pod:shop/api-0"),
]  # fmt: skip


def test_what_leaves_the_node_outside_of_its_tunnel_has_not_passed_it():
    """Without the tunnel's device packets follow the default route, and vanish on the wire."""
    node, where, ifname, way, _encapsulation = WAY[3]
    entry = probe(sights=[*seen(2, 0), sight((node, where, ifname, way, None))])
    assert entry["lost"] == {"what": "requests", "after": f"veth:k8s01:{NEAR}", "hop": "node:k8s01"}


@pytest.mark.parametrize(("links", "after", "hop"), LOST)
def test_requests_that_are_lost(links, after, hop):
    names = {"near": NEAR, "far": FAR}
    entry = probe(sights=seen(links, 0), fire={"fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0}]})
    assert entry["arrived"] is False and "reason" not in entry
    assert entry["lost"] == {"what": "requests", "after": after and after.format(**names), "hop": hop.format(**names)}
    passed = Evidence({"probes": [entry]}).passed("forward")
    reached = [one["hop"] for one in entry["hops"]].index(hop.format(**names))
    assert [passed[one["hop"]] for one in entry["hops"]] == [True] * reached + [False] * (9 - reached)


@pytest.mark.parametrize(("links", "hop"), [(1, "veth:k8s02:{far}"), (2, "node:k8s02"), (4, "wire:k8s02:k8s01"), (7, "pod:shop/web-0")])
def test_answers_that_are_lost(links, hop):
    entry = probe(sights=seen(8, links), fire={"fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0}]})
    assert entry["arrived"] is True
    assert (entry["lost"]["what"], entry["lost"]["hop"]) == ("replies", hop.format(far=FAR))
    other_way = {**small.probe("reverse", True, "icmp"), "direction": "reverse"}
    assert Evidence({"probes": [entry, other_way]}).arrived("reverse") is False  # what it sends by itself arrives, its answers do not


def test_what_is_addressed_to_another_machine_has_not_come_in():
    """But on the port of a bridge, where that is the rule."""
    there = [(node, {**entry, "way": "by"}) if entry["way"] == "in" and entry["where"] == "host" else (node, entry) for node, entry in seen(8, 0)]
    assert [hop["packets"] for hop in probe(sights=there)["hops"]] == [3, 3, 3, 3, 0, 0, 3, 3, 3]


def test_what_does_not_answer_has_lost_nothing():
    entry = probe(sights=seen(8, 0), fire={"fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0}]})
    assert entry["arrived"] is True and "lost" not in entry


def test_other_trains_links_and_ways_are_not_counted():
    foreign = [(node, {**entry, **change}) for change in ({"flow": 1}, {"train": "icmp"}, {"way": "x"}, {"ifname": "cali999"}) for node, entry in seen(8, 0)]
    entry = probe(sights=[one for one in foreign if one[1]["where"] == "host"])
    assert entry["arrived"] is False and {hop["packets"] for hop in entry["hops"]} == {0}


def test_addresses_that_were_rewritten_errors_and_resets():
    sights = [(node, {**entry, "sources": ["10.2.7.201"]}) if position >= 3 else (node, entry) for position, (node, entry) in enumerate(seen(8, 0))]
    sights.append(sight(back(WAY[1]), "error", sources=["10.2.7.201"], texts=["administratively prohibited"]))
    sights += [sight(back(place), "reset") for place in WAY[:6][::-1]]
    entry = probe(sights=sights, fire={"fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0, "refused": 3}]})
    assert entry["rewritten"] == [{"hop": "tunnel:k8s01", "node": "k8s01", "what": "source", "before": "10.253.1.5", "after": "10.2.7.201"}]
    (error,) = entry["errors"]
    assert (error["text"], error["source"], error["node"]) == ("administratively prohibited", "10.2.7.201", "k8s01")
    assert entry["reset_at"] == "node:k8s02"  # the pod itself did not send it


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fire": {"unreachable": True, "msg": "timed out"}}, "k8s01 is unreachable (timed out)"),
        ({"fire": {"fired": [], "reason": "raw sockets are refused here"}}, "raw sockets are refused here"),
        ({"arm_k8s02": {"failed": True, "msg": "no root"}}, "k8s02 could not be read (no root)"),
        ({"arm_k8s02": {"armed": False, "reason": "raw sockets are refused here"}}, "raw sockets are refused here"),
        ({"arm_k8s02": {"missing": [{"pod": 0, "reason": "there is no sandbox"}]}}, "there is no sandbox"),
        ({"arm_k8s02": {"id": "1" * 32}}, "k8s02 was not watched at the same time (serial, or hosts of different batches)"),
        ({"arm_k8s02": None}, "k8s02 was not reached"),
        ({"collect_k8s02": {"captured": False, "reason": "not armed"}}, "not armed"),
        ({"collect_k8s02": {"captured": False}}, "the capture on k8s02 told nothing"),
        ({"fire": {"fired": [{"protocol": "tcp", "sent": 0, "error": "No route to host"}]}}, "No route to host"),
    ],
)
def test_what_could_not_be_watched_is_never_lost_nor_arrived(change, reason):
    entry = probe(**change)
    assert entry["arrived"] is None
    assert entry["reason"] == reason


def test_a_hop_that_could_not_be_watched_is_told():
    entry = probe(sights=seen(3, 0), arm_k8s02={"armed": False, "reason": "raw sockets are refused here"})
    assert [hop["packets"] for hop in entry["hops"]] == [3, 3, 3, 0, None, None, None, None, None]
    assert entry["hops"][-1]["reason"] == "raw sockets are refused here"
    assert Evidence({"probes": [entry]}).passed("forward") == {hop["hop"]: bool(hop["packets"]) for hop in entry["hops"][:4]}


def test_where_nobody_may_look_the_counters_are_told():
    armed = {"armed": False, "reason": "packet sockets are refused here", "counters": {FAR: {"rx": 10, "tx": 20}, "cali99": {"rx": 1, "tx": "x"}}}
    entry = probe(arm_k8s02=armed, collect_k8s02={"captured": False, "reason": "not armed", "counters": {FAR: {"rx": 16, "tx": 29}, "cali99": {}}})
    assert (entry["arrived"], entry["reason"]) == (None, f"packet sockets are refused here; {FAR} counted 9 packets to its pod and 6 from it")


def test_outside_nobody_listens():
    entry = probe(question(destination="192.0.2.9"))
    assert (entry["arrived"], entry["reason"]) == (None, "192.0.2.9 is outside of the cluster, nobody listens there")


def test_an_echo_does_not_answer_a_question_for_a_port():
    train = {"fired": [{"protocol": "icmp", "sent": 3, "replied": 3}]}
    assert probe(fire=train)["answers_question"] is False
    assert probe(question(port=None), fire=train)["answers_question"] is True
    assert probe(question(protocol="icmp", port=None), fire=train)["answers_question"] is True


def registered(direction, **result):
    return {"results": [{"diagnose_probe_item": {"direction": direction}, **result}]}


def test_gathered_from_what_the_hosts_registered():
    inside = [entry for node, entry in seen() if node == "k8s02" and entry["where"] == "pod"]
    captured = registered("both", id=ID, captured=True, seen=inside)
    one = {"diagnose_fired": registered("forward", id=ID, fired=[{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 3}])}
    two = {
        "diagnose_armed": registered("both", id=ID, armed=True, captures=[], missing=[]),
        "diagnose_seen": captured,
        "diagnose_fired": {"results": [{"skipped": True, "diagnose_probe_item": {"direction": "reverse"}}, "junk"]},
    }
    document = _evidence.gather({"hostvars": support.HostVars(one=one, two=two)}, CLUSTER, question(), HOSTS)
    support.valid("evidence", document)
    assert [(entry["direction"], entry["arrived"]) for entry in document["probes"]] == [("forward", True)]
    assert _evidence.gather({"hostvars": support.HostVars(one={}, two={"diagnose_armed": "skipped"})}, CLUSTER, question(), HOSTS) is None


junk = st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(st.dictionaries(st.sampled_from(sorted(seen()[7][1])), junk))
@example({"ttl": True, "repeated": True, "encapsulation": [], "ifname": [], "numbers": [[True, True], [1], "x"]})
def test_property_a_node_may_tell_anything(told):
    entry = dict(seen()[7][1])
    entry.update(told)
    probe(sights=[*seen(7, 8), ("k8s02", entry)])


# ---------------------------------------------------------------------------- ARP, and who answers for others


def gathered(sights, fired=None, hops=()):
    """The whole document of a forward train."""
    found = _evidence.Registered({"forward": {"id": ID, "fired": [fired or {"protocol": "tcp", "port": 8080, "sent": 3, "replied": 3}]}})
    for node, link in (("k8s01", NEAR), ("k8s02", FAR)):
        captures = [{"where": "host"}, {"where": "pod", "pod": 0, "ifname": link}]
        found.armed[node] = {"id": ID, "armed": True, "captures": captures, "missing": [], "next_hops": list(hops)}
        found.collected[node] = {"id": ID, "captured": True, "seen": [entry for where, entry in sights if where == node]}
    document = _evidence.document(CLUSTER, question(), found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    return document


def arp(place, kind, number):
    return sight(place, kind, train="arp", numbers=[[number, 1.0]])


def test_questions_that_nobody_answers_are_told():
    hops = _evidence.probes(CLUSTER, question(), HOSTS)["two"]["arm"][0]["next_hops"]
    assert hops[:2] == ["169.254.1.1", "10.253.2.7"] and len(hops) == 3
    to_pod, wire, foreign = ("k8s02", "host", FAR, "out", None), ("k8s02", "host", "eth0", "out", None), ("k8s02", "host", "califfffffffff", "out", None)
    asked = [arp(to_pod, "request", 1), arp(wire, "request", 2), arp(back(wire), "reply", 2), arp(foreign, "request", 0), arp(back(to_pod), "request", 0)]
    assert gathered([*seen(), *asked], hops=hops)["arp"] == [{"node": "k8s02", "device": FAR, "address": "10.253.2.7"}]
    assert "arp" not in gathered(seen(), hops=hops)
    assert "arp" not in gathered([*seen(), *asked])  # of what address they are is not known


def test_of_ipv6_too_and_of_the_router_between_the_nodes():
    """What a node says that it asks for counts: it alone knows its routers."""
    wire = ("k8s02", "host", "eth0", "out", None)
    asked = sight(wire, "request", train="ndp", numbers=[[1, 1.0]])
    assert gathered([*seen(), asked], hops=["fd00::7", "fe80::1"])["arp"] == [{"node": "k8s02", "device": "eth0", "address": "fe80::1"}]


def test_a_sidecar_that_answers_for_others_is_no_arrival():
    """A mesh takes what its pod sends, and answers: all connects are answered, and none was ever seen at the far end."""
    document = gathered([])
    (entry,) = document["probes"]
    assert (entry["replied"], entry["arrived"]) == (3, False)
    assert Evidence(document).arrived("forward") is False


# ---------------------------------------------------------------------------- the further endpoints of a Service

ENDS = (("10.253.2.7", "k8s02"), ("10.253.2.8", "k8s02"))
SECOND = "to 10.253.2.8:8080 tcp: "


def with_another_pod(document):
    document["pods"].append(small.pod("shop/api-1", "k8s02", "10.253.2.8"))


def of_service():
    """A Service with two endpoints on the other node, and the question for it."""
    found = small.documents(cluster=small.together(small_services.service(ends=ENDS), with_another_pod))
    return found, resolve_service(found.cluster, "shop/web-0", "svc/shop/api", None, None)


def through_service(*places, replied=0, **cell):
    """The document of a run in which the packets to the second endpoint were seen at these places."""
    found, asked = of_service()
    second = asked.ways[1].destination
    way = [*WAY[:6], ("k8s02", "host", second.ifname, "out", None), ("k8s02", "pod", "eth0", "in", None)]
    ((flow, name, _way),) = _evidence.further_ways(asked)
    fired = {"id": ID, "fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 3}]}
    fired["cells"] = [{"name": name, "sent": 3, "replied": replied, "refused": 0, **cell}]
    registered = _evidence.Registered({"forward": fired})
    sights = [*seen(), *(sight(way[place], flow=flow, **({"pod": 1} if place == 7 else {})) for place in places)]
    for node, links in (("k8s01", [NEAR]), ("k8s02", [FAR, second.ifname])):
        captures = [{"where": "host"}, *({"where": "pod", "pod": position, "ifname": link} for position, link in enumerate(links))]
        registered.armed[node] = {"id": ID, "armed": True, "captures": captures, "missing": []}
        registered.collected[node] = {"id": ID, "captured": True, "seen": [entry for where, entry in sights if where == node]}
    document = _evidence.document(found.cluster, asked, registered, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    return Diagnosis(asked, Documents(found.cluster, found.nodes, Evidence(document))), document


def lost_of(diagnosis):
    return [(finding.check, finding.fact.object) for finding in diagnosis.findings if finding.check.startswith("probe.")]


def test_each_endpoint_of_a_service_is_sent_to_and_listened_in():
    found, asked = of_service()
    told = _evidence.probes(found.cluster, asked, HOSTS)
    assert [pod["ip"] for pod in told["two"]["arm"][0]["pods"]] == ["10.253.2.7", "10.253.2.8"] == [pod["ip"] for pod in told["two"]["collect"][0]["pods"]]
    (cell,) = told["one"]["fire"][0]["cells"]
    assert (cell["dst"], cell["port"], cell["protocol"], cell["inside"]) == ("10.253.2.8", 8080, "tcp", True)
    assert told["two"]["fire"][0]["cells"] == []
    flows = [flow for flow, _name, _way in _evidence.further_ways(asked)]
    assert set(flows).isdisjoint([*_evidence.FLOWS.values(), *_grid.FLOWS.values()]) and max(flows) + MOST_WAYS < FLOWS


def test_the_hop_at_which_packets_to_a_bad_endpoint_vanish_is_named():
    diagnosis, document = through_service(0, 1, 2, 3, 4, 5, error="no answer within 2 s")
    (way,) = document["ways"]
    assert (way["arrived"], way["lost"]) == (False, {"what": "requests", "after": "tunnel:k8s02", "hop": "node:k8s02"})
    assert [probe["arrived"] for probe in document["probes"]] == [True]
    assert diagnosis.outcome == "broken"
    assert ("probe.lost", "forward 10.253.2.8:8080") in lost_of(diagnosis)
    report = diagnosis.report()
    assert [pair["outcome"] for pair in report["pairs"]] == ["unknown", "broken"]
    assert next(hop["id"] for hop in report["path"]["forward"] if hop["seen"] is False) == "node:k8s02"
    assert [text for text in _seen_text.texts(report) if text.startswith(SECOND)] == [
        f"{SECOND}left eth0 of web-0, were last seen on tunl0 of k8s02, never on {of_service()[1].ways[1].destination.ifname} of k8s02"
    ]


def test_endpoints_that_answer_are_told_together():
    diagnosis, document = through_service(*range(8), replied=3)
    assert [way["arrived"] for way in document["ways"]] == [True]
    assert "to 1 more endpoint: arrived, all answered" in _seen_text.texts(diagnosis.report())
    # by what was read it has no route and no link
    assert lost_of(diagnosis) == [("probe.contradicts", "forward 10.253.2.8:8080")]


def test_an_endpoint_to_which_nothing_could_be_sent_is_not_lost():
    diagnosis, document = through_service(sent=0, error="Network is unreachable")
    assert [(way["arrived"], way["reason"]) for way in document["ways"]] == [(None, "Network is unreachable")]
    assert lost_of(diagnosis) == []


# ---------------------------------------------------------------------------- a trace through the rules

RULE = {"flow": 0, "protocol": "tcp", "kind": "request", "family": "ip", "table": "filter", "chain": "FORWARD", "handle": 7, "rule": "tcp dport 8080 drop",
        "verdict": "drop", "packets": 3}  # fmt: skip


def traced(trace):
    found = _evidence.Registered({"forward": {"id": ID, "fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0}]}})
    found.armed["k8s02"] = {"id": ID, "armed": True, "captures": [{"where": "host"}], "missing": []}
    found.collected["k8s02"] = {"id": ID, "captured": True, "seen": [], "trace": trace}
    document = _evidence.document(CLUSTER, question(), found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    return document


def test_nothing_is_traced_without_being_asked():
    assert sent(question())["one"]["arm"][0]["trace"] == []
    asked = _evidence.probes(CLUSTER, question(), HOSTS, trace=True)["two"]["arm"][0]["trace"]
    assert [(one["src"], one["dst"], one["protocol"], one["port"], one["flow"]) for one in asked] == [
        ("10.253.1.5", "10.253.2.7", "icmp", None, 0), ("10.253.2.7", "10.253.1.5", "icmp", None, 1), ("10.253.1.5", "10.253.2.7", "tcp", 8080, 0)
    ]  # fmt: skip


def test_the_rule_that_dropped_them_is_told():
    (entry,) = traced({"rules": [{**RULE, "verdict": "continue", "handle": 3}, RULE]})["trace"]
    assert (entry["node"], [rule["direction"] for rule in entry["rules"]]) == ("k8s02", ["forward", "forward"])
    assert _seen_text.traced({"trace": [entry]}) == ["k8s02: ip filter FORWARD: tcp dport 8080 drop dropped 3 tcp requests (forward)"]


@pytest.mark.parametrize(
    ("trace", "text"),
    [
        ({"rules": [{**RULE, "verdict": "accept"}]}, "they met 1 rules and policies, none dropped them"),
        ({"rules": [], "reason": "no rule is made in check mode"}, "no rule is made in check mode"),
        ({"rules": []}, "they met no rule"),
        ({"rules": [{**RULE, "handle": None}]}, "the policy of ip filter FORWARD dropped 3 tcp requests (forward)"),
    ],
)
def test_what_a_trace_says(trace, text):
    assert _seen_text.traced({"trace": traced(trace)["trace"]}) == [f"k8s02: {text}"]


@given(st.dictionaries(st.sampled_from(sorted(RULE)), junk), junk)
def test_property_a_trace_may_tell_anything(told, reason):
    document = traced({"rules": [{**RULE, **told}, told], "reason": reason})
    _seen_text.traced({"trace": document.get("trace", [])})
