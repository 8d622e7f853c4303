# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the controller's pyroute2 as a small archive that travels inside a module call.

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import os
import re
import zipfile
from collections.abc import Iterator

from ansible_collections.podnet.doctor.plugins.module_utils._pyroute2 import MESSAGES

TEXT = re.compile(r'("""|\'\'\').*?\1', re.DOTALL)
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^(\n#]+)|import[ \t]+(?P<modules>[^\n#;]+))", re.MULTILINE)
COMMENT = re.compile(r"#.*")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same archive at every run


def _file(folder: str, name: str) -> str | None:
    """The file of a module of pyroute2, relative to the folder that holds the package."""
    stem = name.replace(".", "/")
    return next((file for file in (f"{stem}/__init__.py", f"{stem}.py") if os.path.isfile(os.path.join(folder, file))), None)


def _imports(source: str, name: str, is_package: bool) -> Iterator[str]:
    """The modules of pyroute2 that a module imports, also those that may turn out to be attributes. (ast would take ten times as long.)"""
    package = name if is_package else name.rpartition(".")[0]
    for found in IMPORT.finditer(TEXT.sub("", source)):
        if found["modules"]:
            yield from (word.split()[0] for word in found["modules"].split(",") if word.strip())
            continue
        level = len(found["base"]) - len(found["base"].lstrip("."))
        base = found["base"][level:]
        if level:
            parts = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*parts, base] if base else parts)
        yield base
        yield from (f"{base}.{word.split()[0]}" for word in COMMENT.sub("", found["names"]).strip("()").split(",") if word.strip())


def _closure(folder: str) -> dict[str, str]:
    """File name -> source of all that the message classes need; pyroute2's own __init__ (which imports everything) stays empty."""
    found = {"pyroute2/__init__.py": ""}
    waiting = [module for module, _name in MESSAGES.values()]
    seen = {"pyroute2"}
    while waiting:
        name = waiting.pop()
        if name in seen or not name.startswith("pyroute2."):
            continue
        seen.add(name)
        file = _file(folder, name)
        if file is None:
            continue
        with open(os.path.join(folder, file), encoding="utf-8") as stream:
            found[file] = stream.read()
        waiting.extend(_imports(found[file], name, file.endswith("/__init__.py")))
        parts = name.split(".")
        waiting.extend(".".join(parts[:length]) for length in range(2, len(parts)))
    return found


@functools.lru_cache(maxsize=1)
def archive() -> str | None:
    """The archive in base64, None if the controller has no pyroute2."""
    try:
        spec = importlib.util.find_spec("pyroute2")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = os.path.dirname(next(iter(spec.submodule_search_locations)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, source in sorted(_closure(folder).items()):
            file.writestr(zipfile.ZipInfo(name, EPOCH), source, zipfile.ZIP_DEFLATED, 9)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
