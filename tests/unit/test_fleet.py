# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulation of `make scale`, small: more nodes than are looked at pair by pair."""

from __future__ import annotations

from bench import fleet


def test_all_hidden_faults_are_named_and_none_is_invented():
    found = fleet.measure(60, 10)
    assert (found["missed"], found["invented"], found["unexplained"], found["not_checked"]) == ([], [], [], 0)
    assert len(found["causes"]) == 10
