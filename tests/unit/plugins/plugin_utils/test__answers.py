# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils._answers import SCHEMA, node_facts, why_nothing
from ansible_collections.podnet.doctor.tests.unit import small

SSH = 'Task failed: Failed to connect to the host via ssh: ssh: connect to host k8s07 port 22: Connection timed out\r\n'


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "was not asked by this run (--limit, serial, or a stopped play)"),
        ({"skipped": True}, "was not asked by this run"),
        ({"unreachable": True, "msg": SSH}, "is unreachable (connect to host k8s07 port 22: Connection timed out)"),
        ({"unreachable": True}, "is unreachable (no reason given)"),
        ({"failed": True, "msg": "Missing sudo password"}, "refuses to become root (Missing sudo password)"),
        ({"failed": True, "msg": "Timeout (12s) waiting for privilege escalation prompt: "}, "refuses to become root"),
        ({"failed": True, "rc": 127, "msg": "The module failed to execute correctly"}, "has no Python where Ansible looks for it"),
        ({"failed": True, "rc": 1, "module_stderr": "/bin/sh: 1: /opt/python: No such file or directory"}, "has no Python"),
        ({"failed": True, "msg": "disk on fire"}, "could not be read (disk on fire)"),
        ({"failed": True, "msg": "x" * 900}, "could not be read (" + "x" * 157 + "...)"),
        ({}, "gave an answer that cannot be understood"),
    ],
)
def test_why_there_is_no_answer(result, reason):
    assert why_nothing(result).startswith(reason)


def test_an_answer_plain_or_packed():
    document = small.node_document("k8s01")
    for result in ({"node": document}, {"packed": pack(document)}):
        assert node_facts("k8s01", result).document == document


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"packed": "###"}, "gave an answer that cannot be read"),
        ({"packed": pack({})[:-9]}, "gave an answer that cannot be read"),
        ({"packed": pack([])}, "gave an answer that is no node document"),
        ({"node": {"schema": "podnet.doctor/cluster/1"}}, "gave an answer that is no node document"),
        ({"node": {"schema": SCHEMA}, "failed": True, "msg": "late"}, "could not be read (late)"),
        ({}, "gave an answer that is no node document"),
    ],
)
def test_half_an_answer_is_a_reason(result, reason):
    facts = node_facts("k8s01", result)
    assert not facts.collected
    assert facts.reason.startswith(reason)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=30), st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=6), st.integers(), max_size=2),
)  # fmt: skip
KEYS = st.sampled_from(["failed", "unreachable", "skipped", "msg", "rc", "module_stdout", "module_stderr", "packed", "node", "other"])


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_property_any_result_is_facts_or_a_reason(result):
    facts = node_facts("k8s01", result)
    assert facts.collected or facts.reason
    assert "\n" not in facts.reason
