# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for all integration tests, and playbooks run against it as a user runs them: over SSH, in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.running import Running

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclass
class Run:
    code: int
    screen: str
    reports: list[dict[str, t.Any]]

    @property
    def report(self) -> dict[str, t.Any]:
        assert len(self.reports) == 1, self.screen
        return self.reports[0]

    @property
    def last(self) -> dict[str, t.Any]:
        return self.reports[-1]


class Site:
    """The lab as its operator sees it."""

    def __init__(self, lab: t.Any, folder: pathlib.Path) -> None:
        self.lab, self.folder = lab, folder
        self.inventory = lab.folder / "inventory.yml"
        self.kubeconfig = lab.folder / "kubeconfig"

    def play(self, playbook: str | pathlib.Path, *arguments: str, environment: dict[str, str] | None = None, **variables: t.Any) -> Run:
        reports = self.folder / "reports"
        before = set(reports.glob("*.json"))
        variables.setdefault("podnet_report_dir", str(reports))
        program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        command = [program, str(playbook), "-i", str(self.inventory), *arguments, "-e", json.dumps(variables)]
        process = subprocess.run(
            command,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
                "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
                "KUBECONFIG": str(self.kubeconfig),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        new = sorted(set(reports.glob("*.json")) - before, key=lambda path: path.stat().st_mtime_ns)
        documents = [json.loads(path.read_text()) for path in new if not path.name.startswith("plan-")]
        return Run(process.returncode, process.stdout + process.stderr, documents)

    @contextlib.contextmanager
    def started(self, playbook: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
        """A playbook that runs in a process group of its own, and what it prints."""
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), str(playbook), "-i", str(self.inventory)]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                       "ANSIBLE_PIPELINING": "1"}  # fmt: skip
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def diagnose(self, source: str = "shop/web-0", destination: str = "shop/api-0:8080", *arguments: str, **variables: t.Any) -> Run:
        return self.play("podnet.doctor.diagnose", *arguments, source=source, destination=destination, **variables)

    def remediate(self, source: str, destination: str, *arguments: str, **variables: t.Any) -> Run:
        return self.play("podnet.doctor.remediate", *arguments, source=source, destination=destination, **variables)


@pytest.fixture(scope="session")
def running():
    with Running("itest", "ipip") as here:
        yield here


@pytest.fixture
def lab(running):
    return running.healthy()


@pytest.fixture
def site(lab, tmp_path):
    return Site(lab, tmp_path)
