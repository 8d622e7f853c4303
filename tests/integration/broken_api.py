# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proxy before the lab's API server that delays, refuses or cuts its answers, and a kubeconfig that leads to it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import pathlib
import re
import ssl
import threading
import time
import typing as t
from collections.abc import Iterator

DELAY = 5.0
REASONS = {401: "Unauthorized", 403: "Forbidden"}
LISTS = re.compile(r"/(nodes|pods|ippools|ipamblocks|blockaffinities|daemonsets)(\?|$)")


class Proxy(http.server.BaseHTTPRequestHandler):
    """One request; `ways` says what becomes of it."""

    protocol_version = "HTTP/1.1"
    way = ""
    port = 0
    upstream: ssl.SSLContext

    def log_message(self, *_arguments: t.Any) -> None:
        """Nothing on the screen of the tests."""

    def answer(self, status: int, body: bytes, length: int | None = None) -> None:
        with contextlib.suppress(OSError):  # whoever asked may have given up
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

    def fetched(self) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.upstream, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", self.path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def do_GET(self) -> None:
        if self.way.isdigit():
            status = int(self.way)
            said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": REASONS[status], "reason": REASONS[status], "code": status}
            self.answer(status, json.dumps(said).encode())
            return
        if self.way == "slow":
            time.sleep(DELAY)  # what this server is for
        status, body = self.fetched()
        if self.way == "cut" and LISTS.search(self.path):
            self.answer(status, body[: len(body) // 2], len(body))
            self.close_connection = True
            return
        self.answer(status, body)


@contextlib.contextmanager
def through(lab: t.Any, way: str, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A kubeconfig whose API answers 401 or 403, is `slow`, or is `cut` in the middle of a list."""
    pki, kubeconfig = lab.folder / "pki", json.loads((lab.folder / "kubeconfig").read_text())
    server = kubeconfig["clusters"][0]["cluster"]["server"]
    upstream = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    upstream.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    handler = type("Handler", (Proxy,), {"way": way, "port": int(server.rpartition(":")[2]), "upstream": upstream})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        kubeconfig["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{listening.server_address[1]}"
        path = folder / f"kubeconfig-{way}"
        path.write_text(json.dumps(kubeconfig))
        try:
            yield path
        finally:
            listening.shutdown()
            thread.join()
