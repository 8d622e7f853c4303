# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.action import silent_nodes_info
from ansible_collections.podnet.doctor.plugins.plugin_utils import _indirect
from ansible_collections.podnet.doctor.tests.unit.plugins import support


@pytest.fixture
def asked_of_the_api(monkeypatch):
    asked = []

    def hear(cluster, silent, options, may_exec, timeout):
        asked.append((list(silent), may_exec))
        return _indirect.Heard({"k8s02": {"schema": "podnet.doctor/node/1"}}, {})

    monkeypatch.setattr(_indirect, "hear", hear)
    return asked


def run(question, variables, **arguments):
    return support.action(silent_nodes_info, {"question": question, **arguments}).run(None, variables)


def test_only_the_nodes_without_an_answer_are_asked_for(question, variables, asked_of_the_api):
    assert run(question, variables)["documents"]
    variables["hostvars"].raw_get("two")["diagnose_node"] = {"unreachable": True, "msg": "Connection refused"}
    result = run(question, variables, exec=False)
    assert asked_of_the_api == [([], True), (["k8s02"], False)]
    assert isinstance(result["documents"]["k8s02"], str) and result["changed"] is False


def test_a_silent_api_is_not_asked_again(question, variables, asked_of_the_api):
    result = run({**question, "api": {"server": "x", "error": "refused"}}, variables)
    assert asked_of_the_api == [] and result["documents"] == {}


def test_what_is_no_question_is_refused(variables):
    assert "register that task" in run({}, variables)["msg"]
