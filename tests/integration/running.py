# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab that is healthy whenever a test begins: one that a failed test has left broken is replaced, so that one failure stays one."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from types import TracebackType

import pytest

from lab.cluster import Lab
from lab.errors import LabError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def say(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)


class Running:
    """Takes its lab down at the end of the `with`."""

    def __init__(self, purpose: str, mode: str, nodes: int = 3, options: tuple[str, ...] = ()) -> None:
        self.name, self.mode = f"{purpose}{os.getpid() % 10000}", mode
        self.options = options
        self.nodes = nodes
        self.up = False

    def __enter__(self) -> Running:
        if os.geteuid() != 0:
            pytest.skip("needs root: the lab is made of network namespaces")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lab("down")

    def _lab(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "lab", *words, "--name", self.name], cwd=ROOT, capture_output=True, text=True, check=False)

    def breaks(self, fault: str) -> None:
        """A fault that lasts as long as the lab."""
        done = self._lab("fault", fault)
        assert done.returncode == 0, done.stdout + done.stderr

    def take_down(self) -> None:
        """What a test broke for good goes away; the next one gets a new lab."""
        self._lab("down")
        self.up = False

    def healthy(self) -> Lab:
        if self.up:
            lab = Lab.load(self.name)
            try:
                lab.wait_healthy(30)
                return lab
            except LabError as error:
                say(f"the last test left its lab broken, so there is a new one: {error}")
                self.take_down()
        for attempt in (1, 2):
            done = self._lab("up", "--mode", self.mode, "--nodes", str(self.nodes), *self.options)
            self.up = done.returncode == 0
            if self.up:
                break
            say(f"attempt {attempt}: the lab did not come up:\n{done.stdout}{done.stderr}")
        assert self.up, done.stdout + done.stderr
        return Lab.load(self.name)
