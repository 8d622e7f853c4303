# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes, read_if_there


def test_a_process_that_may_not_be_looked_at_is_not_one_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "7" / "ns").mkdir(parents=True)
    real = os.readlink

    def refused(path, *rest, **named):
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "readlink", refused)
    found = Processes(str(tmp_path), own=1)
    with pytest.raises(PermissionError):
        found.find(lambda argv: True)


def test_a_file_is_there_or_not_or_may_not_be_read(tmp_path, monkeypatch):
    assert read_if_there(str(tmp_path / "none")) is None
    assert read_if_there(str(tmp_path / "none" / "below")) is None
    (tmp_path / "some").write_text("text", encoding="utf-8")
    assert read_if_there(str(tmp_path / "some")) == "text"
    assert read_if_there(str(tmp_path / "some" / "below")) is None
    with pytest.raises(IsADirectoryError):
        read_if_there(str(tmp_path))
