# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _ipset

SAVED = """create cali40s:abc hash:net family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0xb1b7b81e
add cali40s:abc 10.244.0.0/16
add cali40s:abc 10.244.7.0/24 nomatch
create cali60n:def hash:ip,port family inet6 hashsize 1024 maxelem 65536 timeout 600
add cali60n:def fd00::7,tcp:8080 timeout 17 packets 3
"""


def test_parse() -> None:
    assert _ipset.parse(SAVED) == [
        {"name": "cali40s:abc", "type": "hash:net", "family": "inet", "members": ["10.244.0.0/16", "10.244.7.0/24 nomatch"]},
        {"name": "cali60n:def", "type": "hash:ip,port", "family": "inet6", "members": ["fd00::7,tcp:8080"]},
    ]


def test_what_is_not_understood_is_counted() -> None:
    found = _ipset.parse(SAVED + "flush cali40s:abc\nadd nobody 10.0.0.1\nadd cali60n:def\n")
    assert [entry.get("unknown") for entry in found] == [1, 1]


@given(st.text())
def test_property_any_text(text: str) -> None:
    assert isinstance(_ipset.parse(text), list)
    assert _ipset.parse(SAVED + text)[0]["members"][:2] == ["10.244.0.0/16", "10.244.7.0/24 nomatch"] or "create cali40s:abc" in text
