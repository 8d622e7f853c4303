# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node tells through calico-node's own container, which shares the node's network namespace: programs of its image, nothing of ours.

The container has no Python and sees neither the node's processes nor the pods' namespaces. So the document has fewer sections.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _bird, _iproute, _ipset, _netfilter, _sysctls
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import sentence
from ansible_collections.podnet.doctor.plugins.module_utils._kube_exec import Finished
from ansible_collections.podnet.doctor.plugins.module_utils._processes import rfc3339

SCHEMA = "podnet.doctor/node/1"
SOCKETS = {"ipv4": "/var/run/calico/bird.ctl", "ipv6": "/var/run/calico/bird6.ctl"}
UNSEEN = ("sandboxes", "cni", "flannel", "conntrack")
AT_ONCE = 300  # paths in one command
Run = t.Callable[[t.Sequence[str]], Finished]


class Failed(Exception):
    """A program that did not do what it was asked for."""


def _output(run: Run, *argv: str) -> str:
    done = run(argv)
    if done.code != 0:
        said = " ".join((done.stderr or done.stdout).split())[:200]
        raise Failed(f"{argv[0]} ended with code {done.code}" + (f": {said}" if said else ""))
    return done.stdout


def _listed(run: Run, *argv: str) -> list[t.Any]:
    parsed = _iproute.parse(_output(run, *argv))
    if parsed is None:
        raise Failed(f"{' '.join(argv)} did not answer in JSON")
    return parsed


def _both(run: Run, read: t.Callable[[t.Any, str], list[dict[str, t.Any]]], *words: str) -> list[dict[str, t.Any]]:
    return [entry for option, family in (("-4", "inet"), ("-6", "inet6")) for entry in read(_listed(run, "ip", "-d", "-j", option, *words), family)]


def _read_sysctls(run: Run, names: t.Iterable[str]) -> dict[str, str]:
    """grep tells which file a line is of, and goes on where there is none; it ends with 2 then."""
    paths = _sysctls.wanted(names)
    found = {}
    for place in range(0, len(paths), AT_ONCE):
        done = run(["grep", "-sH", "^", *(f"/proc/sys/{path}" for path in paths[place : place + AT_ONCE])])
        for line in done.stdout.splitlines():
            path, _colon, value = line.replace("/proc/sys/", "", 1).partition(":")
            found[path] = value.strip()
        if not found:
            raise Failed(f"grep ended with code {done.code}: {' '.join(done.stderr.split())[:200]}")
    return found


def _bird_of(run: Run, socket: str) -> dict[str, t.Any]:
    def asked(*words: str) -> str:
        done = run(["birdcl", "-v", "-r", "-s", socket, *words])
        said = done.stdout + done.stderr
        if done.code != 0 or "Unable to connect" in said:
            raise Failed(" ".join(said.split())[:200] or f"birdcl ended with code {done.code}")
        return said

    try:
        status = asked("show", "status")
        return {
            "socket": socket,
            "version": _bird.version(status),
            "status": _bird.status(status),
            "protocols": _bird.protocols(asked("show", "protocols", "all")),
            "routes": _bird.routes(asked("show", "route", "all")),
        }
    except Failed as error:
        text = str(error)
        connected = "Unable to connect" in text
        reason = "absent" if connected and "No such file" in text else "refused" if connected and "refused" in text else "garbage"
        return {"error": text, "reason": reason, "socket": socket}


def _netfilter_of(run: Run) -> dict[str, t.Any]:
    saved = []
    for family, name, names in (("inet", "iptables", "/proc/net/ip_tables_names"), ("inet6", "ip6tables", "/proc/net/ip6_tables_names")):
        legacy = run(["cat", names])
        for backend in ("nft", *(["legacy"] if legacy.code == 0 and legacy.stdout.split() else [])):
            entry: dict[str, t.Any] = {"backend": backend, "family": family}
            try:
                entry["text"] = _output(run, f"{name}-{backend}-save", "-c")
            except Failed as error:
                entry["error"] = str(error)
            saved.append(entry)
    return {"iptables": saved, "nft": _nft_of(run, saved), "ipsets": _ipset.saved(_output(run, "ipset", "save"))}


def _nft_of(run: Run, saved: list[dict[str, t.Any]]) -> t.Any:
    try:
        return _netfilter.by_table(json.loads(_output(run, "nft", "-j", "list", "ruleset")), saved)
    except (Failed, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {"error": sentence(error)}


def _calico_of(run: Run) -> dict[str, t.Any]:
    """nodename and mtu, and what calico-node says of Felix when it is asked as kubelet asks it."""
    found: dict[str, t.Any] = {}
    for name in ("nodename", "mtu"):
        done = run(["cat", f"/var/lib/calico/{name}"])
        found[name] = done.stdout.strip() if done.code == 0 else None
    live = run(["/bin/calico-node", "-felix-live"])
    refused = "connection refused" in (live.stdout + live.stderr).lower()
    if live.code == 0:
        found["felix"] = {"running": True, "liveness": {"status": 200}}
    elif refused:
        found["felix"] = {"running": False}
    else:
        found["felix"] = {"error": " ".join((live.stderr or live.stdout).split())[:200] or f"calico-node -felix-live ended with code {live.code}"}
    for name in ("confd", "bird", "bird6"):
        found[name] = {"error": "the node's processes are not seen from calico-node's container"}
    return found


def _identity_of(run: Run) -> dict[str, t.Any]:
    def line(path: str) -> str | None:
        done = run(["cat", path])
        return done.stdout.strip() or None if done.code == 0 else None

    return {
        "hostname": line("/proc/sys/kernel/hostname"), "machine_id": None, "system_uuid": line("/sys/class/dmi/id/product_uuid"),
        "boot_id": line("/proc/sys/kernel/random/boot_id"), "kernel": line("/proc/sys/kernel/osrelease"), "python": None, "netns": None,
    }  # fmt: skip


def read(node: str, run: Run, pod: str) -> dict[str, t.Any]:
    """The node document. run: a command in calico-node's container; pod: the namespace and name of its pod."""
    started = time.monotonic()
    document: dict[str, t.Any] = {
        "schema": SCHEMA, "collected_at": rfc3339(time.time()), "seconds": 0.0, "host": node, "node": node, "via": {"by": "calico-node", "pod": pod},
    }  # fmt: skip

    def names() -> list[str]:
        links = document.get("links")
        return [str(link.get("ifname")) for link in links] if isinstance(links, list) else []

    sections: dict[str, t.Callable[[], t.Any]] = {
        "identity": lambda: _identity_of(run),
        "links": lambda: _iproute.links(_listed(run, "ip", "-d", "-s", "-j", "link", "show")),
        "addresses": lambda: _iproute.addresses(_listed(run, "ip", "-d", "-j", "addr", "show")),
        "routes": lambda: _both(run, _iproute.routes, "route", "show", "table", "all"),
        "rules": lambda: _both(run, _iproute.rules, "rule", "show"),
        "neighbours": lambda: _iproute.neighbours(_listed(run, "ip", "-d", "-j", "neigh", "show")),
        "fdb": lambda: _iproute.fdb(_listed(run, "bridge", "-d", "-j", "fdb", "show")),
        "sysctls": lambda: _read_sysctls(run, names()),
        "bird": lambda: {family: _bird_of(run, socket) for family, socket in SOCKETS.items()},
        "calico": lambda: _calico_of(run),
        "netfilter": lambda: _netfilter_of(run),
    }
    for name, section in sections.items():
        try:
            document[name] = section()
        except Exception as error:  # noqa: BLE001 - one section that could not be read is that section's error
            document[name] = {"error": sentence(error)}
    for name in UNSEEN:
        document[name] = {"error": "is not seen from calico-node's container"}
    document["seconds"] = round(time.monotonic() - started, 3)
    return document
