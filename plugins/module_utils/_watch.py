# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A light train for a while: echoes at a steady pace, and beside them connects from the same few source ports again and again.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import select
import socket
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp, _probe
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import MOST_WATCHED, WATCHED, WATCHING, Marks

PACE = 0.2  # seconds between echoes
FLOW_PACE = 0.34  # seconds between connects
PATIENCE = 2.5  # for one answer: a SYN that was lost by chance is sent again after a second, one of a bad way is lost again
LONGEST = 30.0  # one call
Tried = dict[int, list[int]]


def echoes_in(seconds: float) -> int:
    """How many echoes are sent in that time."""
    return round(seconds / PACE)


def turns_in(seconds: float) -> int:
    """How many connects."""
    return round(seconds / FLOW_PACE)


class Answers:
    """What came back of the echoes: the time that each took, which came twice, and what errors say."""

    def __init__(self, version: int, identifier: int, payload: bytes) -> None:
        self.version, self.identifier, self.payload = version, identifier, payload
        self.started: dict[int, float] = {}
        self.times: dict[int, float] = {}
        self.twice = 0
        self.errors: list[str] = []

    def listen(self, connection: socket.socket, until: float, enough: bool = False) -> None:
        """Take answers until then; enough: or until all are there."""
        while not (enough and len(self.times) == len(self.started)):
            left = until - time.monotonic()
            if left <= 0 or not select.select([connection], [], [], left)[0]:
                return
            try:
                self._take(_icmp.decode(self.version, _icmp.without_ip_header(self.version, connection.recv(2048))))
            except OSError as error:
                self.errors.append(sentence(error))

    def _take(self, message: _icmp.Message | None) -> None:
        number = message.sequence - WATCHED if message is not None and message.identifier == self.identifier else -1
        if message is None or number not in self.started:
            return
        if message.kind == "error":
            self.errors.append(message.text)
        elif message.kind == "reply" and message.payload.startswith(self.payload):
            self.twice += number in self.times
            self.times.setdefault(number, time.monotonic() - self.started[number])


def echoes(dst: str, source: str | None, marks: Marks, flow: int, seconds: float, first: int) -> dict[str, t.Any]:
    """Echoes for so many seconds, numbered from the first."""
    version = 6 if ":" in dst else 4
    answers = Answers(version, marks.identifier_of(flow), marks.payload)
    told: dict[str, t.Any] = {"protocol": "icmp", "first": first, "sent": 0, "replied": 0, "errors": []}
    try:
        connection = _icmp.raw_socket(version, source)
    except PermissionError:
        return {**told, "error": "raw sockets are refused here"}
    except OSError as error:
        return {**told, "error": sentence(error)}
    with connection:
        begun = time.monotonic()
        for number in range(first, min(first + echoes_in(seconds), MOST_WATCHED)):
            answers.started[number] = time.monotonic()
            payload = marks.payload + number.to_bytes(2, "big")
            try:
                connection.sendto(_icmp.echo(version, marks.identifier_of(flow), WATCHED + number, payload), (dst, 0))
            except OSError as error:
                answers.errors.append(sentence(error))
            answers.listen(connection, begun + (number - first + 1) * PACE)
        answers.listen(connection, time.monotonic() + PATIENCE, enough=True)
    times = [[number, round(answers.started[number] - begun, 3), round(took, 6)] for number, took in sorted(answers.times.items())]
    errors = list(dict.fromkeys(answers.errors))[:8]
    return {**told, "sent": len(answers.started), "replied": len(times), "times": times, "twice": answers.twice, "errors": errors}


def ports(marks: Marks) -> list[int]:
    """The source ports that are tried in turn."""
    return [port for flow in WATCHING for port in marks.ports_of(flow)]


class Turns:
    """Connects, or questions to a DNS server, from one port after the other: [sent, answered, refused] by port."""

    def __init__(self, dst: str, port: int, protocol: str, source: str | None, marks: Marks) -> None:
        self.dst, self.port, self.protocol, self.source, self.marks = dst, port, protocol, source, marks
        self.tried: Tried = {}
        self.waiting: dict[int, tuple[socket.socket, int, float]] = {}
        self.poll = select.poll()

    def _begin(self, own_port: int) -> socket.socket:
        if self.protocol == "tcp":
            return _probe.open_tcp(self.dst, self.port, self.source, own_port, self.marks.segment, again=True)
        family = socket.AF_INET6 if ":" in self.dst else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            connection.bind((self.source or ("::" if family == socket.AF_INET6 else "0.0.0.0"), own_port))
            connection.connect((self.dst, self.port))
            connection.send(_probe.query(self.marks, own_port - self.marks.port))
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, own_port: int) -> None:
        """Try once from a port."""
        if any(port == own_port for _socket, port, _since in self.waiting.values()):
            return
        try:
            connection = self._begin(own_port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):  # someone else's port: not ours to try
                self.tried.setdefault(own_port, [0, 0, 0])[0] += 1
                self.tried[own_port][2] += error.errno == errno.ECONNREFUSED
            return
        self.tried.setdefault(own_port, [0, 0, 0])[0] += 1
        self.waiting[connection.fileno()] = (connection, own_port, time.monotonic())
        self.poll.register(connection, select.POLLOUT if self.protocol == "tcp" else select.POLLIN)

    def listen(self, until: float, enough: bool = False) -> None:
        """Take answers until then; enough: or until nobody is waited for."""
        while time.monotonic() < until and not (enough and not self.waiting):
            due = min([until, *(since + PATIENCE for _socket, _port, since in self.waiting.values())])
            for handle, _event in self.poll.poll(max(int((due - time.monotonic()) * 1000), 1)):
                self._end(handle)
            for handle in [handle for handle, (_socket, _port, since) in self.waiting.items() if time.monotonic() - since >= PATIENCE]:
                self._forget(handle)

    def _forget(self, handle: int) -> int:
        connection, own_port, _since = self.waiting.pop(handle)
        self.poll.unregister(handle)
        connection.close()
        return own_port

    def _end(self, handle: int) -> None:
        connection = self.waiting[handle][0]
        try:
            if self.protocol != "tcp":
                connection.recv(2048)
            number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError as error:
            number = error.errno or errno.EIO
        mine = self.tried[self._forget(handle)]
        mine[1] += number == 0
        mine[2] += number == errno.ECONNREFUSED

    def close(self) -> None:
        """Give up on what is waited for."""
        for handle in list(self.waiting):
            self._forget(handle)


def flows(dst: str, port: int, protocol: str, source: str | None, marks: Marks, seconds: float, first: int) -> dict[str, t.Any]:
    """Connects for so many seconds, the first from the port with this number among those that are tried."""
    turns, own = Turns(dst, port, protocol, source, marks), ports(marks)
    begun, number = time.monotonic(), 0
    try:
        while time.monotonic() < begun + seconds:
            turns.begin(own[(first + number) % len(own)])
            number += 1
            turns.listen(begun + number * FLOW_PACE)
        turns.listen(time.monotonic() + PATIENCE, enough=True)
    finally:
        turns.close()
    tried = [[own_port, *counts] for own_port, counts in sorted(turns.tried.items())]
    return {"protocol": protocol, "address": dst, "port": port, "flows": tried,
            "sent": sum(one[1] for one in tried), "replied": sum(one[2] for one in tried)}  # fmt: skip
