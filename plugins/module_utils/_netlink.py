# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Raw requests to the kernel over a netlink socket: framing, attributes, errors. What a message means is decoded elsewhere.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired

T = t.TypeVar("T")
NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF
ATTEMPTS = 4
LARGEST = 1 << 17

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")


class NetlinkError(OSError):
    """The kernel's refusal: its error number and, where it gave one, its own words."""

    def __init__(self, errno: int, words: str = "") -> None:
        text = os.strerror(errno)
        super().__init__(errno, f"{text}: {words}" if words else text)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from offset on, by type; of two of one type the last. Broken lengths end the list."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:  # attributes_in_turn() written out: a node may have very many routes
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attributes_in_turn(data: bytes, offset: int = 0) -> t.Iterator[tuple[int, bytes]]:
    """As attributes, each by itself."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def messages(data: bytes) -> t.Iterator[tuple[int, int, int, bytes]]:
    """``(type, flags, sequence, payload)`` of each message in what one read gave."""
    offset, end = 0, len(data)
    while offset + 16 <= end:
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > end:
            break
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def refusal(flags: int, payload: bytes) -> NetlinkError | None:
    """The error of an NLMSG_ERROR or NLMSG_DONE message, None for success."""
    if len(payload) < 4:
        return None
    (number,) = _ERROR.unpack_from(payload)
    if number >= 0:
        return None
    words = ""
    if flags & NLM_F_ACK_TLVS and len(payload) >= 20:
        offset = 20 if flags & NLM_F_CAPPED else 4 + max(_HEADER.unpack_from(payload, 4)[0], 16)
        text = attributes(payload, offset).get(NLMSGERR_ATTR_MSG, b"")
        words = text.rstrip(b"\0").decode("utf-8", "replace")
    return NetlinkError(-number, words)


class Netlink:
    """A socket in the network namespace of the thread that made it."""

    def __init__(self, deadline: Deadline, protocol: int) -> None:
        self.deadline = deadline
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            try:
                self._socket.setsockopt(SOL_NETLINK, option, 1)
            except OSError:  # a kernel before 4.12 or 4.20
                continue

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _read(self) -> bytes:
        self.deadline.check()
        self._socket.settimeout(self.deadline.remaining())
        try:
            return self._socket.recv(LARGEST)
        except socket.timeout as error:
            raise Expired("the kernel did not answer before the deadline") from error

    def framed(self, kind: int, flags: int, body: bytes) -> bytes:
        """A request with a number of its own."""
        self._sequence += 1
        return _HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0) + body

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._socket.send(self.framed(kind, flags, body))
        return self._sequence

    def _answers(self, asked: int) -> t.Iterator[tuple[int, int, bytes]]:
        while True:
            for kind, flags, sequence, payload in messages(self._read()):
                if sequence == asked:
                    yield kind, flags, payload

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The payloads of all objects that match. A list that changed while it was read is read again."""
        found: list[bytes] = []
        for _attempt in range(ATTEMPTS):
            found, torn = self._dump(kind, body)
            if not torn:
                break
        return found

    def _dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        torn = 0
        asked = self._send(kind, NLM_F_DUMP, body)
        unpack = _HEADER.unpack_from
        while True:  # messages() written out: a node may have very many routes
            data = self._read()
            offset, end = 0, len(data)
            while offset + 16 <= end:
                length, answer, flags, sequence, _port = unpack(data, offset)
                if length < 16 or offset + length > end:
                    break
                if sequence == asked:
                    torn |= flags & NLM_F_DUMP_INTR
                    if answer in (NLMSG_DONE, NLMSG_ERROR):
                        error = refusal(flags, data[offset + 16 : offset + length])
                        if error is not None:
                            raise error
                        return found, bool(torn)
                    found.append(data[offset + 16 : offset + length])
                offset += (length + 3) & ~3

    def request(self, kind: int, body: bytes) -> bytes:
        """The payload of the one answer."""
        for answer, flags, payload in self._answers(self._send(kind, 0, body)):
            if answer == NLMSG_ERROR:
                error = refusal(flags, payload)
                if error is not None:
                    raise error
                continue
            return payload
        raise Expired("the kernel did not answer")


class Rtnetlink(Netlink):
    """A socket for links, addresses, routes and neighbours."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(deadline, NETLINK_ROUTE)
