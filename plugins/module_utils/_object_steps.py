# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request that changes an object of the API, and what undoes it, as plain data.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import typing as t

Params = t.Mapping[str, t.Any]
Step = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


class Refused(Exception):
    """The object is not changed; the text says why."""


class Unfinished(Exception):
    """The object was changed, and what follows from it has not happened in time; the text says how far it is."""


class State(t.NamedTuple):
    """What was found, and the one request that changes it; None: it is as it must be. `back` is what undoes it."""

    before: str
    after: str
    step: Step | None
    back: list[Step]


AS_IT_MUST_BE = State("", "", None, [])


def text_of(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the parameter {name} is missing")
    return value


def part_of(value: t.Any, name: str) -> dict[str, t.Any]:
    found = value.get(name) if isinstance(value, t.Mapping) else None
    return found if isinstance(found, dict) else {}
