# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _ipset
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import attribute
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

COMMANDS = """create nets hash:net
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
add nets 10.9.0.7
create named hash:ip,port family inet6
add named fd00::1,udp:53
add named fd00::2,tcp:8080
create both hash:net,port
add both 10.0.0.0/8,tcp:80
create macs hash:mac
create unasked hash:ip
"""


def test_as_the_program_prints_them(namespaces: t.Any) -> None:
    if os.geteuid() != 0 or not shutil.which("ipset"):
        pytest.skip("needs root and ipset")
    space = namespaces()
    for command in COMMANDS.splitlines():
        space.run("ipset", *command.split())
    saved = space.run("ipset", "save").stdout
    if "create both" not in saved:
        pytest.skip("the kernel has no such sets")
    found = inside(space.path, lambda: _ipset.read(Deadline(20), {"nets", "named", "both", "macs"}), Deadline(30))

    def by_name(entries: list[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
        return {entry["name"]: {**entry, "members": sorted(entry["members"])} for entry in entries}

    wanted = by_name(_ipset.saved(saved))
    assert wanted.pop("unasked") and by_name(found) == wanted


def test_large_sets_are_cut() -> None:
    members = [f"10.{one}.{two}.0/24" for one in range(40) for two in range(40)] + ["10.200.0.1-10.200.0.9", "what"]
    entry = {"name": "a", "type": "hash:net", "family": "inet", "members": members}
    assert _ipset.cut({**entry, "members": members[:9]}, ["10.0.0.1"]) == {**entry, "members": members[:9]}
    found = _ipset.cut(entry, ["10.7.9.1", "10.200.0.5", "fd00::1"])
    assert found["members"] == ["10.7.9.0/24", "10.200.0.1-10.200.0.9"] and found["cut"] == ["10.7.9.1", "10.200.0.5", "fd00::1"]


ADDRESS = attribute(_ipset.IP, attribute(_ipset.IPADDR_IPV4, bytes([10, 0, 0, 1])))


@pytest.mark.parametrize(
    ("data", "with_port", "member"),
    [
        (ADDRESS, False, "10.0.0.1"),
        (ADDRESS + attribute(_ipset.CIDR, b"\x08"), False, "10.0.0.1/8"),
        (ADDRESS + attribute(_ipset.CADT_FLAGS, struct.pack(">I", 4)), False, "10.0.0.1 nomatch"),
        (ADDRESS + attribute(_ipset.PORT, b"\x00\x50") + attribute(_ipset.PROTO, b"\x01"), True, "10.0.0.1,1:80"),
        (ADDRESS, True, None),
        (b"", False, None),
    ],
)
def test_members(data: bytes, with_port: bool, member: str | None) -> None:
    assert _ipset._member(_ipset.attributes(data), with_port) == member


@given(st.binary(max_size=60), st.booleans())
def test_property_any_member(data: bytes, with_port: bool) -> None:
    member = _ipset._member(_ipset.attributes(data), with_port)
    assert member is None or member.split()[0]


@given(st.text(max_size=40), st.lists(st.ip_addresses().map(str), max_size=3))
def test_property_any_text_holds_or_not(text: str, addresses: list[str]) -> None:
    assert _ipset.holds(text, addresses) in (True, False)


@given(st.text())
def test_property_any_saved_text(text: str) -> None:
    assert isinstance(_ipset.saved(text), list)
