#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report_publish
short_description: Bring a report to a place where others find it
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Writes the report (C(reports/<id>.json)), its page (C(.html)), a summary in Markdown (C(.md)) and the bundle (C(.zip)), if there is one, to a store.
  - Runs on the controller.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._store
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  report:
    description: The report as a file, as M(podnet.doctor.verdict) has written it.
    type: path
    required: true
  bundle:
    description: The bundle of the same run.
    type: path
seealso:
  - module: podnet.doctor.verdict
"""

EXAMPLES = r"""
- name: Publish the report
  podnet.doctor.report_publish:
    report: "{{ diagnose_report.report_path }}"
    store: /srv/reports
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
published:
  description: Where each part is.
  type: dict
  returned: success
  sample: {"json": "/srv/reports/reports/7f3a11c0.json", "html": "/srv/reports/reports/7f3a11c0.html"}
"""
