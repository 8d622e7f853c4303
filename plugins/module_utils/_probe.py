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
import struct
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import FULL_SIZE, Marks

INTERVAL = 0.05
SIZES = 3  # how often full-size packets are tried with what was learned
LARGEST = 9216
DNS_PORT = 53
HEADERS = {4: 20 + 8, 6: 40 + 8}
# IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: IP_PMTUDISC_DO
UNFRAGMENTED = {4: (socket.IPPROTO_IP, 10, 2), 6: (socket.IPPROTO_IPV6, 23, 2)}
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


def _path_mtu(dst: str, source: str | None) -> int:
    """The largest packet to an address as the kernel knows it: of the route and its link, or what somebody on the way has told."""
    family, level, option = (socket.AF_INET6, socket.IPPROTO_IPV6, 24) if ":" in dst else (socket.AF_INET, socket.IPPROTO_IP, 14)  # IPV6_MTU, IP_MTU
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        if source:
            connection.bind((source, 0))
        connection.connect((dst, 9))
        return connection.getsockopt(level, option)


def full_size(dst: str, source: str | None, marks: Marks, timeout: float, flow: int = 0) -> Result:
    """A train of echoes as large as the path lets them be, not to be fragmented. As TCP does, it believes who says that they are too large."""
    tried, result = 0, _result("icmp", 0, [], [])
    for _attempt in range(SIZES):
        try:
            size = min(_path_mtu(dst, source), LARGEST)
        except OSError as error:
            return _result("icmp", 0, [], [sentence(error)], size=tried or HEADERS[4])
        if size == tried:
            break
        tried, result = size, icmp(dst, source, marks, timeout, flow, size)
        if result["replied"] or not result["errors"]:
            break
    return result


def icmp(dst: str, source: str | None, marks: Marks, timeout: float, flow: int = 0, size: int | None = None) -> Result:
    """A train of echoes. size: of each packet with its IP header, which then is not to be fragmented."""
    version = 6 if ":" in dst else 4
    times: dict[int, float] = {}
    started: dict[int, float] = {}
    errors: list[str] = []
    more = {} if size is None else {"size": size}
    try:
        connection = _icmp.raw_socket(version, source)
    except PermissionError:
        return {"protocol": "icmp", "sent": 0, "replied": 0, "errors": [], "error": "raw sockets are refused here", "refused": True, **more}
    except OSError as error:
        return _result("icmp", 0, [], [sentence(error)], **more)
    sent, first = 0, 0
    filling = b""
    with connection:
        if size is not None:
            first = FULL_SIZE
            filling = bytes(max(size - HEADERS[version] - len(marks.payload) - 2, 0))
            connection.setsockopt(*UNFRAGMENTED[version])
        for number in range(first, first + marks.length):
            started[number] = time.monotonic()
            payload = marks.payload + number.to_bytes(2, "big") + filling
            try:
                connection.sendto(_icmp.echo(version, marks.identifier_of(flow), number, payload), (dst, 0))
            except OSError as error:
                errors.append(sentence(error))
                continue
            sent += 1
            patience = timeout if number == first + marks.length - 1 else INTERVAL
            _receive(connection, version, marks, flow, started, times, errors, time.monotonic() + patience)
    return _result("icmp", sent, list(times.values()), errors, **more)


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
        if message is None or message.identifier != marks.identifier_of(flow) or message.sequence not in started:
            continue
        if message.kind == "reply" and message.payload.startswith(marks.payload):
            times.setdefault(message.sequence, time.monotonic() - started[message.sequence])
        elif message.kind == "error":
            errors.append(message.text)


def query(marks: Marks, number: int) -> bytes:
    """A question for a name that nobody has, which bears the mark."""
    name = bytes([len(marks.payload)]) + marks.payload + b"\x07invalid\0"
    return (marks.identifier + number).to_bytes(2, "big") + bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 1, 0, 1])


def udp(dst: str, port: int, source: str | None, marks: Marks, timeout: float, flow: int = 0) -> Result:
    """A train of datagrams, each from a source port of its own: to port 53 questions, to others no more than the mark."""
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    waiting: dict[int, tuple[socket.socket, float]] = {}
    times: list[float] = []
    errors: list[str] = []
    refused = sent = 0
    poll = select.poll()
    try:
        for number, own_port in enumerate(marks.ports_of(flow)):
            connection = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            waiting[connection.fileno()] = (connection, time.monotonic())
            try:
                connection.bind((source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), own_port))
                connection.connect((dst, port))
                connection.send(query(marks, number) if port == DNS_PORT else marks.payload)
            except OSError as error:
                waiting.pop(connection.fileno())
                connection.close()
                if error.errno != errno.EADDRINUSE:  # someone uses this source port: one packet less
                    errors.append(sentence(error))
                continue
            sent += 1
            poll.register(connection, select.POLLIN)
        end = time.monotonic() + timeout
        while waiting and time.monotonic() < end:
            for handle, _event in poll.poll(max(int((end - time.monotonic()) * 1000), 1)):
                connection, begun = waiting.pop(handle)
                poll.unregister(handle)
                try:
                    connection.recv(2048)
                    times.append(time.monotonic() - begun)
                except OSError as error:
                    refused += error.errno == errno.ECONNREFUSED
                    errors.append(sentence(error))
                finally:
                    connection.close()
    finally:
        for connection, _begun in waiting.values():
            connection.close()
    return _result("udp", sent, times, errors, port=port, refused=refused)


def open_tcp(dst: str, port: int, source: str | None, own_port: int, segment: int, again: bool = False) -> socket.socket:
    """A connect that has begun. again: from a port that was used a moment ago; it is reset when it is closed, and nothing of it stays."""
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        if again:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
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
                connection = open_tcp(dst, port, source, own_port, marks.segment)
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
