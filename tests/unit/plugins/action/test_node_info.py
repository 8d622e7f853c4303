# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _packing
from ansible_collections.podnet.doctor.plugins.plugin_utils import _node_action, _pyroute2_zip

ROOT = Path(__file__).resolve().parents[4]
SSH = """#!/bin/sh
# Counts its calls, takes the options of a real ssh and runs the command here.
for last; do :; done
echo "$last" >> "{log}"
exec env -i PATH="$PATH" HOME="{home}" TMPDIR="{home}/tmp" PYTHONDONTWRITEBYTECODE=1 sh -c "$last"
"""
PYTHON = """#!/bin/sh
exec "{python}" -S "$@"
"""


class Task:
    """What the action looks at."""

    def __init__(self, args: dict[str, t.Any]) -> None:
        self.args = args


@pytest.mark.parametrize(("name", "host"), [("node_info", "k8s01"), ("route_info", None), ("veth_info", None), ("path_probe", None)])
def test_pyroute2_travels(monkeypatch: pytest.MonkeyPatch, name: str, host: str | None) -> None:
    module = __import__(f"ansible_collections.podnet.doctor.plugins.action.{name}", fromlist=["ActionModule"])
    action = object.__new__(module.ActionModule)
    action._task = Task({"timeout": 3})
    arguments = action.arguments({"inventory_hostname": "k8s01"})
    assert arguments["timeout"] == 3 and arguments["pyroute2"] == _pyroute2_zip.archive()
    assert arguments.get("host") == host
    assert action._task.args == {"timeout": 3}
    action._task = Task({"pyroute2": "own", "host": "other"})
    assert action.arguments({})["pyroute2"] == "own"


def test_one_module_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, t.Any]] = []
    action = object.__new__(_node_action.NodeAction)
    action._task = Task({})
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})
    monkeypatch.setattr(action, "_execute_module", lambda **options: calls.append(options) or {"changed": False}, raising=False)
    assert action.run(None, {"a": 1}) == {"changed": False}
    assert len(calls) == 1 and calls[0]["task_vars"] == {"a": 1}


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: reads network namespaces")
def test_one_ssh_exec_and_nothing_left(tmp_path: Path) -> None:
    """A node without pyroute2: one SSH exec, and no file stays behind."""
    log, home = tmp_path / "log", tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    for name, text in {"ssh": SSH.format(log=log, home=home), "python": PYTHON.format(python=getattr(sys, "_base_executable", sys.executable))}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod((tmp_path / name).stat().st_mode | stat.S_IXUSR)
    inventory = {
        "all": {
            "hosts": {
                "node": {
                    "ansible_connection": "ssh",
                    "ansible_ssh_executable": str(tmp_path / "ssh"),
                    "ansible_python_interpreter": str(tmp_path / "python"),
                    "ansible_pipelining": True,
                    "ansible_ssh_use_tty": False,
                },
            },
        },
    }
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    before = listing(home)
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(ROOT / "build" / "collections"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }
    ansible = Path(sys.executable).with_name("ansible")
    if not ansible.exists():
        pytest.skip("no ansible command beside this Python")
    command = [str(ansible), "-i", str(tmp_path / "inventory.json"), "node", "-m", "podnet.doctor.node_info", "-a", json.dumps({"packed": True})]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    result = json.loads(done.stdout.split("=>", 1)[1])
    document = _packing.unpack(result["packed"])
    hidden = {"calico", "flannel", "network_manager"}  # whoever runs this may be kept from processes of this machine, and then these cannot be told
    assert set(result["errors"]) <= hidden and document["links"] and document["rules"] and document["host"] == "node"
    assert len(log.read_text().splitlines()) == 1
    assert listing(home) == before
