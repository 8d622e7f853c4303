# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: reading untrusted JSON without ever raising anything but NotCollected.

from __future__ import annotations

import functools
import ipaddress
import typing as t
from collections.abc import Mapping, Sequence

from ..module_utils._entries import Entries

Json = t.Any
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Family = t.Literal["ipv4", "ipv6"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


def family_of(text: str) -> Family:
    """Of an address or a prefix in text form."""
    return "ipv6" if ":" in text else "ipv4"


def tagged(name: str, family: Family) -> str:
    """The object of a fact that exists once in each family: IPv4's is the bare name."""
    return name if family == "ipv4" else f"{name} ipv6".strip()


def in_family(texts: t.Iterable[str], family: Family) -> str | None:
    return next((text for text in texts if family_of(text) == family), None)


NOT_ASKED = "was not asked for"


class NotCollected(Exception):
    """What a check asked for could not be read; `reason` is one sentence for the report. absent: nobody had asked for it."""

    def __init__(self, reason: str, errno: str | None = None, absent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno = errno
        self.absent = absent


def section_of(document: Mapping[str, Json], name: str, whose: str) -> Json:
    """A section's value; NotCollected where it is absent or carries an error."""
    if name not in document:
        raise NotCollected(f"{whose}: {name} {NOT_ASKED}", absent=True)
    value = document[name]
    if isinstance(value, Mapping) and isinstance(value.get("error"), str):
        errno = value.get("errno") or value.get("reason")  # BIRD's socket gives a word of its own as reason
        raise NotCollected(f"{whose}: {name}: {value['error']}", errno if isinstance(errno, str) else None)
    return value


MOST_KEPT = 1 << 19  # addresses and prefixes in text form: those of some thousand nodes come again and again


@functools.lru_cache(MOST_KEPT)
def _address(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@functools.lru_cache(MOST_KEPT)
def _network(text: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def parse_address(text: Json) -> IPAddress | None:
    return _address(text) if isinstance(text, str) else None


def parse_network(text: Json) -> IPNetwork | None:
    return _network(text) if isinstance(text, str) else None


def as_mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def objects(value: Json) -> list[Mapping[str, Json]]:
    return [item for item in as_list(value) if isinstance(item, Mapping)]


Shape = Mapping[str, type]


def shaped(value: Json, shape: Shape, whose: str) -> Sequence[Mapping[str, Json]]:
    """A list of objects whose known fields, where they are there, have the right type.

    Errors: NotCollected. An entry that cannot be understood may be the very one that matters, so the whole list then counts as not read.
    """
    if not isinstance(value, (list, Entries)):
        raise NotCollected(f"{whose} is no list")
    templates = [common.template for common, _bits in value.wide] if isinstance(value, Entries) else []
    for entry in (*templates, *(value.few if isinstance(value, Entries) else value)):
        if not isinstance(entry, Mapping):
            raise NotCollected(f"{whose} holds something that is no object")
        for name, kind in shape.items():
            found = entry.get(name)
            if found is not None and (not isinstance(found, kind) or (kind is int and isinstance(found, bool))):
                raise NotCollected(f"{whose} holds an entry whose {name} cannot be understood")
    return t.cast("Sequence[Mapping[str, Json]]", value)
