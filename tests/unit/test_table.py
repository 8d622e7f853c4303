# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""README's tables say what the pages of the findings, the subjects and the lab say."""

from __future__ import annotations

import ast
import sys

import pytest

from ansible_collections.podnet.doctor.tests.unit import recorded

if not (recorded.ROOT / "lab").is_dir():
    pytest.skip("the lab is not here", allow_module_level=True)
sys.path.insert(0, str(recorded.ROOT / "tests" / "tools"))
import table


def test_readme_is_not_stale():
    assert table.parts()[1] == table.tables(), "make table"


def named_in_subjects():
    """(cause, fault) of each Cause that a subject makes, as far as they are written out there."""
    for path in (recorded.ROOT / "plugins" / "plugin_utils" / "subjects").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Cause":
                names, faults = ([n.value for n in ast.walk(part) if isinstance(n, ast.Constant) and isinstance(n.value, str)] for part in call.args[:2])
                yield from zip(names, faults if len(faults) == len(names) else [None] * len(names), strict=True)


def test_every_cause_is_on_a_page():
    pages, found = table.causes(), list(named_in_subjects())
    assert len(found) > 50
    assert {name for name, _fault in found} <= set(pages)
    assert {(name, fault) for name, fault in found if fault} <= {(name, cause.fault) for name, cause in pages.items()}


def test_every_fault_of_the_lab_has_a_cause_on_a_page():
    assert {fault.cause for fault in table.faults.catalogue()} <= set(table.causes())


def test_what_is_on_a_page_is_named_by_a_subject():
    source = "".join(path.read_text() for path in (recorded.ROOT / "plugins" / "plugin_utils").rglob("*.py"))
    assert [name for name in table.causes() if f'"{name}"' not in source] == []
