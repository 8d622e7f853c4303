# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A DaemonSet of calico-node, and any JSON."""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st

DAEMONSET = "/apis/apps/v1/namespaces/kube-system/daemonsets/calico-node"
INSTALLATION = "/apis/operator.tigera.io/v1/installations/default"


def daemonset(*env: dict[str, t.Any], **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "metadata": {"name": "calico-node", "generation": 3, **metadata},
        "spec": {"template": {"spec": {"containers": [
            {"name": "sidecar"}, {"name": "calico-node", "env": [{"name": "IP", "value": "autodetect"}, *env, {"name": "LAST", "value": "x"}]},
        ]}}},
        "status": {"observedGeneration": 3, "updatedNumberScheduled": 3, "desiredNumberScheduled": 3, "numberAvailable": 3},
    }  # fmt: skip


def method(value: str) -> dict[str, t.Any]:
    return {"name": "IP_AUTODETECTION_METHOD", "value": value}


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner))
