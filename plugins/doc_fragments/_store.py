# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a place for documents is named."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - Where documents are kept, a folder on the controller, or an address (V(https://...)) below which C(PUT) and C(GET) work, such as a bucket behind a
        proxy, a WebDAV folder or a repository for raw files.
    type: str
    required: true
  store_headers:
    description: Headers for each request, such as C(Authorization).
    type: dict
    default: {}
  store_timeout:
    description: Seconds that one request may take.
    type: float
    default: 30.0
"""
