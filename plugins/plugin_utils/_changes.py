# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what is not as it was: things by name, of two times.

from __future__ import annotations

import json
import textwrap
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ._json import Json

LONGEST = 160  # characters of a value that is told
MOST_OF_ONE = 6  # changes of one object that are told one by one


@dataclass(frozen=True)
class Thing:
    """One object as it was at one time: what is told of it by name, and lines of which it has each or not."""

    values: Mapping[str, str] = field(default_factory=dict)
    lines: frozenset[str] = frozenset()
    at: str | None = None  # when it became as it is, RFC 3339, where something tells
    again: str = ""  # what to say where only that time is another
    folded: bool = False  # its lines are counted, not told


class Change(t.NamedTuple):
    """at: when, RFC 3339; None: at some time between both documents. before, after: None: it was, or is, not there."""

    at: str | None
    node: str | None
    section: str
    object: str
    before: str | None
    after: str | None
    again: str = ""

    @property
    def text(self) -> str:
        if self.again:
            return f"{self.object} {self.again}"
        if self.before is None:
            return f"{self.object} is new" + (f": {self.after}" if self.after else "")
        if self.after is None:
            return f"{self.object} is gone" + (f": it was {self.before}" if self.before else "")
        return f"{self.object}: {self.before or 'nothing'} before, now {self.after or 'nothing'}"

    def to_json(self) -> dict[str, Json]:
        return {"at": self.at, "node": self.node, "section": self.section, "object": self.object, "before": self.before, "after": self.after, "text": self.text}


Things = dict[str, Thing]


class Scope(t.NamedTuple):
    """What of a node the question is about: addresses and host links of its pods. prefix: of the links of all pods."""

    addresses: frozenset[str]
    ifnames: frozenset[str]
    prefix: str


def told(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return textwrap.shorten(text, LONGEST, placeholder=" ...") if len(text) > LONGEST else text


def _joined(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}".strip() for name, value in values.items() if value)


def compared(before: Things, after: Things, node: str | None, section: str) -> Iterator[Change]:
    """What of one section is not as it was."""
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield Change(new.at, node, section, name, None, _joined(new.values))
        elif new is None and old is not None:
            yield Change(None, node, section, name, _joined(old.values), None)
        elif old is not None and new is not None:
            yield from _between(name, old, new, node, section)


def _between(name: str, old: Thing, new: Thing, node: str | None, section: str) -> Iterator[Change]:
    at = new.at if new.at != old.at else None
    names = [key for key in dict.fromkeys((*old.values, *new.values)) if old.values.get(key) != new.values.get(key)]
    for key in names[:MOST_OF_ONE]:
        yield Change(at, node, section, f"{name} {key}".strip(), old.values.get(key, ""), new.values.get(key, ""))
    if len(names) > MOST_OF_ONE:
        yield Change(at, node, section, name, "", f"{len(names) - MOST_OF_ONE} more fields are different")
    if at is not None and new.again and not names:
        yield Change(at, node, section, name, old.at, at, new.again)
    gone, come = sorted(old.lines - new.lines), sorted(new.lines - old.lines)
    if new.folded and (gone or come):
        yield Change(at, node, section, name, f"{len(old.lines)} rules", f"{len(new.lines)} rules, {len(come)} of them new, {len(gone)} gone")
        return
    for line in gone:
        yield Change(None, node, section, f"{name} {line}", "", None)
    for line in come:
        yield Change(at, node, section, f"{name} {line}", None, "")
