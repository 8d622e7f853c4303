# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sending the packets of a probe: a train of ICMP echoes and one of TCP connects, from inside a namespace.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import Marks

INTERVAL = 0.05
Result = dict[str, t.Any]


def _rtt(times: list[float]) -> dict[str, float] | None:
    return {"min": round(min(times), 6), "max": round(max(times), 6)} if times else None


def _result(protocol: str, sent: int, times: list[float], errors: list[str], **more: t.Any) -> Result:
    result: Result = {"protocol": protocol, "sent": sent, "replied": len(times), "errors": list(dict.fromkeys(errors)), **more}
    rtt = _rtt(times)
    if rtt:
        result["rtt"] = rtt
    if errors and not times:
        result["error"] = errors[0]
    return result


def icmp(dst: str, source: str | None, marks: Marks, timeout: float, flow: int = 0) -> Result:
    """A train of echoes."""
    version = 6 if ":" in dst else 4
    times: dict[int, float] = {}
    started: dict[int, float] = {}
    errors: list[str] = []
    try:
        connection = _icmp.raw_socket(version, source)
    except PermissionError:
        return {"protocol": "icmp", "sent": 0, "replied": 0, "errors": [], "error": "raw sockets are refused here", "refused": True}
    except OSError as error:
        return _result("icmp", 0, [], [sentence(error)])
    sent = 0
    with connection:
        for number in range(marks.length):
            started[number] = time.monotonic()
            try:
                connection.sendto(_icmp.echo(version, marks.identifier_of(flow), number, marks.payload + number.to_bytes(2, "big")), (dst, 0))
            except OSError as error:
                errors.append(sentence(error))
                continue
            sent += 1
            patience = timeout if number == marks.length - 1 else INTERVAL
            _receive(connection, version, marks, flow, started, times, errors, time.monotonic() + patience)
    return _result("icmp", sent, list(times.values()), errors)


def _receive(
    connection: socket.socket,
    version: int,
    marks: Marks,
    flow: int,
    started: dict[int, float],
    times: dict[int, float],
    errors: list[str],
    end: float,
) -> None:
    """Answers until the end, or until all have come."""
    while time.monotonic() < end and len(times) + len(errors) < len(started):
        connection.settimeout(max(end - time.monotonic(), 0.001))
        try:
            message = _icmp.decode(version, _icmp.without_ip_header(version, connection.recv(2048)))
        except socket.timeout:
            return
        except OSError as error:
            errors.append(sentence(error))
            continue
        if message is None or message.identifier != marks.identifier_of(flow):
            continue
        if message.kind == "reply" and message.payload.startswith(marks.payload) and message.sequence in started:
            times.setdefault(message.sequence, time.monotonic() - started[message.sequence])
        elif message.kind == "error":
            errors.append(message.text)


def _open(dst: str, port: int, source: str | None, own_port: int, segment: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        connection.bind((source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), own_port))
        connection.connect((dst, port))
    except BlockingIOError:
        pass
    except BaseException:
        connection.close()
        raise
    return connection


def tcp(dst: str, port: int, source: str | None, marks: Marks, timeout: float, flow: int = 0) -> Result:
    """A train of connects, each from a source port of its own; all are closed at once."""
    waiting: dict[int, tuple[socket.socket, float]] = {}
    times: list[float] = []
    errors: list[str] = []
    refused = sent = 0
    poll = select.poll()
    try:
        for own_port in marks.ports_of(flow):
            try:
                connection = _open(dst, port, source, own_port, marks.segment)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:  # someone uses this source port: one packet less
                    continue
                sent += error.errno == errno.ECONNREFUSED
                refused += error.errno == errno.ECONNREFUSED
                errors.append(sentence(error))
                continue
            sent += 1
            waiting[connection.fileno()] = (connection, time.monotonic())
            poll.register(connection, select.POLLOUT)
        end = time.monotonic() + timeout
        while waiting and time.monotonic() < end:
            for handle, _event in poll.poll(max(int((end - time.monotonic()) * 1000), 1)):
                connection, begun = waiting.pop(handle)
                poll.unregister(handle)
                number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                connection.close()
                if number == 0:
                    times.append(time.monotonic() - begun)
                else:
                    refused += number == errno.ECONNREFUSED
                    errors.append(os.strerror(number))
        if waiting:
            errors.append(f"no answer within {timeout:g} s")
    finally:
        for connection, _begun in waiting.values():
            connection.close()
    return _result("tcp", sent, times, errors, port=port, refused=refused)
