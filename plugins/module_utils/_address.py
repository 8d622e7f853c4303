# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Canonical addresses and prefixes as strings.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import socket
import typing as t

LENGTHS = {"inet": 32, "inet6": 128}
ANY = {"inet": "0.0.0.0", "inet6": "::"}


def family_of(address: str) -> str:
    """``inet`` or ``inet6``, judged by the look of the text."""
    return "inet6" if ":" in address else "inet"


def canonical(address: t.Any) -> str | None:
    """The one way to write this address, or None if it is none."""
    if not isinstance(address, str):
        return None
    number = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_ntop(number, socket.inet_pton(number, address))
    except (OSError, ValueError):
        return None


def canonical_prefix(prefix: t.Any, family: str | None = None) -> str | None:
    """``10.0.0.0/26``; an address alone becomes a /32 or /128 and ``default`` the prefix of length 0 of ``family``."""
    if not isinstance(prefix, str):
        return None
    if prefix in ("default", "all", "any"):
        return ANY[family or "inet"] + "/0"
    address, slash, length = prefix.partition("/")
    known = canonical(address)
    if known is None:
        return None
    longest = LENGTHS[family_of(known)]
    if not slash:
        return f"{known}/{longest}"
    if not (length.isascii() and length.isdigit() and int(length[:4]) <= longest):
        return None
    return f"{known}/{int(length)}"


def from_bytes(packed: bytes) -> str | None:
    """The text of 4 or 16 packed bytes, None for any other length."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if len(packed) == 16:
        return socket.inet_ntop(socket.AF_INET6, packed)
    return None


def mac(packed: bytes) -> str:
    """A link-layer address as the kernel's tools write it."""
    return packed.hex(":")
