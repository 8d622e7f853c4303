# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a node or the API says, the screen is text of 80 columns in which nothing moves the cursor, and nothing is ever a template."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _plan
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _page, _plan_text, _text
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOSTILE = ["\x1b[2J\x1b[31mHEALTHY", "a\r\nVERDICT healthy", "{{ 7*7 }}", "{% for x in y %}", "right\u202eleft", "\x00\x9b", "x" * 300]
JUNK = st.one_of(st.none(), st.integers(-3, 300), st.sampled_from(HOSTILE), st.just([]), st.just({}), st.just({"error": HOSTILE[0]}), st.just([HOSTILE[2]]))


def broken():
    """Everything of one question, with several faults: stray address, dead session, missing route, cleared sysctl, wrong neighbour, lost probe."""
    cluster = small.cluster_document()
    cluster["nodes"][1]["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = "192.188.1.1/24"
    cluster["deployments"] = [{"metadata": {"name": "calico-kube-controllers"}, "status": {"replicas": 1}}]
    one, two = small.node_document("k8s01"), small.node_document("k8s02")
    two["links"].append(small.link(20, "br0"))
    two["addresses"].append({"ifname": "br0", "family": "inet", "local": "192.188.1.1", "prefixlen": 24})
    two["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"
    two["routes"][1] = small.route("10.253.1.0/26", "eth0", gateway="10.2.7.9", protocol="static")
    two["sysctls"]["net/ipv4/ip_forward"] = "0"
    one["bird"]["ipv4"]["protocols"][0]["bgp"].update(state="Active", neighbor_address="192.188.1.1")
    one["routes"] = one["routes"][:1] + one["routes"][2:]
    one["neighbours"] = [{"dst": "10.253.1.5", "dev": one["links"][2]["ifname"], "lladdr": "00:00:5e:00:53:01", "state": ["STALE"]}]
    one["sandboxes"][0]["network"]["routes"] = []
    one["reachability"] = [{"dst": "10.2.7.202", "port": 179, "outcome": "timeout"}]
    return {"cluster": cluster, "k8s01": one, "k8s02": two, "evidence": {"probes": [small.probe("forward", False), small.probe("reverse", None, reason="no")]}}


QUESTION = small.diagnose().question


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def put(value, path, junk):
    try:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = copy.deepcopy(junk)
    except (KeyError, IndexError, TypeError):
        pass


def judge(found):
    nodes = {name: NodeFacts(name, found[name] if isinstance(found[name], dict) else None) for name in ("k8s01", "k8s02")}
    diagnosis = Diagnosis(QUESTION, Documents(Cluster(found["cluster"]), nodes, Evidence(found["evidence"])))
    return diagnosis.report([{"host": "one", "node": "k8s01", "sections": [], "errors": [], "seconds": None}])


class Display:
    def __init__(self):
        self.lines = []

    def display(self, text):
        self.lines.append(text)


def shown(report, cluster):
    """All lines of the report and of its plan, as they reach a terminal."""
    plan = _plan.plan(report, Cluster(cluster), {"k8s01": "one", "k8s02": "two"})
    display, result = Display(), {}
    show(result, [*_text.screen(report, "reports/x.json"), *_plan_text.screen(plan)], display)
    return result["podnet_screen"]


def test_the_documents_hold_many_faults():
    report = judge(broken())
    support.valid("report", report)
    assert len(report["verdict"]["causes"]) >= 5
    assert len({remedy["id"] for cause in report["verdict"]["causes"] for remedy in cause["remedies"]}) >= 5


PLACES = [p for p in places(broken()) if len(p) > 1]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4))
def test_property_mutated_documents_give_a_report_a_plan_and_a_screen(changes):
    found = broken()
    for path, junk in changes:
        put(found, path, junk)
    report = judge(found)
    json.dumps(report)
    lines = [*shown(report, found["cluster"]), *_page.html(report).splitlines()]
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char == "\u202e" for line in lines for char in line)


TEXTS = [
    p for p in PLACES
    if p[-1] in ("name", "info", "proto", "state", "ifname", "dev", "lladdr", "protocol", "operstate", "error", "reason", "since", "type", "actual")
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_reach_the_screen_only_escaped(hostile):
    found = broken()
    for daemon in (found["k8s01"], found["k8s02"]):
        daemon["bird"]["ipv4"]["protocols"][0].update(info=hostile, name=hostile, since=hostile)
        daemon["routes"][1]["protocol"] = hostile
    found["k8s02"]["addresses"][-1]["ifname"] = found["k8s02"]["links"][-1]["ifname"] = hostile
    found["k8s01"]["neighbours"][0]["lladdr"] = hostile
    found["evidence"]["probes"][1]["reason"] = hostile
    report = judge(found)
    assert hostile in json.dumps(report, ensure_ascii=False) or json.dumps(hostile)[1:-1] in json.dumps(report)
    text = "\n".join(shown(report, found["cluster"]))
    assert "\x1b" not in text and "\r" not in text and "\u202e" not in text and "\x9b" not in text
    assert not any(line.startswith("VERDICT healthy") for line in text.splitlines())
    if hostile == "{{ 7*7 }}":
        assert "{{ 7*7 }}" in text and "49" not in text.replace("7*7", "")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TEXTS), st.text(max_size=30))
def test_property_any_text_in_a_name_stays_one_line(path, text):
    found = broken()
    put(found, path, text)
    lines = shown(judge(found), found["cluster"])
    assert all(line.isprintable() or "\n" not in line for line in lines)
    assert not any("\x1b" in line or "\n" in line or "\r" in line for line in lines)
