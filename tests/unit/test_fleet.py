# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulation of `make scale`, small: more nodes than are looked at pair by pair, and tables long enough to be judged by rows."""

from __future__ import annotations

from bench import fleet


def test_all_hidden_faults_are_named_none_is_invented_and_the_work_grows_as_the_nodes_do():
    found = {nodes: fleet.measure(nodes, 20) for nodes in (260, 520)}
    for one in found.values():
        assert (one["missed"], one["invented"], one["unexplained"], one["not_checked"]) == ([], [], [], 0)
        assert len(one["causes"]) == 20
    for what in ("compared", "rows"):
        assert found[520][what] < 2.2 * found[260][what], (what, found[260][what], found[520][what])
