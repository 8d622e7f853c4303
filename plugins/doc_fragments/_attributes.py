# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Attributes that the modules of this collection declare."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Returns details on what has changed or would change, when in diff mode.
"""

    # Use together with the standard fragment
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action only reads and does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
"""

    NODE = r"""
options: {}
attributes:
  platform:
    description: The operating systems of the targets.
    platforms: linux
    support: full
    details:
      - A node needs Python 3.9 or newer and nothing else.
"""

    ACTIONGROUP_PODNET = r"""
options: {}
attributes:
  action_group:
    description: Is part of the action group named here, so that its options can be set once with C(module_defaults).
    support: full
    membership:
      - podnet.doctor.podnet
"""

    ACTIONGROUP_NODES = r"""
options: {}
attributes:
  action_group:
    description: Is part of the action group named here, so that its options can be set once with C(module_defaults).
    support: full
    membership:
      - podnet.doctor.nodes
"""
