# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is judged for whole tables of rows at once."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _compact, _entries
from ansible_collections.podnet.doctor.plugins.plugin_utils._doubts import Common, Held

TEXT = st.sampled_from(["a", "b", "c", "d", "e"])
ROWS = st.lists(st.tuples(TEXT, TEXT), max_size=8)


def right(entry):
    return entry["gateway"] in ("a", "b") and entry.get("dev") != "eth0"


@given(st.lists(st.fixed_dictionaries({"dst": TEXT, "gateway": TEXT}, optional={"dev": st.sampled_from(["eth0", "tunl0"])})), ROWS)
def test_property_held_is_what_each_entry_says(entries, rows):
    known = {"blocks": rows}
    section = json.loads(json.dumps(_compact.tabulate(entries, _compact.SPECS["routes"], known)))
    wide = _compact.Expander(1).entries(section, known)
    held = Held(wide if isinstance(wide, _entries.Entries) else _entries.Entries((), wide), (("dst",),), "right", right)
    outside = [entry for entry in entries if (entry["dst"],) not in held.anchors]
    assert sorted(map(json.dumps, held.others)) == sorted(map(json.dumps, outside))
    for (value,), place in held.anchors.items():
        mine = [entry for entry in entries if entry["dst"] == value]
        assert held.has(value) is any(map(right, mine))
        assert bool(held.twice >> place & 1) is (len(mine) > 1)


@given(ROWS, st.sets(TEXT), st.sets(TEXT))
def test_property_what_must_be_there_is_there_for_all_but_some(rows, meant, own):
    anchors = _entries.Table(rows).anchors((0,))
    common = Common(anchors, dict.fromkeys(meant, "x"))
    assert {common.value[place] for place in _entries.to_places(common.without(own))} == {value for value in meant - own if (value,) in anchors}
