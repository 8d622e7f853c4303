"""Makes the API server, which listens on the host's loopback, answer inside other network namespaces."""

from __future__ import annotations

import asyncio
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


async def _serve(port: int, listeners: list[socket.socket]) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))

    servers = [await asyncio.start_server(accepted, sock=listener) for listener in listeners]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main(arguments: list[str]) -> int:
    """PORT NETNS=ADDRESS...: relay from ADDRESS:PORT in each namespace to 127.0.0.1:PORT here."""
    port = int(arguments[0])
    listeners = []
    for argument in arguments[1:]:
        netns, _rest, address = argument.rpartition("=")
        listeners.append(_listen(netns, address, port))
    asyncio.run(_serve(port, listeners))
    return 0
