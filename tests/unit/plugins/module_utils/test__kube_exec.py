# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils._kube_exec import Exec, exit_code
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import KubeError

ENDED = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "2"}]}}


def test_how_a_command_ended():
    assert exit_code('{"metadata":{},"status":"Success"}', ["ip"]) == 0
    assert exit_code(json.dumps(ENDED), ["grep"]) == 2


def test_a_command_that_could_not_be_started_says_so():
    refused = {"status": "Failure", "reason": "InternalError", "message": 'exec: "bridge": executable file not found in $PATH'}
    with pytest.raises(KubeError, match="bridge could not be run: exec"):
        exit_code(json.dumps(refused), ["bridge"])


@given(st.text())
def test_any_status_is_a_code_or_one_sentence(text):
    try:
        assert isinstance(exit_code(text, ["ip"]), int)
    except KubeError as error:
        assert str(error).startswith("ip could not be run: ")


def test_nobody_is_impersonated_by_a_command():
    with pytest.raises(KubeError, match="impersonated"):
        Exec({"host": "https://127.0.0.1:1", "impersonate_user": "somebody"})
