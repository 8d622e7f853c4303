"""kubelet's `exec`: commands in calico-node's container, over a websocket that the API server hands on.

The container is the node's own namespaces: the lab's calico-node runs in no image. So two programs of the image have a stand-in.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from lab import kernel
from lab.plan import Description, Node

PORT = 10250
PROTOCOL = Subprotocol("v4.channel.k8s.io")
STDOUT, STDERR, STATUS = b"\x01", b"\x02", b"\x03"
PATIENCE = 30
FELIX_LIVE = """
import http.client, sys
try:
    connection = http.client.HTTPConnection("127.0.0.1", 9099, timeout=2)
    connection.request("GET", "/liveness")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"calico/node is not ready: Felix is not live: {error}")
"""


def stand_in(argv: list[str]) -> list[str]:
    """Debian's BIRD has no birdcl, and calico-node is the lab's own."""
    if argv[0] == "birdcl":
        return ["birdc", *argv[1:]]
    if argv == ["/bin/calico-node", "-felix-live"]:
        return [sys.executable, "-c", FELIX_LIVE]
    return argv


def _failure(message: str, code: int | None = None) -> bytes:
    causes = [] if code is None else [{"reason": "ExitCode", "message": str(code)}]
    reason = "InternalError" if code is None else "NonZeroExitCode"
    status = {"metadata": {}, "status": "Failure", "reason": reason, "message": message, "details": {"causes": causes}}
    return STATUS + json.dumps(status).encode()


def run(node: Node, argv: list[str], connection: ServerConnection) -> None:
    """The command, its output and how it ended."""
    entered = ["nsenter", "--target", str(node.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/", "--"]
    try:
        done = subprocess.run(
            [*entered, *stand_in(argv)], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        connection.send(_failure(str(error)))
        return
    for channel, output in ((STDOUT, done.stdout), (STDERR, done.stderr)):
        for place in range(0, len(output), 1 << 16):
            connection.send(channel + output[place : place + (1 << 16)])
    if done.returncode:
        connection.send(_failure(f"command terminated with exit code {done.returncode}", done.returncode))
    else:
        connection.send(STATUS + b'{"metadata":{},"status":"Success"}')


def _answer(node: Node, agent: str, connection: ServerConnection) -> None:
    asked = urlsplit(connection.request.path if connection.request else "")
    parts = [unquote(part) for part in asked.path.split("/")[1:]]
    argv = parse_qs(asked.query, keep_blank_values=True).get("command", [])
    try:
        if len(parts) == 4 and parts[0] == "exec" and parts[2].startswith(f"{agent}-") and argv:
            run(node, argv, connection)
        else:
            connection.send(_failure(f"container not found ({parts[-1]})"))
    except ConnectionClosed:
        pass


def listen(lab: Description, node: Node, folder: Path) -> Server:
    """The kubelet's port of one node, opened by the API server's certificate only."""
    pki = folder / "pki"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with kernel.in_netns(kernel.netns_path(node.netns)):
        listener = socket.create_server(("0.0.0.0", PORT))
    agent = lab.calico.agent.name
    return serve(
        lambda connection: _answer(node, agent, connection), sock=listener, ssl=context, subprotocols=[PROTOCOL], max_size=None
    )


def main(arguments: list[str]) -> int:
    """FOLDER: the state folder."""
    folder = Path(arguments[0])
    lab = Description.from_json((folder / "lab.json").read_text(encoding="utf-8"))
    threads = [threading.Thread(target=listen(lab, node, folder).serve_forever, name=node.name) for node in lab.nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0
