# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import Fact, FactId, Finding, Judged, NotApplicable, closure, explain, judge
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected


def fact(name, *needs, value=None):
    return Fact("k", name, value=value, needs=tuple(FactId("k", need) for need in needs))


def judged(*entries):
    """entries: (fact, outcome)."""
    result = {}
    for one, outcome in entries:
        finding = Finding("k.wrong", one, None, "", ()) if outcome == "finding" else None
        result[one.id] = Judged(one, "k.wrong", outcome, finding)
    return result


def names(ids):
    return sorted(fact_id.node for fact_id in ids)


def test_one_outcome_for_each_fact():
    def check(one, wanted):
        if one.value == "unread":
            raise NotCollected("nobody told")
        if one.value == "other mode":
            raise NotApplicable("no such thing")
        return None if one.value == wanted else Finding("k.other", one, one.value, "line", ("api",))

    facts = [fact("a", value="right"), fact("b", value="wrong"), fact("c", value="unread"), fact("d", value="other mode")]
    found = judge(facts, {"k": ("k.wrong", check)}, "right")
    assert [(v.fact.node, v.check, v.outcome, v.reason) for v in found.values()] == [
        ("a", "k.wrong", "ok", ""),
        ("b", "k.other", "finding", ""),
        ("c", "k.wrong", "not_checked", "nobody told"),
        ("d", "k.wrong", "not_applicable", "no such thing"),
    ]
    assert [v.finding is not None for v in found.values()] == [False, True, False, False]


def test_the_root_explains_everything_below_it():
    found = explain(judged((fact("route", "session"), "finding"), (fact("session", "address"), "finding"), (fact("address"), "finding")))
    assert names(found.roots) == ["address"]
    assert names(found.explains[found.roots[0]]) == ["route", "session"]


def test_two_roots_share_what_needs_both():
    found = explain(judged((fact("ping", "a", "b"), "finding"), (fact("a"), "finding"), (fact("b"), "finding")))
    assert names(found.roots) == ["a", "b"]
    assert all(names(found.explains[root]) == ["ping"] for root in found.roots)


def test_a_right_fact_in_between_ends_the_explanation():
    found = explain(judged((fact("route", "session"), "finding"), (fact("session", "address"), "ok"), (fact("address"), "finding")))
    assert names(found.roots) == ["address", "route"]


def test_an_unread_fact_in_between_does_not_and_is_remembered():
    found = explain(judged((fact("route", "session"), "finding"), (fact("session", "address"), "not_checked"), (fact("address"), "finding")))
    assert names(found.roots) == ["address"]
    assert names(found.unread_above[FactId("k", "route")]) == ["session"]
    assert not found.unread_above[FactId("k", "address")]


def test_facts_that_need_each_other_end():
    found = explain(judged((fact("a", "b"), "finding"), (fact("b", "a"), "finding")))
    assert found.roots == ()


def test_closure_holds_only_known_facts():
    facts = {one.id: one for one in (fact("a", "b", "gone"), fact("b", "a"), fact("c"))}
    assert names(closure([FactId("k", "a")], facts)) == ["a", "b"]


def test_the_id_of_a_finding_is_its_place_and_not_its_value():
    first, second = Finding("x", fact("a"), 1, "one", ()), Finding("x", fact("a", value=9), 2, "two", ("api",))
    assert first.id == second.id
    assert first.id.startswith("x-")
    assert first.id != Finding("x", fact("b"), 1, "one", ()).id
    assert first.id != Finding("y", fact("a"), 1, "one", ()).id


OUTCOMES = st.sampled_from(["ok", "finding", "not_checked", "not_applicable"])


@given(st.lists(st.tuples(OUTCOMES, st.sets(st.integers(0, 11))), min_size=1, max_size=12))
def test_property_each_wrong_fact_is_a_root_or_follows_from_one(entries):
    """needs point to earlier facts only, as in a cluster: nothing needs itself."""
    everything = judged(*((fact(str(i), *(str(n) for n in sorted(needs) if n < i)), outcome) for i, (outcome, needs) in enumerate(entries)))
    found = explain(everything)
    wrong = {fact_id for fact_id, verdict in everything.items() if verdict.outcome == "finding"}
    explained = set().union(*found.explains.values()) if found.explains else set()
    assert set(found.roots) | explained == wrong
    assert not set(found.roots) & explained
