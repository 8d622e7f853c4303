# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node document: every section read by itself, within one deadline.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import platform
import socket
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import (
    _bird_socket,
    _calico,
    _cni,
    _conntrack,
    _counters,
    _dns,
    _flannel,
    _links,
    _lookups,
    _neighbours,
    _netfilter,
    _network_manager,
    _offload,
    _reachability,
    _routes,
    _sandboxes,
    _sysctls,
)
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Section, run, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inode, inside
from ansible_collections.podnet.doctor.plugins.module_utils._places import Places
from ansible_collections.podnet.doctor.plugins.module_utils._processes import read_file, rfc3339

SCHEMA = "podnet.doctor/node/1"
SECTIONS = (
    "identity",
    "links",
    "addresses",
    "routes",
    "rules",
    "neighbours",
    "fdb",
    "sysctls",
    "bird",
    "calico",
    "flannel",
    "netfilter",
    "conntrack",
    "sandboxes",
    "lookups",
    "listeners",
    "counters",
    "cni",
    "network_manager",
    "reachability",
    "dns",
)


def subset(wanted: t.Iterable[str] | None) -> list[str]:
    """The sections that a gather_subset names: all, some, or all but ``!some``."""
    words = list(wanted or ["all"])
    unknown = sorted({word.lstrip("!") for word in words} - {*SECTIONS, "all"})
    if unknown:
        raise ValueError(f"gather_subset: no section {', '.join(unknown)}; known are all, {', '.join(SECTIONS)}")
    chosen = {word for word in words if not word.startswith("!")}
    without = {word[1:] for word in words if word.startswith("!")}
    if not chosen or "all" in chosen:
        chosen = set(SECTIONS)
    return [name for name in SECTIONS if name in chosen and name not in without]


class Question(t.NamedTuple):
    """What a caller wants to know of a node."""

    sections: t.Sequence[str] = SECTIONS
    host: str | None = None
    node: str | None = None
    pods: t.Sequence[dict[str, t.Any]] = ()
    flows: t.Sequence[dict[str, t.Any]] = ()
    reachability: t.Sequence[dict[str, t.Any]] = ()
    dns: t.Sequence[dict[str, t.Any]] = ()
    bird_socket: str | None = None
    timeout: float = 15.0


def identity() -> dict[str, t.Any]:
    """Which machine this is."""
    return {
        "hostname": socket.gethostname(),
        "machine_id": (read_file("/etc/machine-id") or "").strip() or None,
        "system_uuid": (read_file("/sys/class/dmi/id/product_uuid") or "").strip().lower() or None,
        "boot_id": (read_file("/proc/sys/kernel/random/boot_id") or "").strip() or None,
        "kernel": os.uname().release,
        "python": platform.python_version(),
        "netns": inode(),
    }


class Collector(Places):
    """Reads one node."""

    def __init__(self, question: Question) -> None:
        super().__init__(Deadline(question.timeout))
        self.question = question

    def _network(self) -> dict[str, t.Any]:
        """The same facts as of the node, of the calling thread's namespace."""
        with Rtnetlink(self.deadline) as kernel:
            payloads = _links.dump(kernel)
            index = _links.indexes(payloads)
            result: dict[str, t.Any] = {}
            readers: dict[str, Section] = {
                "links": lambda: _links.links(payloads, index),
                "addresses": lambda: _links.addresses(kernel, index),
                "routes": lambda: _routes.read(kernel, index),
                "rules": lambda: _links.rules(kernel),
                "neighbours": lambda: _neighbours.read(kernel, index),
                "sysctls": lambda: _sysctls.read(index.values(), check=self.deadline.check),
                **({"listeners": _counters.served} if "listeners" in self.question.sections else {}),
            }
            for name, read in readers.items():
                try:
                    result[name] = read()
                except Exception as error:  # noqa: BLE001 - a part of the section that failed by itself
                    result[name] = {"error": sentence(error)}
            return result

    def sandboxes(self) -> list[dict[str, t.Any]]:
        """All sandboxes, those of the asked pods with the network inside."""
        found = [dict(sandbox) for sandbox in self._sandboxes()]
        places = {sandbox["netns"]: sandbox for sandbox in found}
        for asked in self.question.pods:
            sandbox = self.sandbox_of(asked)
            if sandbox is None or "network" in places[sandbox["netns"]]:
                continue
            try:
                network = inside(_sandboxes.path_of(sandbox), self._network, self.deadline)
            except Exception as error:  # noqa: BLE001 - one pod's trouble is that pod's answer
                network = {"error": sentence(error)}
            places[sandbox["netns"]]["network"] = network
        return found

    def lookups(self) -> list[dict[str, t.Any]]:
        """The kernel's answers to the asked flows."""

        def own(flow: dict[str, t.Any]) -> dict[str, t.Any]:
            return t.cast("dict[str, t.Any]", self._kernel(lambda kernel: _lookups.lookup(kernel, flow, self._index())))

        def there(flow: dict[str, t.Any]) -> dict[str, t.Any]:
            return t.cast("dict[str, t.Any]", self._kernel(lambda kernel: _lookups.lookup(kernel, flow, _links.indexes(_links.dump(kernel)))))

        result = []
        for flow in self.question.flows:
            try:
                path = self.place(flow)
                result.append(own(flow) if path is None else inside(path, lambda one=flow: there(one), self.deadline))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - one flow's trouble is that flow's answer
                result.append({**flow, "route": {"error": sentence(error)}})
        return result

    def _addresses(self) -> list[str]:
        """The addresses that the caller asks about, and the node's own."""
        try:
            own = [entry["local"] for entry in self._kernel(lambda kernel: _links.addresses(kernel, self._index()))]
        except Exception:  # noqa: BLE001 - the section addresses tells what is wrong
            own = []
        asked = [flow.get(end) for flow in self.question.flows for end in ("src", "dst")] + [pod.get("ip") for pod in self.question.pods]
        return list(dict.fromkeys(address for address in asked + own if address))

    def bird(self, family: str) -> dict[str, t.Any]:
        """What the daemon of one family says."""
        try:
            processes = self._processes()
        except Exception:  # noqa: BLE001 - without processes the usual paths are still tried
            processes = None
        return _bird_socket.read(family, self.deadline, processes, self.question.bird_socket)

    def names(self, asked: dict[str, t.Any]) -> dict[str, t.Any]:
        """What a pod, or the node itself, gets from DNS."""
        try:
            path = self.place(asked)
            name = asked.get("netns_of")
            sandbox = self.sandbox_of({"uid": name, "ifname": name, "container_id": name, "ip": name}) if name else None
            pids = [os.getpid()] if path is None else list(reversed((sandbox or {}).get("pids") or []))  # the last ones are the program's own
            return _dns.read_one(asked, path, pids, self.deadline)
        except Exception as error:  # noqa: BLE001 - one pod's trouble is that pod's answer
            return {"netns_of": asked.get("netns_of"), "error": sentence(error)}

    def _carrier_changes(self) -> dict[int, int]:
        if "links" not in self.question.sections:
            return {}
        try:
            return t.cast("dict[int, int]", self._kernel(lambda kernel: _links.carrier_changes(_links.dump(kernel))))
        except Exception:  # noqa: BLE001 - the section links tells what is wrong
            return {}

    def _mark_flapping(self, links: t.Any, before: dict[int, int]) -> None:
        """An interface whose carrier came or went while the document was read."""
        if not before or not isinstance(links, list):
            return
        after = self._carrier_changes()
        for link in links:
            changes = after.get(link["ifindex"], 0) - before.get(link["ifindex"], 0)
            if link["ifindex"] in before and changes > 0:
                link["flapped"] = changes

    def readers(self) -> tuple[dict[str, Section], dict[str, Section]]:
        """The asked sections: those that mostly wait, and those that compute."""
        question, deadline = self.question, self.deadline
        beside: dict[str, Section] = {
            "calico": lambda: _calico.read(self._processes(), deadline),
            "bird.ipv4": lambda: self.bird("ipv4"),
            "bird.ipv6": lambda: self.bird("ipv6"),
            "netfilter": lambda: _netfilter.read(deadline, self._addresses()),
            "network_manager": lambda: _network_manager.read(self._processes(), deadline),
            "reachability": lambda: _reachability.read(list(question.reachability), self.place, deadline),
            "dns": lambda: [self.names(asked) for asked in question.dns],
        }
        in_turn: dict[str, Section] = {
            "identity": identity,
            "links": lambda: _offload.mark_tunnels(self._links()),
            "addresses": lambda: self._kernel(lambda kernel: _links.addresses(kernel, self._index())),
            "routes": self._routes,
            "rules": lambda: self._kernel(_links.rules),
            "neighbours": lambda: self._kernel(lambda kernel: _neighbours.read(kernel, self._index())),
            "fdb": lambda: self._kernel(lambda kernel: _neighbours.read_fdb(kernel, self._index())),
            "sysctls": lambda: _sysctls.read(self._index().values(), check=deadline.check),
            "listeners": _counters.listeners,
            "counters": _counters.read,
            "cni": lambda: _cni.read(check=deadline.check),
            "flannel": lambda: _flannel.read(self._processes(), deadline.check),
            "sandboxes": self.sandboxes,
            "conntrack": lambda: _conntrack.read(deadline, _conntrack.pairs(question.flows)),
            "lookups": self.lookups,
        }
        asked = set(question.sections)
        return (
            {name: read for name, read in beside.items() if name.partition(".")[0] in asked},
            {name: read for name, read in in_turn.items() if name in asked},
        )

    def read(self) -> dict[str, t.Any]:
        """The document."""
        started = time.monotonic()
        document: dict[str, t.Any] = {
            "schema": SCHEMA,
            "collected_at": rfc3339(time.time()),
            "seconds": 0.0,
            "host": self.question.host,
            "node": self.question.node,
        }
        beside, in_turn = self.readers()
        before = self._carrier_changes()
        found = run(beside, in_turn, self.deadline)
        self._mark_flapping(found.get("links"), before)
        if "bird" in self.question.sections:
            found["bird"] = {family: found.pop(f"bird.{family}") for family in ("ipv4", "ipv6")}
        document.update((name, found[name]) for name in SECTIONS if name in found)
        document["seconds"] = round(time.monotonic() - started, 3)
        return document


def errors(document: dict[str, t.Any]) -> dict[str, str]:
    """The sections that could not be read, with the reason."""
    found: dict[str, str] = {}
    for name, section in document.items():
        if isinstance(section, dict) and isinstance(section.get("error"), str):
            found[name] = section["error"]
    return found
