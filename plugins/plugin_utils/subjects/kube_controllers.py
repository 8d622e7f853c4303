# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# calico-kube-controllers, as far as the API tells (calico.md section 8, F66).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import as_mapping
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

NAME = "calico-kube-controllers"


@expects("kube_controllers.available")
def controllers(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend:
        yield Fact("kube_controllers.available", "", NAME, value="at least one available replica")


@check("kube_controllers.unavailable", fact="kube_controllers.available")
def available(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    for raw in documents.cluster.section("deployments"):
        if as_mapping(raw.get("metadata")).get("name") == NAME:
            wanted = as_mapping(raw.get("spec")).get("replicas", 1)
            status = as_mapping(raw.get("status"))
            if not wanted or status.get("availableReplicas") or "replicas" not in status:
                return None
            return Finding("kube_controllers.unavailable", fact, 0, f"deployment {NAME}: 0 of {wanted} replicas available", ("api",), severity="warning")
    raise NotApplicable(f"there is no deployment {NAME}")


@cause(roots=("kube_controllers.unavailable",))
def down(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        yield Cause(
            "kube_controllers_down", "F66", finding.fact.node, f"{NAME} is not available: addresses of deleted pods and nodes are not given back.", [finding],
            objects=[NAME], why=["Traffic of existing pods does not need it."],
            remedies=[
                Remedy("restart_kube_controllers", "R2", f"restart {NAME}", "none needed: its Deployment keeps it running", node=finding.fact.node, object=NAME,
                       change=("running", "restarted"), parameters={"component": "kube-controllers"}, verify=f"{NAME} is available",
                       blast_radius="clean-up of addresses waits some seconds", preconditions=("its Deployment has no available replica",), wait_seconds=120),
            ],
        )  # fmt: skip
