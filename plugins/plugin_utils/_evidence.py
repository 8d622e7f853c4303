# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the probes of a run registered on their hosts, as one evidence document.

from __future__ import annotations

import typing as t
from collections.abc import Mapping

Json = t.Any


def gather(variables: Mapping[str, t.Any], asked: Mapping[str, Json]) -> dict[str, Json] | None:
    return None
