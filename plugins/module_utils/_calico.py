# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calico's daemons on a node: which of them run, since when, and what Felix says of its own health.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes, read_file

DIRECTORIES = ("/var/lib/calico", "/var/snap/microk8s/current/var/lib/calico")
HEALTH_PORT = 9099
PATIENCE = 3.0


def _component(name: str) -> t.Callable[[list[str]], bool]:
    """``calico-node -felix`` and, from 3.33 on, ``calico component felix``."""

    def match(argv: list[str]) -> bool:
        program = os.path.basename(argv[0])
        if program == "calico-node":
            return f"-{name}" in argv[1:] or f"--{name}" in argv[1:]
        return program == "calico" and argv[1:3] == ["component", name]

    return match


def _program(name: str) -> t.Callable[[list[str]], bool]:
    return lambda argv: os.path.basename(argv[0]) == name


DAEMONS: dict[str, t.Callable[[list[str]], bool]] = {
    "felix": _component("felix"),
    "confd": _component("confd"),
    "bird": _program("bird"),
    "bird6": _program("bird6"),
}


def daemon(processes: Processes, match: t.Callable[[list[str]], bool]) -> dict[str, t.Any]:
    """Whether it runs; of several the oldest."""
    pids = processes.find(match)
    if not pids:
        return {"running": False}
    found: dict[str, t.Any] = {"running": True, "pid": pids[0]}
    started = processes.started_at(pids[0])
    if started:
        found["started_at"] = started
    if len(pids) > 1:
        found["pids"] = pids
    return found


def _health_address(processes: Processes, pid: int | None) -> tuple[str, int]:
    """Where Felix serves its health: FELIX_HEALTHHOST and FELIX_HEALTHPORT of its environment, else localhost:9099."""
    host, port = "127.0.0.1", HEALTH_PORT
    text = read_file(f"{processes.root}/{pid}/environ", 1 << 20) if pid is not None else None
    for pair in (text or "").split("\0"):
        name, value = pair.partition("=")[::2]
        if name.upper() == "FELIX_HEALTHPORT" and value.isdigit() and len(value) < 6:
            port = int(value)
        elif name.upper() == "FELIX_HEALTHHOST" and value and value != "localhost":
            host = value
    return ("127.0.0.1" if host in ("0.0.0.0", "::") else host), port


def health(host: str, port: int, path: str, timeout: float) -> dict[str, t.Any]:
    """The status of one of Felix's health pages."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {where}\r\n\r\n".encode("latin-1"))
            with connection.makefile("rb") as answer:
                words = answer.readline(256).split(None, 2)
    except ConnectionRefusedError:
        return {"error": f"connection refused by {where}"}
    except socket.timeout:
        return {"error": f"{where} does not answer"}
    except (OSError, ValueError) as error:
        return {"error": sentence(error)}
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return {"error": f"{where} does not speak HTTP"}
    return {"status": int(words[1])}


def read(processes: Processes, deadline: Deadline) -> dict[str, t.Any]:
    """The daemons and what Calico keeps in /var/lib/calico."""
    result: dict[str, t.Any] = {"nodename": None, "mtu": None}
    for name in ("nodename", "mtu"):
        for directory in DIRECTORIES:
            text = read_file(f"{directory}/{name}", 4096)
            if text is not None:
                result[name] = text.strip()
                break
    for name, match in DAEMONS.items():
        result[name] = daemon(processes, match)
    host, port = _health_address(processes, result["felix"].get("pid"))
    asked = {
        name: Running(name, lambda page=name: health(host, port, f"/{page}", deadline.remaining(PATIENCE)))  # type: ignore[misc]
        for name in ("liveness", "readiness")
    }
    for name, running in asked.items():
        running.wait(deadline.remaining(PATIENCE + 1))
        result["felix"][name] = running.result()
    return result
