"""Running the lab's command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces, so this test needs root")


def unique(name: str) -> str:
    """A lab's name that no other run of the tests uses."""
    return f"{name}{os.getpid()}"


def lab(*arguments: str, check: bool = True) -> str:
    """python -m lab ..."""
    command = [sys.executable, "-m", "lab", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if check and arguments[0] == "up" and done.returncode:  # a busy machine gets a second chance, and the first is shown
        print(f"{arguments}, at the first try: {done.stdout}{done.stderr}", file=sys.stderr)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if check:
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr
