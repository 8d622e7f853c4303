# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: NetworkManager leaves the pods' interfaces alone.

from __future__ import annotations

import fnmatch
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._steps import UNMANAGED, UNMANAGED_FILE

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._flannel import bridged, carries
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected, as_mapping, objects, section_of
from .._question import Scope
from .._remedies import FELIX_REFRESH

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

EXTERNAL = "connected (externally)"  # NetworkManager shows what others have configured, and changes nothing
PODS, TUNNELS = "pods", "tunnels"


def patterns(cluster: Cluster) -> dict[str, list[str]]:
    """Names of the pod network's interfaces, as nmcli and NetworkManager.conf match them."""
    of_flannel, of_calico = carries(cluster), not bridged(cluster)
    return {
        PODS: (UNMANAGED["calico pods"] if of_calico else []) + (UNMANAGED["flannel pods"] if not of_calico else []),
        TUNNELS: (UNMANAGED["calico tunnels"] if of_calico else []) + (UNMANAGED["flannel tunnels"] if of_flannel else []),
    }


@expects("network_manager")
def left_alone(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for name in scope.core:
        for what, names in patterns(cluster).items():
            yield Fact("network_manager", name, what, value=names)


@check("networkmanager.manages", fact="network_manager")
def leaves_alone(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """What NetworkManager manages it configures: it asks for addresses by DHCP, and when that begins or fails it takes away the routes that Felix wrote."""
    try:
        section = as_mapping(documents.node(fact.node).section("network_manager"))
    except NotCollected as exc:
        if exc.absent:
            raise NotApplicable(f"the document of {fact.node} does not tell of NetworkManager") from exc
        raise
    if not section.get("running"):
        raise NotApplicable(f"NetworkManager does not run on {fact.node}")
    devices = objects(section_of(section, "devices", f"{fact.node}: network_manager"))
    managed = [
        device for device in devices
        if device.get("managed") and device.get("state_text") != EXTERNAL and any(fnmatch.fnmatchcase(str(device.get("ifname")), p) for p in fact.value)
    ]  # fmt: skip
    if not managed:
        return None
    names = sorted(str(device.get("ifname")) for device in managed)
    first = managed[0]
    evidence = f"nmcli device show {first.get('ifname')} on {fact.node}: {first.get('state')} ({first.get('state_text')}), managed"
    return Finding("networkmanager.manages", fact, names, evidence, (f"networkmanager {fact.node}",), severity="latent")


@cause(roots=("networkmanager.manages",))
def manages(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for node in sorted({finding.fact.node for finding in findings}):
        mine = [finding for finding in findings if finding.fact.node == node]
        names = [name for finding in mine for name in finding.actual]
        told = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        wanted = [name for group in patterns(diagnosis.documents.cluster).values() for name in group]
        yield Cause(
            "networkmanager_manages_cali", "F09", node, f"NetworkManager on {node} manages {told}, and configures what belongs to the pod network.", mine,
            objects=names, why=["It asks for an address by DHCP there, and takes away the routes and addresses that others wrote."],
            remedies=[
                Remedy(
                    "leave_unmanaged", "R1", f"write {UNMANAGED_FILE} on {node}, which takes {', '.join(wanted)} from NetworkManager",
                    f"remove {UNMANAGED_FILE}, and nmcli general reload", node=node, object=UNMANAGED_FILE, change=("", ", ".join(wanted)),
                    parameters={"interfaces": wanted}, verify=f"NetworkManager on {node} manages none of {told}, and what it took away is back",
                    blast_radius=f"only interfaces of the pod network on {node}", preconditions=(f"NetworkManager on {node} manages {told}",),
                    wait_seconds=FELIX_REFRESH + 10,
                )
            ],
        )  # fmt: skip
