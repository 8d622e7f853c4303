# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a filter is given, as plain Python.

from __future__ import annotations

import typing as t


def plain(value: t.Any) -> t.Any:
    """Plain dicts and lists of what may be lazy containers of ansible-core."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
