# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` without a container.

It wants to stand in `ansible_collections/podnet/doctor` of a git repository, and takes every Python that it finds on
PATH. So: a copy of the tree, a folder of interpreters that really work, and a home folder of its own, which keeps its
virtual environments from run to run and leaves the user's files alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "sanity"
HOME = ROOT / "build" / "ansible-test"
TREE = WORK / "ansible_collections" / "podnet" / "doctor"
VERSIONS = [f"3.{minor}" for minor in range(9, 14)]

# ansible-test fills its virtual environments with the help of a script that it would download otherwise.
BOOTSTRAP = """\
import subprocess
import sys

words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--upgrade"] + words))
"""


def works(python: Path, version: str) -> bool:
    """A version manager's stand-in may exist and fail; a Debian Python may have no venv."""
    code = "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() == version


def interpreters(folder: Path) -> list[str]:
    """Fill the folder with links to one working interpreter of each version."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for version in VERSIONS:
        name = f"python{version}"
        candidates = sorted(managed.glob(f"{version}.*/bin/{name}"), reverse=True)
        candidates += [Path(entry) / name for entry in os.get_exec_path() if ".venv" not in entry]
        for candidate in candidates:
            if candidate.exists() and works(candidate, version):
                (folder / name).symlink_to(candidate.resolve())
                found.append(version)
                break
    return found


def pip_settings() -> str:
    """ansible-test passes no PIP_ variables on, but pip reads a file in its home."""
    settings = [
        f"{key[4:].lower().replace('_', '-')} = {value}"
        for key, value in sorted(os.environ.items())
        if key.startswith("PIP_") and key != "PIP_QUIET" and "\n" not in value
    ]
    return "\n".join(["[global]", "quiet = 1", *settings, ""])


def prepare() -> dict[str, str]:
    subprocess.run([str(ROOT / "tests" / "tools" / "copy_collection.sh"), str(TREE)], cwd=ROOT, check=True)
    subprocess.run(["git", "init", "--quiet"], cwd=TREE, check=True)
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "get_pip_24_2.py").write_text(BOOTSTRAP)
    pip = HOME / ".config" / "pip" / "pip.conf"
    pip.parent.mkdir(parents=True, exist_ok=True)
    pip.write_text(pip_settings())
    found = interpreters(WORK / "bin")
    print("interpreters:", ", ".join(found))
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON", "PYENV"))}
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    path = f"{WORK / 'bin'}:{Path(sys.executable).parent}:{system}"
    return {**keep, "HOME": str(HOME), "PATH": path, "LC_ALL": "C.UTF-8"}


def main() -> int:
    for ignore in (ROOT / "tests" / "sanity").glob("ignore*"):
        print(f"{ignore} must not exist: a problem is repaired, not ignored", file=sys.stderr)
        return 1
    environment = prepare()
    command = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--color", "no", *sys.argv[1:]]
    return subprocess.run(command, cwd=TREE, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
