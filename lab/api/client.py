"""A small client of the Kubernetes API: JSON over one kept connection, standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from lab.errors import LabError

Json = dict[str, Any]

GROUPS = {
    "daemonsets": "apps/v1",
    "deployments": "apps/v1",
    "replicasets": "apps/v1",
    "statefulsets": "apps/v1",
    "endpointslices": "discovery.k8s.io/v1",
    "networkpolicies": "networking.k8s.io/v1",
    "customresourcedefinitions": "apiextensions.k8s.io/v1",
}
CALICO = "crd.projectcalico.org/v1"
CALICO_RESOURCES = {
    "ippools": "IPPool",
    "ipamblocks": "IPAMBlock",
    "blockaffinities": "BlockAffinity",
    "ipamhandles": "IPAMHandle",
    "ipamconfigs": "IPAMConfig",
    "bgpconfigurations": "BGPConfiguration",
    "bgppeers": "BGPPeer",
    "felixconfigurations": "FelixConfiguration",
    "clusterinformations": "ClusterInformation",
    "hostendpoints": "HostEndpoint",
    "globalnetworkpolicies": "GlobalNetworkPolicy",
    "networkpolicies": "NetworkPolicy",
    "tiers": "Tier",
    "caliconodestatuses": "CalicoNodeStatus",
}


class ApiError(LabError):
    """An answer of the API that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Client:
    """One server, one identity; safe to use from several threads."""

    def __init__(self, kubeconfig: Path, server: str = "") -> None:
        config = json.loads(kubeconfig.read_text(encoding="utf-8"))
        self.server = server or config["clusters"][0]["cluster"]["server"]
        folder = kubeconfig.parent
        self.authority = folder / "pki" / "ca.crt"
        self.context = ssl.create_default_context(cafile=str(self.authority))
        self.context.load_cert_chain(folder / "pki" / "admin.crt", folder / "pki" / "admin.key")
        self._local = threading.local()

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        parts = urlsplit(self.server)
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=self.context)

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
        """One request; a connection that the server closed meanwhile is opened again."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect(10.0)
            try:
                connection.request(method, path, data, {"Content-Type": kind, "Accept": "application/json"})
                answer = connection.getresponse()
                raw = answer.read()
                break
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise
        try:
            content: Json = json.loads(raw) if raw else {}
        except ValueError:
            content = {"message": raw.decode("utf-8", "replace")[:200]}
        if answer.status >= 400:
            raise ApiError(answer.status, f"{method} {path}: {content.get('message', '')}")
        return content

    def list(self, resource: str, namespace: str = "", group: str = "", **query: str) -> list[Json]:
        items: list[Json] = self.list_raw(resource, namespace, group, **query).get("items") or []
        return items

    def list_raw(self, resource: str, namespace: str = "", group: str = "", **query: str) -> Json:
        return self.request("GET", path_of(resource, namespace, "", group) + (f"?{urlencode(query)}" if query else ""))

    def get(self, resource: str, name: str, namespace: str = "", group: str = "") -> Json:
        return self.request("GET", path_of(resource, namespace, name, group))

    def create(self, resource: str, body: Json, group: str = "") -> Json:
        return self.request("POST", path_of(resource, body["metadata"].get("namespace", ""), "", group), body)

    def update(self, resource: str, body: Json, group: str = "") -> Json:
        meta = body["metadata"]
        return self.request("PUT", path_of(resource, meta.get("namespace", ""), meta["name"], group), body)

    def patch(
        self, resource: str, name: str, body: object, namespace: str = "", group: str = "", part: str = ""
    ) -> Json:
        """A JSON merge patch; `part` names a subresource."""
        path = path_of(resource, namespace, name, group) + (f"/{part}" if part else "")
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, resource: str, name: str, namespace: str = "", group: str = "", now: bool = False) -> None:
        options = {"gracePeriodSeconds": 0} if now else None
        try:
            self.request("DELETE", path_of(resource, namespace, name, group), options)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, resource: str, group: str = "", **query: str) -> Iterator[Json]:
        """Events of one watch until the server ends it."""
        connection = self._connect(60.0)
        try:
            path = path_of(resource, "", "", group) + "?" + urlencode({"watch": "true", **query})
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ApiError(answer.status, f"watch {resource}")
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def follow(self, resource: str, changed: Callable[[Json], None], group: str = "", **query: str) -> threading.Thread:
        """Call `changed` in a thread for every object there is and every event after, for ever."""

        def run() -> None:
            while True:
                try:
                    answer = self.list_raw(resource, "", group, **query)
                    for item in answer.get("items") or []:
                        changed({"type": "ADDED", "object": item})
                    changed({"type": "LISTED", "object": {"items": answer.get("items") or []}})
                    version = answer["metadata"]["resourceVersion"]
                    for event in self.watch(resource, group, resourceVersion=version, **query):
                        if event["type"] == "ERROR":
                            break
                        changed(event)
                except (OSError, ApiError, ValueError, KeyError, http.client.HTTPException):
                    time.sleep(0.5)

        thread = threading.Thread(target=run, name=f"follow {resource}", daemon=True)
        thread.start()
        return thread


def path_of(resource: str, namespace: str = "", name: str = "", group: str = "") -> str:
    """The path of a resource; Calico's networkpolicies need their group said."""
    group = group or GROUPS.get(resource, CALICO if resource in CALICO_RESOURCES else "v1")
    path = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    if namespace:
        path += f"/namespaces/{quote(namespace)}"
    return f"{path}/{resource}" + (f"/{quote(name)}" if name else "")
