# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Kubernetes API for tests, over plain HTTP."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from urllib.parse import parse_qs, urlparse

Answer = t.Union[dict[str, t.Any], tuple[int, t.Any]]


class FakeApi:
    """An API server that serves what a test puts into it."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, t.Any]]] = {}
        self.objects: dict[str, t.Any] = {"/version": {"gitVersion": "v1.34.4"}}
        self.refused: dict[str, int] = {}
        self.expired = 0
        self.page = 0
        self.asked: list[tuple[str, str, t.Any, dict[str, str]]] = []
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One request."""

            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: t.Any) -> None:  # pylint: disable=redefined-builtin
                """Silence."""

            def answer(self) -> None:
                """Any method."""
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                api.asked.append((self.command, self.path, body, dict(self.headers)))
                status, data = api.find(self.command, self.path, body)
                text = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """No more."""
        self.server.shutdown()
        self.server.server_close()

    def find(self, method: str, target: str, body: t.Any) -> tuple[int, t.Any]:
        """The answer to a request."""
        url = urlparse(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path in self.refused:
            return self.refused[url.path], {"kind": "Status", "message": f"{url.path} is not for you"}
        if method != "GET":
            return 200, {"method": method, "status": self.objects.get("review", {}), "body": body}
        if url.path in self.objects:
            return 200, self.objects[url.path]
        if url.path in self.lists:
            return self.listed(self.lists[url.path], query)
        return 404, {"kind": "Status", "message": f"{url.path.rpartition('/')[2]} not found"}

    def listed(self, items: list[dict[str, t.Any]], query: dict[str, str]) -> tuple[int, t.Any]:
        """One page of a list."""
        field = query.get("fieldSelector", "")
        if field.startswith("spec.nodeName="):
            items = [item for item in items if item["spec"].get("nodeName") == field[14:]]
        if field.startswith("status.podIP="):
            items = [item for item in items if item["status"].get("podIP") == field[13:]]
        if field.startswith("reason="):
            items = [item for item in items if item.get("reason") == field[7:]]
        label = query.get("labelSelector", "")
        if label.startswith("k8s-app in "):
            items = [item for item in items if item["metadata"].get("labels", {}).get("k8s-app", "none") in label]
        if not self.page:
            return 200, {"kind": "List", "metadata": {}, "items": items}
        if query.get("continue") and self.expired:
            self.expired -= 1
            return 410, {"message": "the continue token has expired"}
        start = int(query.get("continue") or 0)
        more = start + self.page < len(items)
        return 200, {"metadata": {"continue": str(start + self.page)} if more else {}, "items": items[start : start + self.page]}

    def load(self, folder: t.Any) -> None:
        """The recorded answers of a real API server."""
        for path in folder.glob("*.json"):
            data = json.loads(path.read_text())
            if path.name == "_apis.json":
                self.objects["/apis"] = data
            elif path.name == "_version.json":
                self.objects["/version"] = data
            elif isinstance(data, dict) and isinstance(data.get("items"), list):
                self._put(path.stem, data)

    def _put(self, stem: str, data: dict[str, t.Any]) -> None:
        items = data["items"]
        known = {"networkpolicies": "networking.k8s.io/v1", "endpointslices": "discovery.k8s.io/v1", "daemonsets": "apps/v1", "deployments": "apps/v1"}
        version = str(data.get("apiVersion") or "")
        if "projectcalico" in version or any("projectcalico" in str(item.get("apiVersion")) for item in items):
            self.lists[f"/apis/{version or items[0]['apiVersion']}/{stem.replace('calico-', '')}"] = items
        elif stem in known:
            self.lists[f"/apis/{known[stem]}/{stem}"] = items
        else:
            self.lists[f"/api/v1/{stem}"] = items
        for item in items:
            place = item["metadata"]
            if place.get("namespace"):
                base = f"/api/v1/namespaces/{place['namespace']}/{stem}"
                self.objects[f"{base}/{place['name']}"] = item
                self.lists.setdefault(base, []).append(item)
