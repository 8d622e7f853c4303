# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOSTS = {"k8s01": "one", "k8s02": "two"}
ID = "0" * 32


def question(source="shop/web-0", destination="shop/api-0", protocol="tcp", port=8080):
    return resolve(small.documents().cluster, source, destination, protocol, port)


# ---------------------------------------------------------------------------- what is sent


def test_each_end_listens_for_the_other():
    found = _evidence.probes(question(), HOSTS)
    assert {host: {phase: [a["direction"] for a in found[host][phase]] for phase in _evidence.PHASES} for host in found} == {
        "one": {"arm": ["reverse"], "fire": ["forward"], "collect": ["reverse"]},
        "two": {"arm": ["forward"], "fire": ["reverse"], "collect": ["forward"]},
    }
    (fire,) = found["one"]["fire"]
    assert (fire["dst"], fire["source"], fire["port"], fire["pod"]["ip"]) == ("10.253.2.7", "10.253.1.5", 8080, "10.253.1.5")
    assert found["two"]["fire"][0]["port"] is None  # nobody asked for a port of the source
    assert fire["id"] == found["two"]["arm"][0]["id"] == found["two"]["collect"][0]["id"] != found["two"]["fire"][0]["id"]


def test_udp_is_not_connected_to():
    assert _evidence.probes(question(protocol="udp"), HOSTS)["one"]["fire"][0]["port"] is None


def test_a_far_end_that_is_not_ours_is_only_sent_to():
    found = _evidence.probes(question(destination="192.0.2.9"), HOSTS)
    assert {phase: len(found["one"][phase]) for phase in _evidence.PHASES} == {"arm": 0, "fire": 1, "collect": 0}
    assert _evidence.probes(question(), {"k8s01": "one"}).keys() == {"one"}
    assert _evidence.probes(question(), {"k8s02": "two"}) == {}  # an answer without its question proves nothing


# ---------------------------------------------------------------------------- what came of it


def answers(requests=3, **more):
    seen = [{"where": "pod", "ifname": None, "protocol": "tcp", "requests": requests, "replies": 0}]
    found = {
        "fire": {"id": ID, "fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": requests, "rtt": {"min": 0.1, "max": 0.2}}]},
        "arm": {"id": ID, "armed": True},
        "collect": {"id": ID, "captured": True, "seen": seen},
    }
    for phase, change in more.items():
        found[phase] = {**found[phase], **change} if change is not None else {}
    return {("forward", phase): result for phase, result in found.items() if result}


def probe(asked=None, requests=3, **more):
    document = _evidence.document(asked or question(), answers(requests, **more), HOSTS, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    (entry,) = document["probes"]
    return entry


def test_seen_at_the_far_end():
    entry = probe()
    assert (entry["arrived"], entry["answers_question"], entry["sent"], entry["replied"]) == (True, True, 3, 3)
    assert entry["seen"][0]["host"] == "two"
    assert Evidence({"probes": [entry]}).arrived("forward") is True


def test_lost():
    entry = probe(requests=0)
    assert entry["arrived"] is False
    assert "reason" not in entry


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fire": {"unreachable": True, "msg": "timed out"}}, "k8s01 is unreachable (timed out)"),
        ({"fire": {"fired": [], "reason": "raw sockets are refused here"}, "arm": {}}, "raw sockets are refused here"),
        ({"arm": {"failed": True, "msg": "no root"}}, "k8s02 could not be read (no root)"),
        ({"arm": {"armed": False, "reason": "there is no sandbox"}}, "there is no sandbox"),
        ({"arm": {"id": "1" * 32}}, "both ends were not asked at the same time (serial, or hosts of different batches)"),
        ({"arm": None}, "the node of shop/api-0 was not reached"),
        ({"collect": {"captured": False, "reason": "not armed"}}, "not armed"),
        ({"collect": {"captured": False}}, "the capture at shop/api-0 told nothing"),
        ({"fire": {"fired": [{"protocol": "tcp", "sent": 0, "error": "No route to host"}]}}, "No route to host"),
    ],
)
def test_what_could_not_be_watched_is_never_lost_nor_arrived(change, reason):
    entry = probe(**change)
    assert entry["arrived"] is None
    assert entry["reason"] == reason


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
    found = answers()
    one = {"diagnose_fired": registered("forward", **found["forward", "fire"])}
    two = {
        "diagnose_armed": registered("forward", **found["forward", "arm"]),
        "diagnose_seen": registered("forward", **found["forward", "collect"]),
        "diagnose_fired": {"results": [{"skipped": True, "diagnose_probe_item": {"direction": "reverse"}}, "junk"]},
    }
    document = _evidence.gather({"hostvars": support.HostVars(one=one, two=two)}, question(), HOSTS)
    support.valid("evidence", document)
    assert [(entry["direction"], entry["arrived"]) for entry in document["probes"]] == [("forward", True)]
    assert _evidence.gather({"hostvars": support.HostVars(one={}, two={"diagnose_armed": "skipped"})}, question(), HOSTS) is None
