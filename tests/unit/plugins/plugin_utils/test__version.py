# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import yaml

from ansible_collections.podnet.doctor.plugins.plugin_utils._version import VERSION
from ansible_collections.podnet.doctor.tests.unit.recorded import ROOT


def test_equal_to_the_collections():
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == VERSION
