# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _packing

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(JSON)
def test_property_round_trip(document: t.Any) -> None:
    assert _packing.unpack(_packing.pack(document)) == document


@pytest.mark.parametrize("text", ["", "x", "!!!", _packing.pack({"a": 1})[:-8], "aGVsbG8="])
def test_broken(text: str) -> None:
    with pytest.raises(ValueError):
        _packing.unpack(text)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_property_any_text(text: str) -> None:
    try:
        _packing.unpack(text)
    except ValueError:
        pass
