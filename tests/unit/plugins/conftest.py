# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of collectors share: throw-away network namespaces and the recorded clusters."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
import uuid
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.tests.unit import recorded


class Namespace:
    """A network namespace of the real kernel with a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"

    def ip(self, *words: str) -> str:
        """``ip -n <name> ...``; one word with spaces is split."""
        words = tuple(words[0].split()) if len(words) == 1 else words
        done = subprocess.run(["ip", "-n", self.name, *words], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def offer(self, line: str) -> bool:
        """As ``ip``, but False instead of an error, for what not every kernel has."""
        return subprocess.run(["ip", "-n", self.name, *line.split()], check=False, capture_output=True).returncode == 0

    def json(self, *words: str) -> t.Any:
        """``ip -n <name> -d -s -j ...``."""
        return json.loads(self.ip("-d", "-s", "-j", *words) or "[]")

    def run(self, *words: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        return subprocess.run(["ip", "netns", "exec", self.name, *words], capture_output=True, text=True, check=False, **options)

    def sysctl(self, name: str, value: str) -> None:
        """Set a sysctl by its path below /proc/sys."""
        self.run("sh", "-c", 'echo "$1" > "/proc/sys/$2"', "sh", value, name)

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """A process that stays inside until the test ends."""
        return subprocess.Popen(["nsenter", f"--net={self.path}", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def namespaces() -> t.Iterator[t.Callable[[], Namespace]]:
    """Makes network namespaces and takes them away again."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    made: list[Namespace] = []

    def make() -> Namespace:
        space = Namespace(f"col-{uuid.uuid4().hex[:8]}")
        subprocess.run(["ip", "netns", "add", space.name], check=True)
        made.append(space)
        space.ip("link set lo up")
        return space

    try:
        yield make
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space.name], check=False)


@pytest.fixture(scope="session")
def captures() -> t.Callable[..., Path]:
    """Opens recorded clusters by name (all of them without a name) and returns the folder that holds them."""

    def unpack(*names: str) -> Path:
        wanted = names or tuple(recorded.names())
        if not wanted:
            pytest.skip(recorded.ABSENT)
        for name in wanted:
            folder = recorded.unpacked(name).parent
        return folder

    return unpack
