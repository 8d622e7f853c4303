# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils.render._plan_text import screen

ACTION = {
    "action": "delete 192.188.1.1/24 from br0 on k8s02", "class": "R1", "node": "k8s02", "only_if": "", "verify": "k8s02 announces 10.2.7.202",
    "change": {"before": "192.188.1.1/24 dev br0", "after": ""}, "blast_radius": {"pods": 3, "sessions": 2, "text": "nothing else"},
    "preconditions": ["one", "two"], "wait_seconds": 90.0, "way_back": "ip address add 192.188.1.1/24 dev br0",
}  # fmt: skip


def text(*actions, refused=(), check_mode=False):
    lines = screen({"id": "abc", "actions": list(actions), "refused": list(refused)}, check_mode)
    assert max(map(len, lines)) <= 80
    return "\n".join(lines)


def test_one_step():
    found = text(ACTION)
    assert found.splitlines()[0] == "PLAN     abc, 1 step"
    for line in (
        "STEP 1   delete 192.188.1.1/24 from br0 on k8s02",
        "change: - 192.188.1.1/24 dev br0",
        "touches: nothing else (3 pods on k8s02, 2 BGP sessions)",
        "only because: one; two",
        "(waits up to 90 s)",
        "way back: ip address add 192.188.1.1/24 dev br0",
    ):
        assert line in found


def test_what_is_not_there_is_not_shown():
    found = text({**ACTION, "way_back": "", "preconditions": [], "blast_radius": {"pods": None, "sessions": None, "text": "x"}})
    assert "way back" not in found and "only because" not in found
    assert "pods on k8s02: not known" in found


@pytest.mark.parametrize(("after", "shown"), [("1", "- 0  + 1"), ("", "- 0\n")])
def test_a_change(after, shown):
    assert shown in text({**ACTION, "change": {"before": "0", "after": after}})


def test_the_second_step_has_its_condition():
    found = text(ACTION, {**ACTION, "only_if": "it did not help"})
    assert "abc, 2 steps" in found
    assert "STEP 2" in found and ", if it did not help" in " ".join(found.split())


def test_check_mode_and_advice():
    assert "check mode: nothing will be changed" in text(ACTION, check_mode=True)
    assert text() == "PLAN     nothing to do"
    assert text(refused=[{"reason": "do it by hand"}]) == "PLAN     nothing to do by itself\nADVICE   do it by hand"
    assert text(ACTION, refused=[{"reason": "do it by hand"}]).endswith("ADVICE   do it by hand")
