# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module_utils is PRIVATE to the collection. It may change without notice.
"""What an action wants the operator to read, and how it gets to the screen.

An action puts its lines into its result under C(podnet_screen). The callback P(podnet.doctor.screen#callback) prints
them; under every other callback the action prints them itself and says so with C(podnet_screen_shown).
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, MutableMapping

CALLBACK = "podnet.doctor.screen"
LINES = "podnet_screen"
SHOWN = "podnet_screen_shown"

# Control characters, what turns the direction of text, line separators, invisible marks, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(text: object) -> str:
    """The text as one line in which nothing can move the cursor, colour the screen or hide: C(\\x1b) instead of Escape."""
    return _UNPRINTABLE.sub(_visible, str(text))


def screen_is_ours() -> bool:
    """Whether the callback of this collection prints this run."""
    from ansible import constants

    return str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")) == CALLBACK


def show(result: MutableMapping[str, t.Any], lines: Iterable[str], display: t.Any) -> None:
    """Put lines into an action's result, and print them unless the callback will."""
    safe = [printable(line) for line in lines]
    result[LINES] = safe
    result[SHOWN] = not screen_is_ours()
    if result[SHOWN]:
        for line in safe:
            display.display(line)
