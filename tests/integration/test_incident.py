# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The incident with ten nodes, as `make incident` has it."""

from __future__ import annotations

from tests.incident import Clock, incident
from tests.integration.running import Running


def test_the_incident_with_ten_nodes(tmp_path):
    with Running("ten", "ipip", nodes=10) as ten:
        incident(ten.healthy(), tmp_path, Clock())
