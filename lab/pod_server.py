"""What runs in a pod: HTTP that answers with the pod's name, and a UDP echo, on the same port."""

from __future__ import annotations

import socket
import threading

from lab.kernel import set_title

_LIMIT = 65536


def _answer(connection: socket.socket, name: str) -> None:
    with connection:
        connection.settimeout(10)
        try:
            request = connection.recv(_LIMIT)
            body = f"{name}\n".encode()
            if request.split(b" ", 1)[0] in (b"GET", b"HEAD"):
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            elif request:
                connection.sendall(request)
        except OSError:
            pass


def _echo(server: socket.socket) -> None:
    while True:
        data, sender = server.recvfrom(_LIMIT)
        try:
            server.sendto(data, sender)
        except OSError:
            pass


def main(arguments: list[str]) -> int:
    """NAMESPACE/NAME PORT"""
    name, port = arguments[0], int(arguments[1])
    set_title([f"/app/{name.partition('/')[2].partition('-')[0]}", f"--listen=:{port}"])
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    threading.Thread(target=_echo, args=(udp,), daemon=True).start()
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64, dualstack_ipv6=True)
    while True:
        connection, _rest = tcp.accept()
        threading.Thread(target=_answer, args=(connection, name), daemon=True).start()
