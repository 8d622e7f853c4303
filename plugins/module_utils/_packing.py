# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents packed for the way from module to action: a plain result of many hundred kilobytes costs the controller seconds.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import base64
import json
import typing as t
import zlib

LARGEST = 512 << 20


def pack(document: t.Any) -> str:
    """JSON, compressed, in base64."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=False, default=str)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogateescape"), 3)).decode("ascii")


def unpack(text: str) -> t.Any:
    """The document again. What is not one raises ValueError."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), LARGEST)
        if not unpacker.eof:
            raise ValueError("the packed document is cut off or too large")
        return json.loads(data)
    except (zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a packed document: {error}") from error
