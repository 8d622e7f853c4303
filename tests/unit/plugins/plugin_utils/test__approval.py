# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._approval import Policy
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion

NOON = datetime.datetime(2026, 11, 21, 12, 0)
R1 = {"id": "a.n1.1", "cause": "ip_forward_off", "node": "n1", "class": "R1"}
R2 = {**R1, "id": "a.n1.2", "class": "R2"}


@pytest.mark.parametrize(
    ("policy", "actions", "objection"),
    [
        ([], [R1], "no policy approves anything"),
        (None, [R1], "no policy approves anything"),
        (["R1"], [R1], None),
        (["R1"], [R1, R2], "step a.n1.2 is R2"),
        (["R1", "R2"], [R1, R2], None),
        (["R2"], [{**R1, "class": "R0"}, R2], None),
        ({"classes": ["R1"], "causes": ["ip_forward_off"]}, [R1], None),
        ({"classes": ["R1"], "causes": ["other"]}, [R1], "does not approve the repair of ip_forward_off"),
        ({"classes": ["R1"], "not_causes": ["ip_forward_off"]}, [R1], "does not approve the repair of ip_forward_off"),
        ({"classes": ["R1"], "nodes": ["n2"]}, [R1], "does not approve repairs on n1"),
        ({"classes": ["R1"], "not_nodes": ["n1"]}, [R1], "does not approve repairs on n1"),
        ({"classes": ["R1"], "hours": "11:00-13:00"}, [R1], None),
        ({"classes": ["R1"], "hours": "12:01-13:00"}, [R1], "it is 12:00"),
        ({"classes": ["R1"], "hours": "22:00-06:00"}, [R1], "it is 12:00"),
        ({"classes": ["R1"], "hours": "22:00-12:01"}, [R1], None),
    ],
)
def test_what_a_policy_approves(policy, actions, objection):
    found = Policy.of(policy).objections(actions, NOON)
    assert found == [] if objection is None else any(objection in text for text in found)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (["R3"], "R3 can be approved by nobody beforehand"),
        ("R1", "is a list of classes"),
        ({"class": ["R1"]}, "is a list of classes"),
        ({"classes": "R1"}, "classes of podnet_auto_approve is no list"),
        ({"classes": ["R1"], "hours": "always"}, "not like 22:00-06:00"),
    ],
)
def test_what_is_no_policy_is_one_sentence(policy, sentence):
    with pytest.raises(BadQuestion, match=sentence):
        Policy.of(policy)


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(ANYTHING | st.dictionaries(st.sampled_from(["classes", "hours", "nodes", "causes"]), ANYTHING))
def test_nothing_is_approved_by_accident(raw):
    try:
        policy = Policy.of(raw)
    except BadQuestion:
        return
    assert policy.classes or policy.objections([R1], NOON)
