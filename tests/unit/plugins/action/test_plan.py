# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.podnet.doctor.plugins.action import plan
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support


@pytest.fixture
def run(question, report, tmp_path):
    def one(check=False, **arguments):
        made = support.action(plan, {"question": question, "report": report, "report_dir": str(tmp_path / "plans"), **arguments}, check)
        return made.run(None, {}), made._display.lines

    return one


def test_a_plan_is_written_and_shown(run):
    result, lines = run()
    assert not result.get("failed") and result["changed"] is False
    assert [(action["remedy"], action["host"]) for action in result["actions"]] == [("set_sysctl", "two")]
    assert (result["approved"], result["outcome"]) == (False, "broken")
    assert stat.S_IMODE(os.stat(result["plan_path"]).st_mode) == 0o600
    with open(result["plan_path"], encoding="utf-8") as stream:
        written = json.load(stream)
    support.valid("plan", written)
    assert written["id"] == result["plan_id"]
    assert lines[0] == f"PLAN     {result['plan_id']}, 1 step"


def test_approval_is_for_exactly_this_plan(run):
    found = run()[0]["plan_id"]
    assert run(approve=f" {found} ")[0]["approved"] is True
    result, lines = run(approve="0123456789ab")
    assert result["failed"] is True and "approved" not in result
    assert result["msg"].startswith("NOT APPROVED: the approval is for plan 0123456789ab") and found in result["msg"]
    assert lines[0].startswith("PLAN")  # what is found now is shown


def test_nothing_to_do_needs_no_approval(run, report):
    with open(report, "w", encoding="utf-8") as stream:
        json.dump(small.diagnose().report(), stream)
    result, lines = run(approve="0123456789ab")
    assert not result.get("failed")
    assert (result["actions"], result["approved"], lines) == ([], False, ["PLAN     nothing to do"])


def test_check_mode_is_said(run):
    assert "check mode: nothing will be changed" in run(check=True)[1][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"report": "/nowhere.json"}, "/nowhere.json cannot be read: No such file or directory"),
        ({"question": {"cluster_file": "/nowhere.json"}}, "/nowhere.json cannot be read: No such file or directory"),
        ({"report_dir": "/proc/nowhere"}, "the plan cannot be written to /proc/nowhere: No such file or directory"),
    ],
)
def test_errors_are_one_sentence(run, arguments, sentence):
    result, lines = run(**arguments)
    assert result["failed"] is True and sentence in result["msg"]
    assert lines == []
