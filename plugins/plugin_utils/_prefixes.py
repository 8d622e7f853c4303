# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: prefixes by which an address is found, the longest first.

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterator
from functools import lru_cache

from ._json import IPNetwork, Json, parse_address, parse_network

Value = t.TypeVar("Value")


@lru_cache(maxsize=65536)
def number(text: str | None) -> tuple[int, int] | None:
    """An address as (bits of its family, number)."""
    address = parse_address(text)
    return None if address is None else (address.max_prefixlen, int(address))


network = lru_cache(maxsize=16384)(parse_network)


class Prefixes(t.Generic[Value]):
    """Values under prefixes of both families."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], dict[int, Value]] = {}
        self._lengths: dict[int, list[int]] = {}

    def add(self, prefix: IPNetwork, value: Value) -> None:
        bits, length = prefix.max_prefixlen, prefix.prefixlen
        self._found.setdefault((bits, length), {})[int(prefix.network_address) >> (bits - length)] = value
        if length not in self._lengths.setdefault(bits, []):
            self._lengths[bits] = sorted((*self._lengths[bits], length), reverse=True)

    def get(self, prefix: IPNetwork) -> Value | None:
        """What stands under exactly this prefix."""
        bits, length = prefix.max_prefixlen, prefix.prefixlen
        return self._found.get((bits, length), {}).get(int(prefix.network_address) >> (bits - length))

    def covering(self, address: tuple[int, int]) -> Iterator[Value]:
        """The values of the prefixes that hold an address, the longest first."""
        bits, value = address
        for length in self._lengths.get(bits, ()):
            found = self._found[(bits, length)].get(value >> (bits - length))
            if found is not None:
                yield found

    def find(self, address: tuple[int, int]) -> Value | None:
        return next(self.covering(address), None)


def spanned(low: Json, high: Json) -> list[IPNetwork] | None:
    """The prefixes from one address to another; None if these are no such pair."""
    first, last = parse_address(low), parse_address(high)
    if first is None or last is None or first.version != last.version or int(first) > int(last):
        return None
    return list(ipaddress.summarize_address_range(first, last))
