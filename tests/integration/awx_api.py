# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for the API of AWX, which cannot run here: objects that are kept as they are posted, found by their fields, and linked with each other.
It knows nothing of what AWX would refuse; what the objects mean is checked against the playbooks by the tests themselves."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
import urllib.parse
from types import TracebackType

SECRET = "$encrypted$"
LINKS = ("labels", "credentials", "notification_templates_error", "notification_templates_approvals", "notification_templates_success",
         "notification_templates_started", "instance_groups", "success_nodes", "failure_nodes", "always_nodes", "survey_spec", "workflow_nodes")  # fmt: skip
Json = t.Any


class Awx(http.server.ThreadingHTTPServer):
    """writes: every request that changed something."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, dict[int, dict[str, Json]]] = {}
        self.links: dict[str, list[Json]] = {}
        self.surveys: dict[str, Json] = {}
        self.writes: list[str] = []
        self.add("organizations", {"name": "Default"})
        self.add("credential_types", {"name": "Machine", "kind": "ssh", "inputs": {"fields": [{"id": "ssh_key_data", "secret": True}]}})
        self.writes.clear()
        self._thread = threading.Thread(target=self.serve_forever)

    def __enter__(self) -> Awx:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, kind: str, fields: dict[str, Json]) -> dict[str, Json]:
        number = 1 + max((one for group in self.objects.values() for one in group), default=0)
        url = f"/api/v2/{kind}/{number}/"
        related = {name: f"{url}{name}/" for name in LINKS}
        made = {**fields, "id": number, "url": url, "type": kind.rstrip("s"), "related": related, "summary_fields": {}}
        self.objects.setdefault(kind, {})[number] = made
        self.writes.append(f"POST {url}")
        return made

    def of_kind(self, kind: str) -> list[dict[str, Json]]:
        kinds = ("job_templates", "workflow_job_templates") if kind == "unified_job_templates" else (kind,)
        return [one for name in kinds for one in self.objects.get(name, {}).values()]

    def named(self, kind: str) -> dict[str, dict[str, Json]]:
        return {str(one.get("name", one.get("identifier"))): one for one in self.objects.get(kind, {}).values()}

    def all_of(self, place: str) -> list[Json]:
        """What is linked, as objects."""
        whole = {number: one for group in self.objects.values() for number, one in group.items()}
        return [whole[number] for number in self.links.get(place, [])]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Awx

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing."""

    def _answer(self, code: int, document: Json = None) -> None:
        data = b"" if document is None else json.dumps(document).encode()
        self.send_response(code)
        for name, value in (("Content-Type", "application/json"), ("X-API-Product-Name", "AWX"), ("X-API-Product-Version", "24.6.1")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _parts(self) -> tuple[list[str], dict[str, str]]:
        whole = urllib.parse.urlsplit(self.path)
        return [part for part in whole.path.split("/") if part][2:], dict(urllib.parse.parse_qsl(whole.query))

    def _page(self, found: list[Json]) -> None:
        self._answer(200, {"count": len(found), "next": None, "previous": None, "results": [_hidden(one) for one in found]})

    def do_GET(self) -> None:
        parts, query = self._parts()
        with self.server.lock:
            if not parts:
                self._answer(200, {"available_versions": {"v2": "/api/v2/"}, "current_version": "/api/v2/"})
            elif len(parts) == 1:
                wanted = {name.removeprefix("or__").removesuffix("__exact"): value for name, value in query.items() if name not in ("page_size", "order_by")}
                self._page([one for one in self.server.of_kind(parts[0]) if all(_same(one, name, value) for name, value in wanted.items())])
            elif len(parts) == 2:
                one = self.server.objects.get(parts[0], {}).get(int(parts[1]))
                self._answer(200, _hidden(one)) if one else self._answer(404, {"detail": "Not found."})
            elif parts[2] == "survey_spec":
                self._answer(200, self.server.surveys.get("/".join(parts[:2]), {}))
            elif parts[2] == "workflow_nodes":
                nodes = self.server.objects.get("workflow_job_template_nodes", {}).values()
                self._page([one for one in nodes if str(one.get("workflow_job_template")) == parts[1]])
            else:
                self._page(self.server.all_of("/".join(parts)))

    def _body(self) -> Json:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def do_POST(self) -> None:
        parts, _query = self._parts()
        body = self._body()
        with self.server.lock:
            if len(parts) == 1:
                self._answer(201, _hidden(self.server.add(parts[0], body)))
                return
            place = "/".join(parts)
            self.server.writes.append(f"POST {self.path}")
            if parts[2] == "survey_spec":
                self.server.surveys["/".join(parts[:2])] = body
                self._answer(200, {})
            elif parts[2] == "create_approval_template":
                node = self.server.objects[parts[0]][int(parts[1])]
                made = self.server.add("workflow_approval_templates", body)
                node["unified_job_template"] = made["id"]
                node["related"]["unified_job_template"] = made["url"]
                self._answer(201, made)
            else:
                linked = self.server.links.setdefault(place, [])
                if body.get("disassociate"):
                    linked.remove(body["id"])
                elif body["id"] not in linked:
                    linked.append(body["id"])
                self._answer(204)

    def do_PATCH(self) -> None:
        parts, _query = self._parts()
        body = self._body()
        with self.server.lock:
            self.server.writes.append(f"PATCH {self.path}")
            one = self.server.objects[parts[0]][int(parts[1])]
            one.update(body)
            self._answer(200, _hidden(one))


def _same(one: dict[str, Json], name: str, value: str) -> bool:
    if name.startswith("not__"):
        return str(one.get(name.removeprefix("not__"))) != value
    return str(one.get(name.partition("__")[0])) == value


def _hidden(one: dict[str, Json]) -> dict[str, Json]:
    """Secrets are not told again."""
    inputs = one.get("inputs")
    if one["type"] != "credential" or not isinstance(inputs, dict):
        return one
    return {**one, "inputs": {name: SECRET if name in ("kubeconfig", "ssh_key_data", "authorization") else value for name, value in inputs.items()}}
