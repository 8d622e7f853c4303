# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.podnet.doctor.plugins.action import question
from ansible_collections.podnet.doctor.plugins.module_utils._kube import KubeError
from ansible_collections.podnet.doctor.plugins.plugin_utils import _files, _run, _tables
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOSTS = {"one": {"podnet_node_name": "k8s01"}, "other": {}}
VARIABLES = {"hostvars": support.HostVars(**HOSTS), "groups": {"all": list(HOSTS)}}


@pytest.fixture
def api(monkeypatch, tmp_path):
    monkeypatch.setattr(question.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    answer = {"document": small.cluster_document()}

    def read(*_arguments, **_options):
        if "error" in answer:
            raise answer["error"]
        return answer["document"]

    monkeypatch.setattr(_run._kube, "read_cluster", read)
    return answer


def run(strategy="linear", **arguments):
    given = {"source": "shop/web-0", "destination": "shop/api-0", **arguments}
    return support.action(question, given, strategy=strategy).run(None, VARIABLES)


def test_who_is_asked_for_what(api, tmp_path):
    result = run(destination="shop/api-0:8080")
    assert result["changed"] is False and not result.get("failed")
    assert (result["question"]["protocol"], result["question"]["port"]) == ("tcp", 8080)
    assert result["nodes"] == {"k8s01": "one"}
    assert result["hosts"] == ["one"]
    assert result["ask"]["one"]["node"] == "k8s01"
    assert list(result["not_in_inventory"]) == ["k8s02"]
    assert result["probes"]["one"]["fire"][0]["dst"] == "10.253.2.7"
    path = result["cluster_file"]
    assert os.path.dirname(path) == str(tmp_path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path, encoding="utf-8") as stream:
        assert json.load(stream) == small.cluster_document()


def test_a_pod_that_was_made_again_is_asked_for_by_its_new_name(api):
    api["document"]["pods"][0]["metadata"]["name"] = "web-x2x9v"
    asked = run(successors={"shop/web-0": "shop/web-x2x9v"})["question"]
    assert (asked["source"]["name"], asked["destination"]["name"]) == ("web-x2x9v", "api-0")


def test_without_packets(api):
    assert run(probe=False)["probes"] == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"strategy": "free"}, "this play runs with strategy free"),
        ({"source": "shop/web-9"}, "source: the Kubernetes API knows no pod shop/web-9; did you mean shop/web-0"),
        ({"destination": "svc/shop/api"}, "knows no Service shop/api"),
        ({"port": "http"}, "port 'http' is not a number from 1 to 65535"),
        ({"source": ""}, "source is missing"),
        ({"report": "/nowhere.json"}, "/nowhere.json cannot be read: No such file or directory"),
    ],
)
def test_bad_questions_are_one_sentence(api, tmp_path, arguments, sentence):
    result = run(**arguments)
    assert result["failed"] is True
    assert sentence in result["msg"] and "\n" not in result["msg"]
    assert list(tmp_path.iterdir()) == []  # no cluster document is left behind


def test_no_kubeconfig(api):
    api["error"] = KubeError("the kubeconfig /nowhere does not exist")
    assert run()["msg"] == "the kubeconfig /nowhere does not exist"


def test_an_api_that_is_down_leaves_the_nodes(api, tmp_path):
    silent = {"error": "Connection refused"}
    api["document"] = {"schema": "podnet.doctor/cluster/1", "reachable": False, "server": "https://10.0.0.1", **silent, "nodes": silent, "pods": silent}
    variables = {**VARIABLES, "ansible_play_hosts_all": ["one"]}
    made = support.action(question, {"source": "shop/web-0", "destination": "shop/api-0"})
    result = made.run(None, variables)
    assert result["question"] is None and result["given"]["source"] == "shop/web-0" and result["api"]["error"] == "Connection refused"
    assert result["hosts"] == ["one"] and "cni" in result["ask"]["one"]["gather_subset"]  # the other host is not in the play
    assert made._display.lines[0].startswith("WARNING     the Kubernetes API at https://10.0.0.1 is silent: Connection refused")
    audit = support.action(question, {"audit": True}).run(None, variables)
    assert audit["audit"] is True and audit["given"] is None
    assert sorted(os.listdir(audit["asked"])) == sorted([_files.file_of("one"), _tables.SHARED])


def test_an_audit_asks_every_node_by_file(api):
    result = run(audit=True, source="", destination="")
    assert result["question"] is None and result["audit"] is True and result["ask"] == {}
    for host in result["hosts"]:
        with open(os.path.join(result["asked"], _files.file_of(host)), encoding="utf-8") as stream:
            assert json.load(stream)["arguments"]["node"] in result["nodes"]
        tables = _tables.read(result["asked"], host)
        assert ["10.253.2.0/26", "10.2.7.202"] in tables["blocks"] and ["10.2.7.201"] in tables["peers"]
        assert [len(tables[name]) for name in ("pods", "pod_routes", "pod_links")] == [1, 1, 1]
