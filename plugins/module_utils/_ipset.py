# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of ``ipset save``: any text gives sets, and what is not understood is counted.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import typing as t


def parse(text: str) -> list[dict[str, t.Any]]:
    """Each set as {name, type, family, members}; a member is a line's rest without its time-out and counters.

    unknown: how many lines about a set were not understood. A set with such lines may hold more than its members.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 3 and words[0] == "create":
            options = dict(zip(words[3:], words[4:]))
            found[words[1]] = {"name": words[1], "type": words[2], "family": options.get("family", "inet"), "members": []}
        elif len(words) >= 3 and words[0] == "add" and words[1] in found:
            found[words[1]]["members"].append(" ".join([words[2], *(["nomatch"] if "nomatch" in words[3:] else [])]))
        elif words and len(words) >= 2 and words[1] in found:
            found[words[1]]["unknown"] = found[words[1]].get("unknown", 0) + 1
    return list(found.values())
