# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _json
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


def test_absent_and_failed_are_not_empty():
    assert _json.section_of({"links": []}, "links", "k8s01") == []
    with pytest.raises(NotCollected, match=r"^k8s01: links was not asked for$"):
        _json.section_of({}, "links", "k8s01")
    with pytest.raises(NotCollected, match=r"^k8s01: links: Permission denied$") as caught:
        _json.section_of({"links": {"error": "Permission denied", "errno": "EACCES"}}, "links", "k8s01")
    assert caught.value.errno == "EACCES"


def test_a_number_of_the_kernel_is_no_word():
    with pytest.raises(NotCollected) as caught:
        _json.section_of({"x": {"error": "no", "errno": 13}}, "x", "k8s01")
    assert caught.value.errno is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "is no list"),
        ([1], "holds something that is no object"),
        ([{"ifindex": "2"}], "ifindex cannot be understood"),
        ([{"ifindex": True}], "ifindex cannot be understood"),
        ([{"ifindex": 1}, {"flags": "UP"}], "flags cannot be understood"),
    ],
)
def test_what_cannot_be_understood_counts_as_not_read(value, sentence):
    with pytest.raises(NotCollected, match=sentence):
        _json.shaped(value, {"ifindex": int, "flags": list}, "k8s01: links")


def test_absent_and_null_fields_are_fine():
    entries = [{}, {"ifindex": None, "flags": []}, {"other": object}]
    assert _json.shaped(entries, {"ifindex": int, "flags": list}, "x") == entries


def test_addresses_and_networks():
    assert str(_json.parse_address("2001:db8::1")) == "2001:db8::1"
    assert str(_json.parse_network("10.0.0.7/26")) == "10.0.0.0/26"
    assert _json.parse_address(1) is _json.parse_address("10.0.0.1/24") is _json.parse_network("10.0.0.0/33") is None


@given(ANYTHING)
def test_property_reading_anything_never_raises(value):
    assert _json.parse_address(value) is None or isinstance(value, str)
    assert _json.parse_network(value) is None or isinstance(value, str)
    assert all(isinstance(item, dict) for item in _json.objects(value))
    assert isinstance(_json.as_list(value), list)
    _json.as_mapping(value).get("x")
