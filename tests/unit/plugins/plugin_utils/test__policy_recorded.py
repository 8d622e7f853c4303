# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measured truth tables of a real Calico, one for each way that policy can be written; `make policy` judges all of them."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _services
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils.subjects import packet_filters, services
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


def quirks(name, number):
    """A diagnosis of each cell that a known quirk of the dataplane decides."""
    where = recorded.policy_folder()
    if where is None or name not in recorded.names_in(where):
        pytest.skip(recorded.ABSENT)
    base = recorded.opened(where, name)
    chosen = policy.PolicySet(name, base, recorded.read_json(base / "about.json"))
    cluster = Cluster(recorded.cluster_in(base / "api"))
    nodes = {node.name: NodeFacts(node.name, recorded.node_in(base, node.name)) for node in sorted((base / "nodes").iterdir())}
    for flow in [chosen.flow(cell) for cell in chosen.about["cells"] if cell and chosen.quirk(cell) == number]:
        if flow.kind != "outside":
            source = f"node/{flow.node}" if flow.kind == "host" else flow.source
            yield Diagnosis(_services.resolve(cluster, source, flow.dst, flow.protocol, flow.port), Documents(cluster, nodes))


@pytest.mark.parametrize("name", ["hep-donottrack", "nft-hep-donottrack"])
def test_an_untracked_policy_that_cuts_off_pods_is_named(name):
    seen = 0
    for diagnosis in quirks(name, 2):
        (finding,) = (found for found in diagnosis.findings if found.check == "netfilter.invalid.dropped")
        (cause,) = packet_filters.invalid_dropped([finding], diagnosis)
        assert cause.objects[0] == "GlobalNetworkPolicy untracked" and "doNotTrack" in cause.why[1]
        assert diagnosis.outcome == "broken"
        seen += 1
    assert seen == 32


def test_a_status_that_is_compared_as_a_whole_is_named():
    found = list(quirks("nft-hep-no-policy", 1))
    assert len(found) == 2
    for diagnosis in found:
        (finding,) = (one for one in diagnosis.findings if one.check == "service.way.dropped")
        (cause,) = services.dropped_on_the_way([finding], diagnosis)
        assert cause.id == "hostendpoint_meets_service" and cause.node == "k8s-node-3"
