# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a module through its main() and returns what it prints; inside of a network namespace if one is given."""
    testing = pytest.importorskip("ansible.module_utils.testing", reason="needs ansible-core 2.19 to run modules in tests")

    def one(module: t.Any, arguments: dict[str, t.Any] | None = None, where: t.Any = None, check: bool = False, changes: bool = False) -> dict[str, t.Any]:
        given = {**(arguments or {}), "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}

        def call() -> None:
            with testing.patch_module_args(given), pytest.raises(SystemExit):
                module.main()

        capfd.readouterr()
        if where is None:
            call()
        else:
            inside(where.path, call, Deadline(60))
        out, err = capfd.readouterr()
        assert all(line.startswith("[WARNING]") for line in err.splitlines()), err
        result: dict[str, t.Any] = json.loads(out)
        assert result.get("changed", False) is changes
        return result

    return one


@pytest.fixture
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were not root."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
