# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.podnet.doctor.plugins.action import verdict
from ansible_collections.podnet.doctor.plugins.plugin_utils import _files
from ansible_collections.podnet.doctor.plugins.plugin_utils._version import VERSION
from ansible_collections.podnet.doctor.tests.unit.plugins import support


@pytest.fixture
def run(question, variables, tmp_path):
    def one(**arguments):
        given = {"question": question, "report_dir": str(tmp_path / "reports"), **arguments}
        made = support.action(verdict, {key: value for key, value in given.items() if value is not None})
        result = made.run(None, variables)
        return result, made._display.lines

    return one


def test_a_report_is_written_and_shown(run):
    result, lines = run()
    assert not result.get("failed") and result["changed"] is False
    assert (result["outcome"], [cause["id"] for cause in result["causes"]]) == ("broken", ["proxy_arp_or_forwarding_cleared"])
    assert result["nodes_asked"] == 2
    assert stat.S_IMODE(os.stat(result["report_path"]).st_mode) == 0o600
    with open(result["report_path"], encoding="utf-8") as stream:
        report = json.load(stream)
    support.valid("report", report)
    assert (report["id"], report["tool"]["version"]) == (result["report_id"], VERSION)
    assert lines[0].endswith("BROKEN")
    assert result["podnet_screen"] == lines


def test_nothing_is_printed_when_asked_for_quiet_or_a_batch_follows(run, variables):
    assert run(quiet=True)[1] == []
    variables.update(ansible_play_batch=["one"], ansible_play_hosts=["one", "two"])
    assert run()[1] == []


def test_whether_a_finding_fails_the_play(run, variables):
    result, _lines = run(fail_on="finding")
    assert result["failed"] is True
    assert result["msg"].startswith("broken: shop/web-0 to shop/api-0: k8s02 forwards no packets at all")
    assert os.path.exists(result["report_path"])  # the report is there all the same


def test_not_final_says_whom_to_ask_next(run, tmp_path, variables):
    two = variables["hostvars"].raw_get("two")["diagnose_node"]["node"]
    two["sysctls"]["net/ipv4/ip_forward"] = "1"
    two["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"
    result, lines = run(final=False)
    assert result["hosts"] == list(result["ask"]) and set(result["hosts"]) == {"one", "two"}
    assert result["ask"]["two"]["reachability"] == [{"dst": "10.2.7.201", "port": 179, "protocol": "tcp"}]
    assert "reachability" in result["ask"]["two"]["gather_subset"]
    assert lines == [] and not (tmp_path / "reports").exists()


def test_a_bundle_is_replayed_to_the_same_verdict(run, tmp_path):
    first, _lines = run(bundle=str(tmp_path / "b.zip"))
    again, lines = run(question=None, replay=str(tmp_path / "b.zip"))
    assert (again["outcome"], again["causes"], again["summary"]) == (first["outcome"], first["causes"], first["summary"])
    assert lines[0].endswith("BROKEN")


def test_checks_of_the_user(run):
    check = {"id": "mtu", "severity": "warning", "message": "small MTU", "expression": "links[?mtu < `1500`].ifname"}
    result, lines = run(checks=[check])
    assert any("warning mtu on k8s01: small MTU" in line for line in lines)
    with open(result["report_path"], encoding="utf-8") as stream:
        report = json.load(stream)
    support.valid("report", report)
    assert [entry["id"] for entry in report["user_checks"]] == ["mtu", "mtu"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"question": {"failed": True}}, "question is not what podnet.doctor.question returned"),
        ({"question": None, "replay": "/nowhere.zip"}, "/nowhere.zip cannot be read: No such file or directory"),
        ({"checks": [{"id": "x"}]}, "check x: expression and message must both be texts"),
        ({"report_dir": "/proc/nowhere"}, "the report cannot be written to /proc/nowhere: No such file or directory"),
    ],
)
def test_errors_are_one_sentence(run, arguments, sentence):
    result, lines = run(**arguments)
    assert result["failed"] is True
    assert sentence in result["msg"] and "\n" not in result["msg"]
    assert lines == []


def test_the_report_is_whole_or_not_there(run, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "replace", full)
    result, _lines = run()
    assert result["msg"].endswith("No space left on device")
    assert list((tmp_path / "reports").iterdir()) == []


def test_hosts_that_are_no_nodes_are_told(run, variables):
    variables["ansible_play_hosts_all"] = ["one", "two", "bastion"]
    result, _lines = run()
    with open(result["report_path"], encoding="utf-8") as stream:
        assert json.load(stream)["no_nodes"] == ["bastion"]


def test_a_baseline_adds_what_changed_since(run, tmp_path):
    run(bundle=str(tmp_path / "b.zip"))
    result, lines = run(baseline=str(tmp_path / "b.zip"))
    assert any(line.startswith("SINCE") and "nothing changed" in line for line in lines)
    with open(result["report_path"], encoding="utf-8") as stream:
        report = json.load(stream)
    support.valid("report", report)
    assert report["since"]["changes"] == []


def test_a_baseline_that_is_gone_loses_no_report(run, tmp_path):
    result, lines = run(baseline=str(tmp_path / "gone.zip"))
    assert not result.get("failed") and os.path.exists(result["report_path"])
    assert any("not compared: there is no baseline" in line for line in lines)
