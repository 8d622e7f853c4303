# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries by rows answer as the list of them does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _compact, _entries

TEXT = st.sampled_from(["10.0.0.0/26", "10.0.0.64/26", "192.0.2.1", "192.0.2.2", "x"])
ROWS = st.lists(st.tuples(TEXT, TEXT), max_size=6)
ENTRIES = st.lists(
    st.fixed_dictionaries({"dst": TEXT, "gateway": TEXT | st.none()}, optional={"protocol": st.sampled_from(["bird", "boot"]), "bgp": st.just({"a": "x"})})
)


def by_rows(entries, rows):
    """The entries as few, and as far as possible by rows."""
    known = {"blocks": rows}
    section = json.loads(json.dumps(_compact.tabulate(entries, _compact.SPECS["routes"], known)))
    few, wide = (_compact.Expander(least).entries(section, known) for least in (1 << 30, 1))
    return few, wide if isinstance(wide, _entries.Entries) else _entries.Entries((), wide)


@given(ENTRIES, ROWS, TEXT)
def test_property_rows_answer_as_entries_do(entries, rows, text):
    few, wide = by_rows(entries, rows)
    assert list(wide) == few and len(wide) == len(few)
    for path in (("dst",), ("gateway",), ("bgp", "a")):
        assert wide.where(path, text) == [entry for entry in few if _entries.value_at(entry, path) == text]
        kept = wide.having(path, lambda value: value == text)
        assert sorted(map(json.dumps, kept)) == sorted(json.dumps(entry) for entry in few if _entries.value_at(entry, path) == text)


@given(st.sets(st.integers(0, 70)))
def test_property_bits_are_places(places):
    bits = _entries.to_bits(places, 71)
    assert (set(_entries.to_places(bits)), _entries.count(bits)) == (places, len(places))


@given(ROWS, st.data())
def test_property_bits_are_folded_to_the_first_place_of_a_value(rows, data):
    table = _entries.Table(rows)
    chosen = data.draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
    anchors = table.anchors((0,))
    folded = [place for part in table.folded(_entries.to_bits(chosen, len(rows)), (0,)) for place in _entries.to_places(part)]
    assert sorted(folded) == sorted(anchors[rows[place][:1]] for place in chosen)


def test_nothing_is_made_that_is_not_asked_for(monkeypatch):
    rows = [(f"10.0.{number}.0/26", f"192.0.2.{number}") for number in range(200)]
    _few, wide = by_rows([{"dst": dst, "gateway": gateway, "dev": "tunl0"} for dst, gateway in rows], rows)
    made = []
    monkeypatch.setattr(_entries.Shape, "make", lambda shape, place: made.append(place) or {"dst": rows[place][0]})
    assert [entry["dst"] for entry in wide.where(("dst",), "10.0.7.0/26")] == ["10.0.7.0/26"] and len(wide) == 200
    assert made == [7]


def test_rows_that_hold_no_text_are_refused():
    with pytest.raises(ValueError, match="cannot be understood"):
        _compact.Expander(1).entries({"shapes": [["blocks", {"dst": "\x000\x00"}, "1"]], "rest": []}, {"blocks": [[7, "x"]]})
