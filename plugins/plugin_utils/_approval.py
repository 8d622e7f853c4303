# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: approval by a policy that somebody wrote before (`podnet_auto_approve`), as data.

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ._json import Json
from ._question import BadQuestion

CLASSES = ("R1", "R2")
LISTS = ("classes", "causes", "not_causes", "nodes", "not_nodes")
HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])\Z")
FORM = "podnet_auto_approve is a list of classes ([R1]), or has classes, causes, not_causes, nodes, not_nodes (lists) and hours (22:00-06:00)"


@dataclass(frozen=True)
class Policy:
    """What needs no further approval. causes, nodes: None allows all. hours: minutes of the day, from and to, in the controller's time."""

    classes: tuple[str, ...] = ()
    causes: tuple[str, ...] | None = None
    not_causes: tuple[str, ...] = ()
    nodes: tuple[str, ...] | None = None
    not_nodes: tuple[str, ...] = ()
    hours: tuple[int, int] | None = None

    @classmethod
    def of(cls, raw: Json) -> Policy:
        """From what was given. Errors: BadQuestion."""
        if not raw:
            return cls()
        if isinstance(raw, list):
            raw = {"classes": raw}
        if not isinstance(raw, Mapping) or not set(raw) <= {*LISTS, "hours"}:
            raise BadQuestion(FORM)
        lists: dict[str, tuple[str, ...]] = {}
        for name in LISTS:
            if name in raw:
                if not isinstance(raw[name], list) or not all(isinstance(entry, str) for entry in raw[name]):
                    raise BadQuestion(f"{name} of podnet_auto_approve is no list of names; {FORM}")
                lists[name] = tuple(raw[name])
        wrong = [entry for entry in lists.get("classes", ()) if entry not in CLASSES]
        if wrong:
            raise BadQuestion(f"podnet_auto_approve: {wrong[0]} can be approved by nobody beforehand; only {' and '.join(CLASSES)} can")
        return cls(**lists, hours=_hours(raw.get("hours")))

    def objections(self, actions: Sequence[Mapping[str, Json]], now: datetime.datetime) -> list[str]:
        """Why these actions, all of them, are not approved; empty: they are."""
        if not self.classes:
            return ["no policy approves anything beforehand"]
        found = []
        if self.hours is not None and not _within(now.hour * 60 + now.minute, self.hours):
            found.append(f"it is {now:%H:%M}, outside of the hours that the policy names")
        for action in actions:
            what, cause, node = f"step {action['id']}", str(action["cause"]), str(action["node"])
            if action["class"] == "R0":  # to wait needs no approval
                continue
            if action["class"] not in self.classes:
                found.append(f"{what} is {action['class']}, the policy approves {', '.join(self.classes)}")
            if cause in self.not_causes or (self.causes is not None and cause not in self.causes):
                found.append(f"{what}: the policy does not approve the repair of {cause}")
            if node in self.not_nodes or (self.nodes is not None and node not in self.nodes):
                found.append(f"{what}: the policy does not approve repairs on {node or 'the cluster as a whole'}")
        return found


def _hours(raw: Json) -> tuple[int, int] | None:
    if raw is None:
        return None
    match = HOURS.match(raw) if isinstance(raw, str) else None
    if match is None:
        raise BadQuestion(f"hours of podnet_auto_approve is {raw!r}, not like 22:00-06:00")
    begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
    return begin_hour * 60 + begin_minute, end_hour * 60 + end_minute


def _within(minute: int, hours: tuple[int, int]) -> bool:
    begin, end = hours
    return begin <= minute < end if begin <= end else minute >= begin or minute < end
