# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _screen


class Display:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain → text ü", "plain → text ü"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\nc\td\x00", "a\\x0db\\x0ac\\x09d\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\ud800", "\\ud800"),
        (None, "None"),
    ],
)
def test_printable(hostile: object, shown: str) -> None:
    assert _screen.printable(hostile) == shown


@given(st.text(alphabet=st.characters()))
def test_property_printable_is_stable_and_can_be_written(text: str) -> None:
    once = _screen.printable(text)
    assert _screen.printable(once) == once
    assert "\n" not in once and "\x1b" not in once
    once.encode("utf-8")


@pytest.mark.parametrize(("ours", "printed"), [(True, []), (False, ["one", "two\\x07"])])
def test_lines_are_printed_once(monkeypatch: pytest.MonkeyPatch, ours: bool, printed: list[str]) -> None:
    monkeypatch.setattr(_screen, "screen_is_ours", lambda: ours)
    result: dict[str, Any] = {}
    display = Display()
    _screen.show(result, ["one", "two\x07"], display)
    assert display.lines == printed
    assert result == {"podnet_screen": ["one", "two\\x07"], "podnet_screen_shown": not ours}


def test_the_configured_callback_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible import constants

    for name, ours in (("podnet.doctor.screen", True), ("default", False), ("awx_display", False)):
        monkeypatch.setattr(constants.config, "get_config_value", lambda key, name=name: name)
        assert _screen.screen_is_ours() is ours
