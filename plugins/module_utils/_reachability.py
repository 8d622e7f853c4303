# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a few targets answer from here: one half-open TCP handshake or one ICMP echo each, side by side.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _half_open, _icmp
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

PATIENCE = 2.0
MOST = 64
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.ENETDOWN, errno.EHOSTDOWN, errno.EINVAL)
ASKED = ("dst", "port", "protocol", "source", "netns_of")


def _failed(error: OSError) -> dict[str, t.Any]:
    if isinstance(error, (socket.timeout, TimeoutError)) and error.errno in (None, errno.ETIMEDOUT):
        return {"outcome": "timeout"}
    if error.errno == errno.ECONNREFUSED:
        return {"outcome": "refused", "error": sentence(error)}
    if error.errno in (errno.ECONNRESET,):
        return {"outcome": "refused", "error": sentence(error)}
    if error.errno in UNREACHABLE:
        return {"outcome": "unreachable", "error": sentence(error)}
    return {"outcome": "unreachable", "error": sentence(error), "errno": error.errno}


def tcp(dst: str, port: int, source: str | None, timeout: float) -> dict[str, t.Any]:
    """One half-open TCP handshake: the program behind the port never sees it."""
    try:
        return {"outcome": _half_open.knock(dst, port, source, timeout)}
    except OSError as error:
        return _failed(error)


def icmp(dst: str, source: str | None, timeout: float) -> dict[str, t.Any]:
    """One ICMP echo."""
    version = 6 if ":" in dst else 4
    identifier, payload = _icmp.random_identifier(), os.urandom(16)
    end = time.monotonic() + timeout
    try:
        with _icmp.raw_socket(version, source) as connection:
            connection.sendto(_icmp.echo(version, identifier, 1, payload), (dst, 0))
            while time.monotonic() < end:
                connection.settimeout(max(end - time.monotonic(), 0.001))
                message = _icmp.decode(version, _icmp.without_ip_header(version, connection.recv(2048)))
                if message is None or message.identifier != identifier:
                    continue
                if message.kind == "reply" and message.payload == payload:
                    return {"outcome": "answered"}
                if message.kind == "error":
                    return {"outcome": "unreachable", "error": message.text}
    except OSError as error:
        return _failed(error)
    return {"outcome": "timeout"}


def try_target(target: dict[str, t.Any], path: str | None, deadline: Deadline) -> dict[str, t.Any]:
    """One target, from the own namespace or from the one at path."""
    result: dict[str, t.Any] = {name: target[name] for name in ASKED if target.get(name) not in (None, "")}
    timeout = deadline.remaining(float(target.get("timeout") or PATIENCE))
    started = time.monotonic()
    port = target.get("port")
    protocol = result["protocol"] = target.get("protocol") or ("tcp" if port else "icmp")

    def work() -> dict[str, t.Any]:
        if protocol == "icmp":
            return icmp(target["dst"], target.get("source"), timeout)
        if not port:
            return {"outcome": "unreachable", "error": "a TCP target needs a port"}
        return tcp(target["dst"], int(port), target.get("source"), timeout)

    try:
        result.update(work() if path is None else inside(path, work, deadline))
    except Exception as error:  # noqa: BLE001 - one target's trouble is that target's answer
        result.update({"outcome": "unreachable", "error": sentence(error)})
    result["seconds"] = round(time.monotonic() - started, 3)
    return result


def read(targets: list[dict[str, t.Any]], paths: t.Callable[[dict[str, t.Any]], str | None], deadline: Deadline) -> list[dict[str, t.Any]]:
    """All targets, side by side."""
    running: list[Running | dict[str, t.Any]] = []
    for target in targets[:MOST]:
        try:
            path = paths(target)
        except LookupError as error:
            running.append({**target, "outcome": "unreachable", "error": str(error), "seconds": 0.0})
            continue
        running.append(Running("target", lambda one=target, place=path: try_target(one, place, deadline)))  # type: ignore[misc]
    results: list[dict[str, t.Any]] = []
    for target, started in zip(targets, running):
        if isinstance(started, dict):
            results.append(started)
            continue
        started.wait(deadline.remaining())
        answer = started.result()
        if "outcome" not in answer:
            answer = {**{name: target[name] for name in ASKED if target.get(name)}, "outcome": "timeout", **answer}
        results.append(answer)
    return results
