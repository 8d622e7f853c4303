# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.podnet.doctor.plugins.plugin_utils._node_action import NodeAction


class ActionModule(NodeAction):
    """Sends the controller's pyroute2 along."""
