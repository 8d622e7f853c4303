"""Makes the API server, which listens on the host's loopback, answer inside other network namespaces, and reach the kubelets there."""

from __future__ import annotations

import asyncio
import functools
import socket

from lab.kernel import in_netns


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _listen(netns: str, address: str, port: int) -> socket.socket:
    with in_netns(netns):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    return listener


def _connect(netns: str, host: str, port: int) -> socket.socket:
    with in_netns(netns):
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(10)
    try:
        made.connect((host, port))
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


async def _tunnel(netns: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP CONNECT (RFC 9110, 9.3.6), out of another network namespace."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).split()
        host, _colon, port = head[1].decode().rpartition(":")
        made = await asyncio.to_thread(_connect, netns, host.strip("[]"), int(port))
        up_reader, up_writer = await asyncio.open_connection(sock=made)
    except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
        writer.write(f"HTTP/1.1 502 {error}\r\n\r\n".encode())
        writer.close()
        return
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))


async def _serve(port: int, listeners: list[socket.socket], egress: str, netns: str) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))

    servers: list[asyncio.Server] = [await asyncio.start_server(accepted, sock=listener) for listener in listeners]
    if egress:
        servers.append(await asyncio.start_unix_server(functools.partial(_tunnel, netns), egress))
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main(arguments: list[str]) -> int:
    """PORT [--egress=SOCKET] NETNS=ADDRESS...: relay from ADDRESS:PORT in each namespace to 127.0.0.1:PORT here, and from SOCKET out of the first namespace."""
    port = int(arguments[0])
    egress = next((argument.partition("=")[2] for argument in arguments if argument.startswith("--egress=")), "")
    listeners, namespaces = [], []
    for argument in arguments[1:]:
        netns, _rest, address = argument.rpartition("=")
        if not argument.startswith("--"):
            listeners.append(_listen(netns, address, port))
            namespaces.append(netns)
    asyncio.run(_serve(port, listeners, egress, namespaces[0]))
    return 0
