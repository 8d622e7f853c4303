# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _netlink
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired


def message(kind: int, payload: bytes, flags: int = 0, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload + b"\0" * (-len(payload) % 4)


class Scripted(_netlink.Rtnetlink):
    """A kernel that answers what the test wants."""

    def __init__(self, *reads: bytes) -> None:
        super().__init__(Deadline(5))
        self.reads = list(reads)

    def _read(self) -> bytes:
        if not self.reads:
            raise Expired("nothing more")
        return self.reads.pop(0)


DONE = struct.pack("=i", 0)


def test_dump_in_two_reads() -> None:
    with Scripted(message(24, b"aaaa") + message(24, b"bbbb", sequence=9), message(24, b"cccc") + message(3, DONE)) as kernel:
        assert kernel.dump(26, bytes(12)) == [b"aaaa", b"cccc"]


def test_dump_that_changed_is_read_again() -> None:
    torn = message(24, b"aaaa", _netlink.NLM_F_DUMP_INTR) + message(3, DONE)
    with Scripted(torn, message(24, b"bbbb", sequence=2) + message(3, DONE, sequence=2)) as kernel:
        assert kernel.dump(26, bytes(12)) == [b"bbbb"]


def test_refusal_with_words() -> None:
    words = _netlink.attribute(1, b"Device does not exist\0")
    payload = struct.pack("=i", -errno.ENODEV) + struct.pack("=IHHII", 16, 26, 0, 1, 0) + words
    with Scripted(message(2, payload, _netlink.NLM_F_CAPPED | _netlink.NLM_F_ACK_TLVS)) as kernel:
        with pytest.raises(_netlink.NetlinkError, match="No such device: Device does not exist") as caught:
            kernel.request(26, bytes(12))
    assert caught.value.errno == errno.ENODEV


def test_kernel_refuses() -> None:
    with _netlink.Rtnetlink(Deadline(5)) as kernel, pytest.raises(OSError):
        kernel.dump(26, b"\x02\0\0\0")


def test_deadline() -> None:
    with _netlink.Rtnetlink(Deadline(-1)) as kernel, pytest.raises(Expired):
        kernel.dump(26, bytes(12))


@given(st.binary(), st.integers(0, 40))
def test_property_any_bytes(data: bytes, offset: int) -> None:
    for kind, value in _netlink.attributes(data, offset).items():
        assert kind <= _netlink.NLA_TYPE_MASK and len(value) <= len(data)
    for _kind, _flags, _sequence, payload in _netlink.messages(data):
        assert len(payload) <= len(data)
        _netlink.refusal(_netlink.NLM_F_ACK_TLVS, payload)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=30)), unique_by=lambda pair: pair[0]))
def test_property_attributes_round_trip(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(_netlink.attribute(kind, value) for kind, value in pairs)
    assert _netlink.attributes(data) == dict(pairs)
