"""A stand-in for kube-apiserver: lists, paging, selectors, patches, watches, no validation and no admission."""

from __future__ import annotations

import copy
import datetime
import json
import re
import secrets
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lab.api.client import CALICO, CALICO_RESOURCES

Json = dict[str, Any]
Key = tuple[str, str]

NAMESPACED = {
    "v1": "pods services configmaps endpoints events serviceaccounts secrets",
    "apps/v1": "daemonsets deployments replicasets statefulsets",
    "discovery.k8s.io/v1": "endpointslices",
    "networking.k8s.io/v1": "networkpolicies",
    CALICO: "networkpolicies networksets",
}
KINDS = {
    "pods": "Pod", "services": "Service", "configmaps": "ConfigMap", "endpoints": "Endpoints", "events": "Event",
    "serviceaccounts": "ServiceAccount", "secrets": "Secret", "nodes": "Node", "namespaces": "Namespace",
    "daemonsets": "DaemonSet", "deployments": "Deployment", "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet", "endpointslices": "EndpointSlice", "networkpolicies": "NetworkPolicy",
    "customresourcedefinitions": "CustomResourceDefinition", "networksets": "NetworkSet", **CALICO_RESOURCES, "installations": "Installation",
}
RESOURCES: dict[str, list[str]] = {
    "v1": ["nodes", "namespaces", *NAMESPACED["v1"].split()],
    "apps/v1": NAMESPACED["apps/v1"].split(),
    "discovery.k8s.io/v1": ["endpointslices"],
    "networking.k8s.io/v1": ["networkpolicies"],
    "apiextensions.k8s.io/v1": ["customresourcedefinitions"],
    "authorization.k8s.io/v1": [],
    CALICO: [*CALICO_RESOURCES, "networksets"],
    "operator.tigera.io/v1": ["installations"],
}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396. A strategic patch's lists of named things are merged by name by `strategic`."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """A merge patch that also merges lists whose items have `name` or `type`."""
    if isinstance(patch, dict):
        result = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = strategic(result.get(key), value)
        return result
    if isinstance(patch, list) and isinstance(target, list) and patch and isinstance(patch[0], dict):
        for field in ("name", "type"):
            if all(isinstance(item, dict) and field in item for item in [*patch, *target]):
                found = {item[field]: item for item in target}
                for item in patch:
                    found[item[field]] = strategic(found.get(item[field]), item)
                return list(found.values())
    return patch


def json_patch(target: Json, operations: list[Json]) -> Json:
    """RFC 6902: add, remove, replace, test."""
    document: Any = copy.deepcopy(target)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place: Any = document
        try:
            for part in parts[:-1]:
                place = place[int(part)] if isinstance(place, list) else place[part]
            last: Any = parts[-1]
            if isinstance(place, list):
                last = len(place) if last == "-" else int(last)
            if operation["op"] == "add" and isinstance(place, list):
                place.insert(last, operation["value"])
            elif operation["op"] in ("add", "replace"):
                place[last] = operation["value"]
            elif operation["op"] == "remove":
                del place[last]
            elif operation["op"] == "test" and (place.get(last) if isinstance(place, dict) else place[last]) != operation["value"]:
                raise Refused(422, "Invalid", "the test of the patch failed")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise Refused(422, "Invalid", f"the patch does not fit: {operation['path']}") from error
    result: Json = document
    return result


def labels_match(labels: dict[str, str], selector: str) -> bool:
    """`a=b,c!=d,e,!f,g in (h,i)`."""
    for term in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", selector))):
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", term):
            inside = labels.get(found[1]) in [value.strip() for value in found[3].split(",")]
            wanted = inside if found[2] == "in" else not inside
        elif "!=" in term:
            key, value = term.split("!=")
            wanted = labels.get(key) != value
        elif "=" in term:
            key, value = re.split("==?", term)
            wanted = labels.get(key) == value
        else:
            wanted = term[1:] not in labels if term.startswith("!") else term in labels
        if not wanted:
            return False
    return True


def fields_match(item: Json, selector: str) -> bool:
    """Any path that Kubernetes allows, and then some."""
    for term in filter(None, selector.split(",")):
        path, operator, value = re.split(r"(!=|==?)", term, maxsplit=1)
        place: Any = item
        for part in path.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        if (str(place or "") == value) == (operator == "!="):
            return False
    return True


class Store:
    """All objects, and what happened to them."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Json]] = {}
        self.version = 100
        self.events: list[tuple[int, str, str, Json]] = []
        self.changed = threading.Condition()

    def _record(self, kind: str, resource: str, item: Json) -> Json:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, resource, copy.deepcopy(item)))
        self.changed.notify_all()
        return item

    def list(self, resource: str, namespace: str, query: dict[str, str]) -> tuple[list[Json], Json]:
        with self.changed:
            found = [
                item
                for (where, _rest), item in sorted(self.objects.get(resource, {}).items())
                if (not namespace or where == namespace)
                and labels_match(item["metadata"].get("labels") or {}, query.get("labelSelector", ""))
                and fields_match(item, query.get("fieldSelector", ""))
            ]
            meta: Json = {"resourceVersion": str(self.version)}
            start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0)
            if limit and len(found) > start + limit:
                meta |= {"continue": str(start + limit), "remainingItemCount": len(found) - start - limit}
            return copy.deepcopy(found[start : start + limit if limit else None]), meta

    def get(self, resource: str, key: Key) -> Json:
        item = self.objects.get(resource, {}).get(key)
        if item is None:
            name = resource.rsplit("/", 1)[1]
            raise Refused(404, "NotFound", f'{name} "{key[1]}" not found')
        return item

    def create(self, resource: str, namespace: str, body: Json) -> Json:
        with self.changed:
            meta = body.setdefault("metadata", {})
            if not meta.get("name"):
                meta["name"] = f"{meta.get('generateName', 'object-')}{secrets.token_hex(3)[:5]}"
            if namespace:
                meta["namespace"] = namespace
            key = (namespace, meta["name"])
            if key in self.objects.setdefault(resource, {}):
                raise Refused(409, "AlreadyExists", f'{resource.rsplit("/", 1)[1]} "{key[1]}" already exists')
            meta["uid"] = meta.get("uid") or str(uuid.uuid4())
            meta["creationTimestamp"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            meta.setdefault("generation", 1)
            self.objects[resource][key] = body
            return copy.deepcopy(self._record("ADDED", resource, body))

    def replace(self, resource: str, key: Key, body: Json) -> Json:
        with self.changed:
            old = self.get(resource, key)
            if body["metadata"].get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
                message = "the object has been modified; please apply your changes to the latest version and try again"
                raise Refused(409, "Conflict", f'Operation cannot be fulfilled on "{key[1]}": {message}')
            for field in ("uid", "creationTimestamp", "name", "namespace"):
                if field in old["metadata"]:
                    body["metadata"][field] = old["metadata"][field]
            if body == old:
                return copy.deepcopy(old)
            if body.get("spec") != old.get("spec"):
                body["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            self.objects[resource][key] = body
            return copy.deepcopy(self._record("MODIFIED", resource, body))

    def delete(self, resource: str, key: Key, options: Json) -> Json:
        with self.changed:
            item = self.get(resource, key)
            for field, wanted in (options.get("preconditions") or {}).items():
                if item["metadata"].get(field) != wanted:
                    raise Refused(409, "Conflict", f"the {field} in the precondition does not match")
            del self.objects[resource][key]
            return copy.deepcopy(self._record("DELETED", resource, item))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    store: Store
    version: str

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def answer(self, body: Json, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def handle_one(self) -> None:
        """Any method: errors become a Status."""
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        try:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            self.route(parts.path, query, json.loads(raw) if raw else {})
        except Refused as error:
            status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
            status |= {"message": str(error), "reason": error.reason, "code": error.status}
            self.answer(status, error.status)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.answer({"kind": "Status", "status": "Failure", "message": f"bad request: {error!r}", "code": 400}, 400)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

    def route(self, path: str, query: dict[str, str], body: Any) -> None:
        if path in ("/healthz", "/livez", "/readyz"):
            self.answer({"status": "ok"})
        elif path == "/version":
            major, minor = self.version.lstrip("v").split(".")[:2]
            self.answer({"major": major, "minor": minor, "gitVersion": self.version, "platform": "linux/amd64"})
        elif path in ("/api", "/api/"):
            self.answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path in ("/apis", "/apis/"):
            versions = [group for group in RESOURCES if "/" in group and self.served(group)]
            named = [(v.split("/")[0], {"groupVersion": v, "version": "v1"}) for v in versions]
            groups = [{"name": name, "versions": [v], "preferredVersion": v} for name, v in named]
            self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        else:
            self.route_group(path, query, body)

    def route_group(self, path: str, query: dict[str, str], body: Any) -> None:
        found = re.fullmatch(r"/(?:api/(v1)|apis/([^/]+/[^/]+))(?:/(.*))?", path.rstrip("/"))
        group = (found[1] or found[2]) if found else ""
        if not found or group not in RESOURCES or not self.served(group):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        rest = [unquote(part) for part in (found[3] or "").split("/") if part]
        if not rest:
            self.discover(group)
        elif rest[0] in ("selfsubjectaccessreviews", "selfsubjectrulesreviews"):
            self.answer({**body, "status": {"allowed": True, "incomplete": False, "resourceRules": []}}, 201)
        else:
            self.resource(group, rest, query, body)

    def served(self, group: str) -> bool:
        """Calico's group is there once one of its CRDs is."""
        return group != CALICO or bool(self.store.objects.get("apiextensions.k8s.io/v1/customresourcedefinitions"))

    def discover(self, group: str) -> None:
        verbs = "create delete get list patch update watch".split()
        resources = [
            {"name": n, "singularName": "", "kind": KINDS[n], "verbs": verbs, "namespaced": n in NAMESPACED.get(group, "")}
            for n in RESOURCES[group]
        ]
        self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources})

    def resource(self, group: str, rest: list[str], query: dict[str, str], body: Any) -> None:
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize") else ""
        name, tail = (rest[2], rest[3:]) if namespace else (rest[0], rest[1:])
        if name not in RESOURCES[group]:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        resource, method = f"{group}/{name}", self.command
        if not tail:
            if method == "POST":
                whole = {"apiVersion": group, "kind": KINDS[name], **body}
                self.answer(self.store.create(resource, namespace, whole), 201)
            elif query.get("watch") in ("true", "1"):
                self.watch(resource, namespace, query)
            else:
                items, meta = self.store.list(resource, namespace, query)
                self.answer({"kind": f"{KINDS[name]}List", "apiVersion": group, "metadata": meta, "items": items})
            return
        key, part = (namespace, tail[0]), tail[1] if len(tail) > 1 else ""
        if method == "GET":
            self.answer(self.store.get(resource, key))
        elif method == "DELETE":
            self.answer(self.store.delete(resource, key, body if isinstance(body, dict) else {}))
        else:
            with self.store.changed:
                old = self.store.get(resource, key)
                if method == "PUT":
                    new = body
                else:
                    kind = (self.headers.get("Content-Type") or "").split(";")[0]
                    how: dict[str, Callable[[Any, Any], Any]] = {"application/json-patch+json": json_patch, "application/merge-patch+json": merge}
                    new = how.get(kind, strategic)(copy.deepcopy(old), body)
                if part:
                    fresh = {**old, part: new.get(part)}
                    fresh["metadata"] = {**old["metadata"], "annotations": new["metadata"].get("annotations")}
                    new = fresh
                self.answer(self.store.replace(resource, key, copy.deepcopy(new)))

    def watch(self, resource: str, namespace: str, query: dict[str, str]) -> None:
        since = int(query.get("resourceVersion") or 0)
        limit = time.monotonic() + float(query.get("timeoutSeconds") or 50)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if not since:
            items, since = self.store.list(resource, namespace, query)[0], self.store.version
            for item in items:
                self.wfile.write(json.dumps({"type": "ADDED", "object": item}).encode() + b"\n")
        while time.monotonic() < limit:
            with self.store.changed:
                seen = since
                self.store.changed.wait_for(lambda: self.store.version > seen, timeout=limit - time.monotonic())  # noqa: B023 - called at once
                events = [event for event in self.store.events if event[0] > since]
                since = self.store.version
            for _rest, kind, of, item in events:
                if (
                    of == resource
                    and namespace in ("", item["metadata"].get("namespace"))
                    and labels_match(item["metadata"].get("labels") or {}, query.get("labelSelector", ""))
                    and fields_match(item, query.get("fieldSelector", ""))
                ):
                    self.wfile.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


class Server(ThreadingHTTPServer):
    """Quiet about clients that go away."""

    daemon_threads = True
    request_queue_size = 128

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(120)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no event."""


def make_server(port: int, pki: Path | None, version: str = "v1.34.4") -> Server:
    """A server on 127.0.0.1, with TLS and client certificates if there is a pki folder."""
    store = Store()
    for name in ("default", "kube-system"):
        labels = {"kubernetes.io/metadata.name": name}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        store.create("v1/namespaces", "", {**namespace, "spec": {}, "status": {"phase": "Active"}})
    server = Server(("127.0.0.1", port), type("Bound", (Handler,), {"store": store, "version": version}))
    if pki:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        context.load_verify_locations(pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def main(arguments: list[str]) -> int:
    """PORT PKI: serve for ever."""
    make_server(int(arguments[0]), Path(arguments[1])).serve_forever()
    return 0
