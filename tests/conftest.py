# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests on a real kernel run once more when they fail (make integration); what went wrong the first time is always shown."""

from __future__ import annotations

import sys

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.outcome == "rerun":
        print(f"\nfailed, and is tried once more: {report.nodeid}\n{report.longreprtext}", file=sys.__stderr__, flush=True)
