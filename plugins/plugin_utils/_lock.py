# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: one remediation of a cluster at a time, by a Lease (coordination.k8s.io/v1) that expires by itself.

from __future__ import annotations

import datetime
import typing as t

from ..module_utils import _kube
from ._json import Json, as_mapping

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
NAME = "podnet-doctor"


class Held(Exception):
    """Somebody else repairs this cluster; the text says who, and until when."""


class Unlocked(Exception):
    """No lock can be had here (no right to it); the text says why, and nothing was refused."""


def _micro(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _until(spec: t.Mapping[str, Json]) -> datetime.datetime | None:
    """When the lease ends; None: it is held by nobody."""
    seconds = spec.get("leaseDurationSeconds")
    if not spec.get("holderIdentity") or not isinstance(seconds, int):
        return None
    try:
        renewed = datetime.datetime.fromisoformat(str(spec.get("renewTime")).replace("Z", "+00:00"))
        return renewed + datetime.timedelta(seconds=seconds)
    except (ValueError, TypeError, OverflowError):
        return None


def take(api: t.Any, holder: str, seconds: int, now: datetime.datetime) -> None:
    """Hold the lease for so long. Errors: Held, Unlocked, _kube.KubeError."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "acquireTime": _micro(now), "renewTime": _micro(now)}
    lease: dict[str, Json] = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME, "namespace": "kube-system"}, "spec": spec}
    try:
        try:
            found = api.get_json(f"{LEASES}/{NAME}")
        except _kube.ApiError as exc:
            if exc.status != 404:
                raise
            api.request("POST", LEASES, body=lease)
            return
        known = as_mapping(found.get("spec"))
        until = _until(known)
        if until is not None and until > now and known.get("holderIdentity") != holder:
            ends = until.strftime("%Y-%m-%dT%H:%M:%SZ")
            raise Held(f"{known['holderIdentity']} repairs this cluster now; wait until that has ended, at the latest at {ends} (Lease kube-system/{NAME})")
        lease["metadata"]["resourceVersion"] = as_mapping(found.get("metadata")).get("resourceVersion")  # whoever was quicker makes this a conflict
        api.request("PUT", f"{LEASES}/{NAME}", body=lease)
    except _kube.ApiError as exc:
        if exc.status == 409:
            raise Held(f"somebody else has begun to repair this cluster just now (Lease kube-system/{NAME})") from exc
        if exc.status in (403, 404, 405):
            text = f"two repairs at once cannot be kept apart: {exc} (get, create and update on leases in kube-system)"
            raise Unlocked(text) from exc
        raise


def give_back(api: t.Any, holder: str) -> bool:
    """Let others go on; False: it was not ours any more. Errors: _kube.KubeError."""
    try:
        found = api.get_json(f"{LEASES}/{NAME}")
    except _kube.ApiError as exc:
        if exc.status in (403, 404):
            return False
        raise
    spec = dict(as_mapping(found.get("spec")))
    if spec.get("holderIdentity") != holder:
        return False
    spec.update(holderIdentity="", leaseDurationSeconds=1)
    api.request("PUT", f"{LEASES}/{NAME}", body={**found, "spec": spec})
    return True
