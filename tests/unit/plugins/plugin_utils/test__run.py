# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import Wanted
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.tests.unit import recorded, small
from ansible_collections.podnet.doctor.tests.unit.plugins.support import HostVars

HOSTS = {"k8s01": "one", "k8s02": "two"}


# ------------------------------------------------------------------------------ the play around it


STRATEGIES = {"linear": False, "ansible.builtin.linear": False, "debug": False, "": False, "free": True, "ansible.builtin.host_pinned": True}


@pytest.mark.parametrize(("strategy", "refused"), STRATEGIES.items())
def test_hosts_must_move_together(strategy, refused):
    task = SimpleNamespace(_parent=SimpleNamespace(_parent=SimpleNamespace(_play=SimpleNamespace(strategy=strategy))))
    text = _run.refuse_free_strategy(task)
    assert (text is not None and strategy in text) is refused


def test_a_task_outside_of_a_play():
    assert _run.refuse_free_strategy(SimpleNamespace()) is None


@pytest.mark.parametrize(
    ("batch", "everyone", "alive", "follow"),
    [
        (["a", "b"], ["a", "b"], ["a", "b"], False),
        (["a"], ["a", "b"], ["a", "b"], True),
        (["b"], ["a", "b"], ["a", "b"], False),
        (["a"], ["a", "b"], ["a"], False),  # the others are dead: nobody comes after this batch
        ([], ["a"], ["a"], False),
        (["x"], ["a"], ["a"], False),
    ],
)
def test_batches_that_follow(batch, everyone, alive, follow):
    assert _run.batches_follow({"ansible_play_batch": batch, "ansible_play_hosts_all": everyone, "ansible_play_hosts": alive}) is follow


def test_the_inventory_is_read_raw():
    variables = {"hostvars": HostVars(one={"ansible_host": "10.0.0.1", "secret": "x"}), "groups": {"all": ["one"]}}
    assert list(_run.inventory(variables)) == [("one", {"podnet_node_name": None, "ansible_host": "10.0.0.1"})]
    assert list(_run.inventory({"hostvars": HostVars(), "groups": {}})) == []


@pytest.mark.parametrize(("pattern", "hosts"), [("all", "abc"), ("west", "bc"), (["west"], "bc"), ("a,west", "abc"), (["east", "west"], "abc"), ([], "abc")])
def test_a_play_for_a_group_knows_the_hosts_of_that_group(pattern, hosts):
    task = SimpleNamespace(_parent=SimpleNamespace(_play=SimpleNamespace(hosts=pattern)))
    groups = {"all": ["a", "b", "c"], "east": ["a"], "west": ["b", "c"]}
    variables = {"hostvars": HostVars(a={}, b={}, c={}), "groups": groups}
    assert [host for host, _known in _run.of_play(variables, task)] == list(hosts)


# ------------------------------------------------------------------------------ the question


@pytest.fixture
def api(monkeypatch):
    """What the API is asked for, and an answer."""
    calls = []

    def read(options, sections, narrow=None, timeout=None):
        calls.append((options, narrow, timeout))
        return calls[0][0].get("document") or small.cluster_document()

    monkeypatch.setattr(_run._kube, "read_cluster", read)
    return calls


def asked(**arguments):
    question = _run.ask_api({"source": "shop/web-0", "destination": "shop/api-0", **arguments})[1]
    return question.source.label, question.destination.label, question.protocol, question.port


def test_a_question(api):
    assert asked(timeout=7) == ("shop/web-0", "shop/api-0", "icmp", None)
    assert api == [({}, {"endpoints": ["shop/web-0", "shop/api-0"], "node_ports": []}, 7.0)]


@pytest.mark.parametrize(
    ("arguments", "service"),
    [
        ({"destination": "shop/api-0:8080"}, ("tcp", 8080)),
        ({"destination": "10.253.2.7:53/udp"}, ("udp", 53)),
        ({"destination": "shop/api-0:53", "protocol": "udp"}, ("udp", 53)),
        ({"destination": "shop/api-0:8080", "port": 8080}, ("tcp", 8080)),
        ({"destination": "shop/api-0:8080", "port": "8080"}, ("tcp", 8080)),
        ({"port": "8080"}, ("tcp", 8080)),
    ],
)
def test_the_port_may_stand_at_the_destination(api, arguments, service):
    assert asked(**arguments)[2:] == service


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"destination": "shop/api-0:8080", "port": 80}, "the destination says port 8080, but port says 80"),
        ({"source": " "}, "source is missing"),
        ({"destination": ""}, "destination is missing"),
        ({"port": "http"}, "is not a number from 1 to 65535"),
        ({"destination": "shop/api-0:99999"}, "is not a number from 1 to 65535"),
    ],
)
def test_a_question_that_is_none_is_said_before_the_api_is_asked(api, arguments, sentence):
    with pytest.raises(BadQuestion, match=sentence):
        asked(**arguments)
    assert api == []


def test_an_api_that_is_down(monkeypatch):
    document = {"reachable": False, "server": "https://10.0.0.1", "nodes": {"error": "Connection refused"}}
    monkeypatch.setattr(_run._kube, "read_cluster", lambda *_a, **_o: document)
    with pytest.raises(_run.ApiSilent) as silent:
        asked(destination="shop/api-0:8080")
    assert silent.value.given == {"source": "shop/web-0", "destination": "shop/api-0", "protocol": None, "port": "8080"}
    with pytest.raises(_run.ApiSilent):
        _run.ask_whole({})


@pytest.fixture
def earlier(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**small.diagnose().report()}))
    return str(path)


def test_what_an_earlier_report_asked(api, earlier):
    nothing = {"source": "", "destination": "", "protocol": None, "port": None}
    assert asked(**nothing, report=earlier) == ("shop/web-0", "shop/api-0", "tcp", 8080)
    assert asked(**{**nothing, "destination": "node/k8s02", "port": "9"}, report=earlier) == ("shop/web-0", "node/k8s02", "tcp", 9)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is no JSON document"),
        ("[" * 100_000, "is no JSON document"),
        ("[]", "is no podnet.doctor/report/1 document \\(it says 'list'\\)"),
        ('{"schema": "podnet.doctor/plan/1"}', "it says 'podnet.doctor/plan/1'"),
        ('{"schema": "podnet.doctor/report/1", "question": 7}', "source is missing"),
    ],
)
def test_a_report_that_is_none(api, tmp_path, content, sentence):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadQuestion, match=sentence):
        _run.ask_api({"report": str(path)})


# ------------------------------------------------------------------------------ whom, and what came back


def test_what_each_host_is_asked():
    wave = [Wanted("k8s01", ("links",), "x", [{"dst": "a"}], [], [{"dst": "b"}]), Wanted("k8s09", ("links",), "x")]
    assert _run.ask(wave, HOSTS) == {
        "one": {"node": "k8s01", "gather_subset": ["links", "reachability"], "flows": [{"dst": "a"}], "pods": [], "reachability": [{"dst": "b"}], "dns": []}
    }


def test_a_later_answer_counts_more_unless_it_is_none():
    first, later = small.node_document("k8s01"), {**small.node_document("k8s01"), "seconds": 9}
    hosts = {"k8s01": "one"}

    def found(**registered):
        return _run.answers({"hostvars": HostVars(one=registered)}, hosts)

    assert found(diagnose_node={"node": first}, diagnose_node_again={"packed": pack(later)})["k8s01"].document["seconds"] == 9
    assert found(diagnose_node={"node": first}, diagnose_node_again={"unreachable": True})["k8s01"].document == first
    assert found(diagnose_node={"node": first}, diagnose_node_again={"skipped": True})["k8s01"].document == first
    assert found(diagnose_node={"unreachable": True, "msg": "gone"})["k8s01"].reason == "is unreachable (gone)"
    assert found() == {}


def diagnosis(tmp_path, hosts, nodes=None):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(small.cluster_document()))
    question = small.diagnose().question
    asked_for = {"cluster_file": str(path), "question": question.to_json(), "nodes": HOSTS if nodes is None else nodes}
    return _run.diagnose(asked_for, {"hostvars": HostVars(**{"one": {}, "two": {}, **hosts})})


def test_from_what_the_hosts_registered_to_a_diagnosis(tmp_path):
    hosts = {host: {"diagnose_node": {"packed": pack(small.node_document(node))}} for node, host in HOSTS.items()}
    found, collected, _hosts = diagnosis(tmp_path, hosts)
    assert found.report()["checks"] == small.diagnose().report()["checks"]
    assert [(entry["host"], entry["node"], bool(entry["sections"])) for entry in collected] == [("one", "k8s01", True), ("two", "k8s02", True)]


def test_who_did_not_answer_is_in_the_report(tmp_path):
    found, collected, _hosts = diagnosis(tmp_path, {"two": {"diagnose_node": {"unreachable": True, "msg": "timed out"}}})
    assert [entry["errors"][0]["error"] for entry in collected] == [
        "k8s01 was not asked by this run (--limit, serial, or a stopped play)",
        "k8s02 is unreachable (timed out)",
    ]
    assert found.outcome == "unknown"
    assert not found.findings


def test_who_is_not_in_the_inventory(tmp_path):
    collected = diagnosis(tmp_path, {}, {"k8s02": "two"})[1]
    assert collected[0]["errors"][0]["error"].startswith("k8s01 is not in the inventory: add a host named k8s01")


def test_a_witness_that_answered(tmp_path):
    hosts = {"three": {"diagnose_node_again": {"node": small.node_document("k8s02")}}}
    found, collected, _hosts = diagnosis(tmp_path, hosts, {**HOSTS, "k8s03": "three"})
    assert found.witnesses == ("k8s03",)
    assert [entry["node"] for entry in collected] == ["k8s01", "k8s02", "k8s03"]


# ------------------------------------------------------------------------------ the API is silent, and audits


def silent(tmp_path, given, hosts):
    path = tmp_path / "cluster.json"
    error = {"error": "Connection refused"}
    path.write_text(json.dumps({"schema": "podnet.doctor/cluster/1", "reachable": False, **error, **dict.fromkeys(("nodes", "pods"), error)}))
    asked_for = {"cluster_file": str(path), "question": None, "audit": given is None, "given": given, "nodes": {"one": "one", "two": "two"},
                 "api": {"server": "https://10.0.0.1", "error": "Connection refused"}}  # fmt: skip
    return _run.diagnose(asked_for, {"hostvars": HostVars(**hosts), "groups": {"all": ["one", "two"]}})


@pytest.fixture
def told():
    """Both hosts answered, and Calico's own file names the node."""
    found = recorded.with_cni_results(small.documents())
    for node, facts in found.nodes.items():
        facts.document["calico"]["nodename"] = node
        facts.document["bird"]["ipv4"]["status"]["router_id"] = small.ADDRESSES[node]
    return {host: {"diagnose_node": {"packed": pack(found.nodes[node].document)}} for node, host in HOSTS.items()}


def test_without_the_api_the_question_is_resolved_from_what_the_nodes_tell(tmp_path, told):
    given = {"source": "shop/web-0", "destination": "10.253.2.7", "protocol": "tcp", "port": 8080}
    found, collected, hosts = silent(tmp_path, given, told)
    assert hosts == HOSTS and found.question.nodes == tuple(HOSTS)
    assert (found.question.destination.label, found.question.port) == ("shop/api-0", 8080)
    assert [(entry["node"], bool(entry["sections"])) for entry in collected] == [("k8s01", True), ("k8s02", True)]


def test_a_pod_that_no_node_tells_of_is_one_sentence(tmp_path, told):
    with pytest.raises(BadQuestion, match=r"API at https://10\.0\.0\.1 is silent \(Connection refused\).*knows no pod shop/web-9"):
        silent(tmp_path, {"source": "shop/web-9", "destination": "shop/api-0"}, told)


def test_an_audit_without_the_api_tells_of_each_host_of_the_inventory(tmp_path, told):
    found, collected, _hosts = silent(tmp_path, None, {**told, "two": {"diagnose_node": {"unreachable": True, "msg": "timed out"}}})
    assert found.scope.audit and found.outcome == "unknown"
    assert {entry["node"]: bool(entry["sections"]) for entry in collected} == {"k8s01": True, "two": False}
    assert "two is unreachable (timed out)" in [entry["reason"] for entry in found.not_checked()]


def test_node_tasks_are_counted():
    item = {"diagnose_probe_item": {"direction": "forward"}}
    hosts = {
        "one": {"diagnose_node": {"unreachable": True}, "diagnose_node_again": {"skipped": True}, "diagnose_fired": {"results": [item]}},
        "two": {"diagnose_node": {"packed": "x"}, "diagnose_node_again": {"packed": "x"}, "diagnose_seen": {"results": [{**item, "skipped": True}]}},
    }
    assert _run.waves({"hostvars": HostVars(**hosts)}, HOSTS) == [2, 1, 0, 1]


def test_live_tests_of_all_waves_are_kept(tmp_path):
    first, later = small.node_document("k8s01"), {**small.node_document("k8s01"), "seconds": 9}
    first["reachability"], later["reachability"] = [{"dst": "a"}], [{"dst": "b"}]
    first["cni"] = {"results": []}
    hosts = {"one": {"diagnose_node": {"node": first}, "diagnose_node_third": {"node": later}}}
    document = _run.answers({"hostvars": HostVars(**hosts)}, {"k8s01": "one"})["k8s01"].document
    assert document["seconds"] == 9 and document["cni"] == {"results": []} and [test["dst"] for test in document["reachability"]] == ["b", "a"]


def test_the_report_of_an_audit_holds_no_pair(tmp_path):
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({**small.diagnose().report(), "question": None}))
    with pytest.raises(BadQuestion, match="is the report of an audit"):
        asked(source="", destination="", report=str(path))
