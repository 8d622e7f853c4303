# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever the API or a node of a flannel cluster says, a diagnosis never raises."""

from __future__ import annotations

import copy
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.tests.unit import small_flannel

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=8), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2), st.sampled_from(["10.0.0.0/8", "::1", "fe80::/64", "10.244.1.2"]),
)  # fmt: skip


def places(value, path=()):
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def put(document, path, junk):
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = copy.deepcopy(junk)


WHOLE = {"cluster": small_flannel.cluster_document(), "fl-1": small_flannel.node_document("fl-1"), "fl-2": small_flannel.node_document("fl-2")}
QUESTION = small_flannel.diagnose().question


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(list(places(WHOLE))), JUNK), min_size=1, max_size=3))
def test_property_mutated_documents_never_raise(changes):
    documents = copy.deepcopy(WHOLE)
    for path, junk in changes:
        try:
            put(documents, path, junk)
        except (KeyError, IndexError, TypeError):
            continue
    cluster, *nodes = (document if isinstance(document, dict) else {} for document in documents.values())
    known = {name: NodeFacts(name, document) for name, document in zip(("fl-1", "fl-2"), nodes)}
    report = Diagnosis(QUESTION, Documents(Cluster(cluster), known)).report()
    assert report["verdict"]["outcome"] in ("broken", "unknown")
    json.dumps(report)
