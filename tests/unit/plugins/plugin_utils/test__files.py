# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _files


def test_whole_and_only_for_its_owner(tmp_path, monkeypatch):
    old = os.umask(0)
    try:
        path = _files.write({"a": "ü"}, str(tmp_path / "new" / "folder"), "7f3a")
    finally:
        os.umask(old)
    target = tmp_path / "new" / "folder" / "7f3a.json"
    assert path == str(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text()) == {"a": "ü"}
    assert [one.name for one in target.parent.iterdir()] == ["7f3a.json"]
    monkeypatch.chdir(tmp_path)
    assert _files.write({}, "new/folder", "7f3a") == "new/folder/7f3a.json"


def test_what_was_there_stays_if_writing_fails(tmp_path, monkeypatch):
    _files.write({"old": True}, str(tmp_path), "x")

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        _files.write({"new": True}, str(tmp_path), "x")
    monkeypatch.undo()
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": True}
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_a_document_that_is_none_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        _files.write({"a": object()}, str(tmp_path), "x")
    assert list(tmp_path.iterdir()) == []
