# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._selectors import BadSelector, parse

LABELS = {"role": "db", "team": "store-front", "projectcalico.org/namespace": "shop"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("all()", True),
        ("global()", False),
        ("role == 'db'", True),
        ('role=="web"', False),
        ("role != 'web'", True),
        ("missing != 'web'", True),  # as in Calico: no label is not that value
        ("has(team)", True),
        ("!has(missing)", True),
        ("role in {'web', \"db\"}", True),
        ("role in {}", False),
        ("role not in {'web'}", True),
        ("team contains 'front'", True),
        ("team starts with 'store'", True),
        ("team ends with 'store'", False),
        ("missing starts with ''", False),
        ("role == 'web' || team contains 'front' && has(role)", True),
        ("(role == 'web' || team contains 'front') && !has(role)", False),
        ("projectcalico.org/namespace == 'shop'", True),
        ("!!(all())", True),
    ],
)
def test_calicos_language(text, matches):
    assert parse(text)(LABELS) is matches


@pytest.mark.parametrize("text", ["role ==", "role = 'db'", "role == db", "(all()", "all() all()", "in {'a'}", "role in {'a' 'b'}", "&&", "has(", "role 'db'"])
def test_what_is_no_selector_is_one_sentence(text):
    with pytest.raises(BadSelector, match="selector "):
        parse(text)


@given(st.text(max_size=60))
def test_property_any_text_is_a_selector_or_refused(text):
    try:
        assert parse(text)(LABELS) in (True, False)
    except BadSelector:
        pass
