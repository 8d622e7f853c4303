"""CRDs of the lab's own for Calico's resources: names and scopes are Calico's, any content is accepted."""

from __future__ import annotations

from lab.api.client import CALICO_RESOURCES, Json


def crd(plural: str, kind: str, group: str = "crd.projectcalico.org") -> Json:
    """One CustomResourceDefinition."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "scope": "Namespaced" if plural == "networkpolicies" else "Cluster",
            "preserveUnknownFields": False,
            "versions": [version],
        },
    }


def all_crds() -> list[Json]:
    """One for each resource that the lab uses."""
    return [crd(plural, kind) for plural, kind in CALICO_RESOURCES.items()]
