# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: documents as files.

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import tempfile
import typing as t


def file_of(host: str) -> str:
    """The file, in the folder of what is asked in an audit, for one host of the inventory."""
    return hashlib.sha256(host.encode()).hexdigest()[:32] + ".json"


def write(document: t.Any, folder: str, name: str) -> str:
    """Write folder/name.json, as write_bytes does."""
    return write_bytes(f"{json.dumps(document, indent=1)}\n".encode(), folder, f"{name}.json")


def write_bytes(content: bytes, folder: str, name: str) -> str:
    """Write folder/name whole or not at all, readable by its owner only: it tells names and addresses of a cluster. Returns its path. Errors: OSError."""
    directory = pathlib.Path(folder).expanduser()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    relative = os.path.relpath(target)
    return str(target) if relative.startswith("..") else relative
