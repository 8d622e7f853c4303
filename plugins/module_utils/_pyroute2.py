# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The message classes of pyroute2: the installed ones, or a slim copy that came as an argument of the module.

Only the classes that decode rtnetlink messages are used, not pyroute2's sockets: their import is a quarter as long, and the
sockets of this collection know its deadline and work in any thread's network namespace.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import base64
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import struct
import sys
import types
import typing as t
import zipfile

OLDEST = (0, 9)
_HEADER = struct.Struct("=IHHII")
MESSAGES = {"link": ("pyroute2.netlink.rtnl.ifinfmsg", "ifinfmsg")}


class Missing(Exception):
    """There is no pyroute2 to decode with."""


class ArchiveImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports pyroute2 from a zip archive in memory, so that nothing is written to the node's disk."""

    def __init__(self, archive: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(archive))
        self._names = frozenset(self._archive.namelist())

    def _file(self, fullname: str) -> tuple[str, bool] | None:
        stem = fullname.replace(".", "/")
        for name, package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if name in self._names:
                return name, package
        return None

    def find_spec(
        self,
        fullname: str,
        path: t.Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the import protocol."""
        file = self._file(fullname)
        if file is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=f"memory:{file[0]}", is_package=file[1])

    def get_source(self, fullname: str) -> str | None:
        """Part of the import protocol."""
        file = self._file(fullname)
        return None if file is None else self._archive.read(file[0]).decode("utf-8")


def _without_its_init(spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
    """The installed package with its __init__ (which imports everything) left for whoever asks it for an attribute."""
    package = importlib.util.module_from_spec(spec)

    def on_demand(name: str) -> t.Any:
        if not name.startswith("__") and importlib.util.find_spec(f"{spec.name}.{name}") is None:
            package.__dict__.pop("__getattr__", None)
            if spec.loader is not None:
                spec.loader.exec_module(package)
            return getattr(package, name)
        raise AttributeError(name)

    package.__dict__["__getattr__"] = on_demand
    return package


def _version(spec: importlib.machinery.ModuleSpec) -> tuple[int, ...]:
    for folder in spec.submodule_search_locations or []:
        try:
            with open(f"{folder}/config/version.py", encoding="utf-8") as file:
                text = file.read().rpartition("=")[2].strip(" \n\"'")
        except OSError:
            continue
        return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    return ()


def load(archive: str | None = None) -> str:
    """Make pyroute2 importable; returns where it comes from (``installed`` or ``archive``)."""
    if "pyroute2" in sys.modules:
        return "installed" if getattr(sys.modules["pyroute2"], "__file__", None) else "archive"
    try:
        spec = importlib.util.find_spec("pyroute2")
    except (ImportError, ValueError):
        spec = None
    if spec is not None and (not archive or _version(spec) >= OLDEST):
        sys.modules["pyroute2"] = _without_its_init(spec)
        return "installed"
    if not archive:
        raise Missing("pyroute2 is not installed for this Python, and no copy came with the call")
    sys.meta_path.insert(0, ArchiveImporter(base64.b64decode(archive)))
    return "archive"


def decoder(kind: str) -> t.Callable[[bytes], t.Any]:
    """A function from the payload of a message of this kind to pyroute2's decoded message."""
    load()
    module, name = MESSAGES[kind]
    try:
        message = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Missing(f"pyroute2 cannot be used here: {error}") from error

    def decode(payload: bytes) -> t.Any:
        decoded = message(_HEADER.pack(len(payload) + 16, 0, 0, 0, 0) + payload)
        decoded.decode()
        return decoded

    return decode
