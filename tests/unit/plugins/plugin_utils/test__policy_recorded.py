# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measured truth tables of a real Calico, one for each way that policy can be written; `make policy` judges all of them."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests import policy
from ansible_collections.podnet.doctor.tests.unit import recorded

SETS = ("np-ipblock-except", "np-port-named-egress-no-to", "np-nodeport-local", "np-nodeport-cluster", "cal-order-tie-np-gnp", "cal-tier-pass-then-k8s",
        "cal-services-egress", "cal-host-in-selector", "cal-types-missing-in-crd", "cnp-baseline", "hep-donottrack", "hep-prednat-nodeport",
        "hep-failsafe-changed", "hep-apply-on-forward-no-match", "host-action-drop-hep", "mix-order-1000-tie")  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_every_measured_cell_is_what_the_api_says(name):
    where = recorded.policy_folder()
    if where is None or name not in recorded.names_in(where):
        pytest.skip(recorded.ABSENT)
    base = recorded.opened(where, name)
    chosen = policy.PolicySet(name, base, recorded.read_json(base / "about.json"))
    verdict = policy.intended_judge(chosen)
    cells = [cell for cell in chosen.about["cells"] if cell and not chosen.quirk(cell)]
    assert len(cells) > 700
    assert not [(cell, said) for cell in cells if (said := verdict(chosen.flow(cell))) != cell["result"]]
