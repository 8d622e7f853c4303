# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.podnet.doctor.plugins.filter.report import FilterModule
from ansible_collections.podnet.doctor.tests.unit import small

FILTERS = FilterModule().filters()


SIGNS = [("junit", "<testsuites"), ("prometheus", "podnet_report_outcome{"), ("markdown", "## shop/web"), ("html", "→ shop/api-0 on k8s02, tcp/8080</title>")]


@pytest.mark.parametrize(("name", "sign"), SIGNS)
def test_a_report_is_written(name, sign):
    assert sign in FILTERS[name](small.diagnose().report())


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_what_is_no_report_is_an_error_of_the_filter(name):
    with pytest.raises(AnsibleFilterError, match=f"podnet.doctor.{name}: "):
        FILTERS[name]({"schema": "something"})
