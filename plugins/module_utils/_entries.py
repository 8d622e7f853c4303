# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The entries of a section of a node document, of which those that many nodes have alike are not made before they are asked for.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence

Row = tuple[str, ...]
Rows = t.Sequence[t.Sequence[str]]
Entry = dict[str, t.Any]
Path = tuple[str, ...]
MARKS = ("\x00", "\x01")
COLUMNS = {f"{MARKS[0]}{column}{MARKS[0]}": column for column in range(16)}  # that stand alone in a field


def replace(value: t.Any, pairs: t.Sequence[tuple[str, str]]) -> t.Any:
    if isinstance(value, str):
        for old, new in pairs:
            if old in value:
                value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [replace(item, pairs) for item in value]
    if isinstance(value, dict):
        return {name: replace(item, pairs) for name, item in value.items()}
    return value


def pairs_of(row: t.Sequence[str], back: bool = False) -> list[tuple[str, str]]:
    """Texts and their placeholders: each value of the row, and BIRD's way to write an address in a name."""
    found = []
    for position, text in enumerate(row):
        if not text:
            continue
        for mark, written in zip(MARKS, (text, text.replace(".", "_").replace(":", "_"))):
            if mark == MARKS[0] or written != text:
                found.append((written, f"{mark}{position}{mark}"))
    return [(new, old) for old, new in found] if back else sorted(found, key=lambda pair: -len(pair[0]))


def filler(template: Entry) -> t.Callable[[t.Sequence[str]], Entry]:
    """What makes the entry of a row. What is the same in all of them is one object for all."""
    alone, within = [], []
    for name, told in template.items():
        if isinstance(told, str) and told in COLUMNS:
            alone.append((name, COLUMNS[told]))
        elif _marked(told):
            within.append(name)

    def fill(row: t.Sequence[str]) -> Entry:
        entry = dict(template)
        for name, column in alone:
            if column < len(row) and row[column]:
                entry[name] = row[column]
        if within:
            pairs = pairs_of(row, back=True)
            for name in within:
                entry[name] = replace(entry[name], pairs)
        return entry

    return fill


def _marked(value: t.Any) -> bool:
    if isinstance(value, str):
        return MARKS[0] in value or MARKS[1] in value
    return any(map(_marked, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


def to_bits(places: t.Container[int], size: int) -> int:
    return int("".join("1" if place in places else "0" for place in range(size - 1, -1, -1)) or "0", 2)


def to_places(bits: int) -> list[int]:
    digits = bin(bits)[:1:-1]
    places, place = [], digits.find("1")
    while place >= 0:
        places.append(place)
        place = digits.find("1", place + 1)
    return places


def count(bits: int) -> int:
    return bin(bits).count("1")


def value_at(entry: t.Any, path: Path) -> t.Any:
    for name in path:
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry


class Table:
    """The rows that nodes answer by, once for all nodes that were told the same ones."""

    def __init__(self, rows: Rows) -> None:
        if not all(isinstance(text, str) for row in rows for text in row):
            raise TypeError("a table holds something that is no text")
        self.rows = rows
        self.all = (1 << len(rows)) - 1
        self._anchors: dict[tuple[int, ...], dict[Row, int]] = {}
        self._shifts: dict[tuple[int, ...], dict[int, int]] = {}
        self.known: dict[t.Any, t.Any] = {}

    def once(self, key: t.Any, make: t.Callable[[], t.Any]) -> t.Any:
        """What was worked out from the table under this key, once."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def anchors(self, columns: tuple[int, ...]) -> dict[Row, int]:
        """The first place of each value of some columns."""
        if columns not in self._anchors:
            found: dict[Row, int] = {}
            shifts: dict[int, int] = {}
            for place, row in enumerate(self.rows):
                first = found.setdefault(tuple(row[column] for column in columns), place)
                shifts[place - first] = shifts.get(place - first, 0) | 1 << place
            self._anchors[columns], self._shifts[columns] = found, shifts
        return self._anchors[columns]

    def folded(self, bits: int, columns: tuple[int, ...]) -> t.Iterator[int]:
        """The bits of rows as those of the first places of their values; a value that is there more than once is in several of the results."""
        self.anchors(columns)
        for shift, mask in self._shifts[columns].items():
            part = (bits & mask) >> shift
            if part:
                yield part


class Shape:
    """What entries have in common that differ only in the values of a row."""

    def __init__(self, template: Entry, table: Table) -> None:
        self.template, self.table = template, table
        self._fill = filler(template)
        self._made: dict[int, Entry] = {}
        self._known: dict[t.Any, t.Any] = {}

    def once(self, key: t.Any, make: t.Callable[[], t.Any]) -> t.Any:
        """What was worked out from the shape under this key, once."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def entry(self, place: int) -> Entry:
        if place not in self._made:
            self._made[place] = self.make(place)
        return self._made[place]

    def make(self, place: int) -> Entry:
        return self._fill(self.table.rows[place])

    def fixed(self, path: Path) -> bool:
        """Whether all entries have the same value there."""
        text = json.dumps(value_at(self.template, path), ensure_ascii=False)
        return "\\u0000" not in text and "\\u0001" not in text

    def column(self, path: Path) -> int | None:
        """The column whose value stands there alone."""
        told = value_at(self.template, path)
        width = len(self.table.rows[0]) if self.table.rows else 0
        return next((column for column in range(width) if told == f"{MARKS[0]}{column}{MARKS[0]}"), None)

    def places(self, path: Path, value: str) -> list[int]:
        """The rows whose entries have the value there."""

        def index() -> dict[str, list[int]]:
            told = value_at(self.template, path)
            found: dict[str, list[int]] = {}
            for place, row in enumerate(self.table.rows):
                text = replace(told, pairs_of(row, back=True))
                if isinstance(text, str):
                    found.setdefault(text, []).append(place)
            return found

        return t.cast("dict[str, list[int]]", self.once(("places", path), index)).get(value, [])

    def bits(self, key: t.Any, test: t.Callable[[Entry], bool]) -> int:
        """The rows whose entries pass a test. key: names the test; each is made once."""
        size = len(self.table.rows)
        return t.cast(int, self.once(("bits", key), lambda: to_bits({place for place in range(size) if test(self.make(place))}, size)))


class Entries(Sequence[Entry]):
    """Shapes with the bits of the rows that they are there for, and few entries as they are."""

    def __init__(self, wide: t.Sequence[tuple[Shape, int]], few: t.Sequence[Entry]) -> None:
        self.wide, self.few = tuple(wide), few
        self._index: dict[Path, dict[str, list[Entry]]] = {}

    def __len__(self) -> int:
        return sum(count(bits) for _shape, bits in self.wide) + len(self.few)

    def __iter__(self) -> t.Iterator[Entry]:
        for shape, bits in self.wide:
            for place in to_places(bits):
                yield shape.entry(place)
        yield from self.few

    def __getitem__(self, place: t.Any) -> t.Any:
        return list(self)[place]

    def where(self, path: Path, value: str) -> list[Entry]:
        """The entries that have a text in this place."""
        found = [shape.entry(place) for shape, bits in self.wide for place in shape.places(path, value) if bits >> place & 1]
        if path not in self._index:
            index: dict[str, list[Entry]] = {}
            for entry in self.few:
                text = value_at(entry, path)
                if isinstance(text, str):
                    index.setdefault(text, []).append(entry)
            self._index[path] = index
        return found + self._index[path].get(value, [])

    def having(self, path: Path, test: t.Callable[[t.Any], bool]) -> Entries:
        """Those whose value in this place passes the test."""
        wide, few = [], []
        for shape, bits in self.wide:
            if not shape.fixed(path):
                few += [entry for entry in map(shape.entry, to_places(bits)) if test(value_at(entry, path))]
            elif test(value_at(shape.template, path)):
                wide.append((shape, bits))
        return Entries(wide, few + [entry for entry in self.few if test(value_at(entry, path))])


def plain(value: t.Any) -> t.Any:
    """The value with all entries made."""
    if isinstance(value, Entries):
        return list(value)
    return {name: plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value
