# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import textwrap
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _pyroute2
from ansible_collections.podnet.doctor.plugins.plugin_utils._pyroute2_zip import archive

PREFIX = "ansible_collections.podnet.doctor.plugins.module_utils"


def isolated(code: str, stdin: str = "", python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Python without any installed library."""
    folder = next(path for path in map(str, t.cast("t.Any", sys.modules["ansible_collections"]).__path__))
    program = f"import sys\nsys.path.insert(0, {os.path.dirname(folder)!r})\n" + textwrap.dedent(code)
    return subprocess.run([python, "-I", "-S", "-c", program], input=stdin, capture_output=True, text=True, check=False)


READ = f"""
from {PREFIX} import _links, _pyroute2
from {PREFIX}._deadline import Deadline
from {PREFIX}._netlink import Rtnetlink
print(_pyroute2.load(sys.stdin.read()))
with Rtnetlink(Deadline(5)) as kernel:
    payloads = _links.dump(kernel)
    index = _links.indexes(payloads)
    print([link["ifname"] for link in _links.links(payloads, index)][0], len(_links.rules(kernel)) > 2, _links.addresses(kernel, index)[0]["local"])
import pyroute2
print(pyroute2.__spec__.origin)
"""


def test_from_memory() -> None:
    done = isolated(READ, archive() or "")
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["archive", "lo True 127.0.0.1", "memory:pyroute2/__init__.py"]


def test_oldest_python() -> None:
    found = sorted(Path.home().glob(".pyenv/versions/3.9*/bin/python"))
    if not found:
        pytest.skip("no Python 3.9 here")
    done = isolated(READ, archive() or "", str(found[0]))
    assert (done.stderr, done.stdout.splitlines()[:2]) == ("", ["archive", "lo True 127.0.0.1"])


def test_missing() -> None:
    done = isolated(f"from {PREFIX} import _pyroute2\ntry:\n    _pyroute2.load('')\nexcept _pyroute2.Missing as error:\n    print(error)")
    assert done.stdout == "pyroute2 is not installed for this Python, and no copy came with the call\n"


def test_installed_without_its_init() -> None:
    """The installed package is used, but not everything in it imported; who asks it for more gets it."""
    code = """
        from ansible_collections.podnet.doctor.plugins.module_utils import _pyroute2
        print(_pyroute2.load(), _pyroute2.decoder("link") is not None, "pyroute2.ndb" in sys.modules)
        from pyroute2 import IPRoute
        print(IPRoute.__name__)
    """
    folder = os.path.dirname(next(iter(t.cast("t.Any", sys.modules["ansible_collections"]).__path__)))
    program = f"import sys\nsys.path.insert(0, {folder!r})\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "installed True False\nIPRoute\n")


def test_archive_is_slim_and_stable() -> None:
    packed = archive()
    assert packed is not None and len(packed) < 100_000
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))).namelist()
    assert "pyroute2/netlink/rtnl/ifinfmsg/__init__.py" in names and not any("ndb" in name for name in names)
    archive.cache_clear()
    assert archive() == packed


def test_importer_knows_only_its_own() -> None:
    importer = _pyroute2.ArchiveImporter(base64.b64decode(archive() or ""))
    assert importer.find_spec("os") is None and importer.get_source("os") is None
    spec = importer.find_spec("pyroute2.netlink")
    assert spec is not None and spec.submodule_search_locations is not None
