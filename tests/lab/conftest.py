"""What the lab's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks a recorded cluster by its name."""
    place = Path(os.environ.get("PODNET_CAPTURES") or ROOT.parent / "shared" / "captures")
    target = tmp_path_factory.mktemp("captures")

    def get(name: str) -> Path:
        if (place / name / "about.json").exists():
            return place / name
        if not (place / f"{name}.tar.gz").exists():
            pytest.skip(f"no recorded cluster {name} in {place} (set PODNET_CAPTURES)")
        if not (target / name).exists():
            subprocess.run([sys.executable, str(place / "unpack"), str(target), name], check=True)
        return target / name

    return get


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the state of this module's labs."""
    folder = tmp_path_factory.mktemp("labs") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODNET_LAB_STATE", str(folder))
        yield folder
