# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _calico


class Server:
    """Answers one connection with these bytes, or holds it open if there are none."""

    def __init__(self, answer: bytes | None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.request = b""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(answer,), daemon=True)
        self.thread.start()

    def _serve(self, answer: bytes | None) -> None:
        connection, _peer = self.listening.accept()
        with connection:
            self.request = connection.recv(4096)
            if answer is None:
                self.over.wait(10)
            else:
                connection.sendall(answer)

    def close(self) -> None:
        self.over.set()
        self.thread.join(10)
        self.listening.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", {"status": 200}),
        (b"HTTP/1.1 503 Service Unavailable\r\nDate: x\r\n\r\nCalculationGraph: not ready", {"status": 503}),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {"error": "127.0.0.1:PORT does not speak HTTP"}),
        (b"", {"error": "127.0.0.1:PORT does not speak HTTP"}),
        (b"HTTP/1.1 two\r\n", {"error": "127.0.0.1:PORT does not speak HTTP"}),
        (None, {"error": "127.0.0.1:PORT does not answer"}),
    ],
)
def test_health(answer: bytes | None, expected: dict[str, object]) -> None:
    server = Server(answer)
    try:
        found = _calico.health("127.0.0.1", server.port, "/readiness", 0.3 if answer is None else 5)
    finally:
        server.close()
    assert found == {name: value.replace("PORT", str(server.port)) if isinstance(value, str) else value for name, value in expected.items()}
    assert server.request.startswith(b"GET /readiness HTTP/1.0\r\n")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert _calico.health("127.0.0.1", port, "/liveness", 5) == {"error": f"connection refused by 127.0.0.1:{port}"}
