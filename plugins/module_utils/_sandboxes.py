# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pod sandboxes, found in the kernel: network namespaces, the processes and cgroups in them, the host links that lead there.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _cgroup
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NetlinkError, Rtnetlink, attribute, attributes
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes, read_file

RTM_GETNSID = 90
NETNSA_NSID, NETNSA_FD = 1, 3
PINNED = ("/run/netns", "/var/run/docker/netns", "/run/docker/netns")
SHOWN_PIDS = 64


def nsid(kernel: Rtnetlink, path: str) -> int | None:
    """The number under which the own namespace knows the one at path; None if it knows it not."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = attributes(kernel.request(RTM_GETNSID, bytes(4) + attribute(NETNSA_FD, struct.pack("=i", handle))), 4)
    except NetlinkError:
        return None
    finally:
        os.close(handle)
    value = answer.get(NETNSA_NSID, b"")
    number = int(struct.unpack("=i", value)[0]) if len(value) == 4 else -1
    return number if number >= 0 else None


def _pinned() -> dict[int, str]:
    """Namespaces that only a mount keeps, by inode."""
    found: dict[int, str] = {}
    for directory in PINNED:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            try:
                found.setdefault(os.stat(path).st_ino, path)
            except OSError:
                continue
    return found


def _identity(processes: Processes, pids: list[int]) -> dict[str, t.Any]:
    """Container ids and pod uid from the cgroups of the processes inside."""
    containers: list[str] = []
    uid: str | None = None
    for pid in pids[:SHOWN_PIDS]:
        container, pod = _cgroup.container(read_file(f"{processes.root}/{pid}/cgroup") or "")
        uid = uid or pod
        if container and container not in containers:
            containers.append(container)
    result: dict[str, t.Any] = {"container_ids": containers}
    if containers:
        result["container_id"] = containers[0]
    if uid:
        result["pod_uid"] = uid
    return result


def read(kernel: Rtnetlink, processes: Processes, links: list[dict[str, t.Any]], check: t.Callable[[], None]) -> list[dict[str, t.Any]]:
    """All network namespaces but the node's own."""
    leading: dict[int, list[str]] = {}
    for link in links:
        if link.get("link_netnsid") is not None:
            leading.setdefault(link["link_netnsid"], []).append(link["ifname"])
    paths = {number: f"{processes.root}/{pids[0]}/ns/net" for number, pids in processes.by_netns.items()}
    for number, path in _pinned().items():
        paths.setdefault(number, path)
    result: list[dict[str, t.Any]] = []
    for number, path in sorted(paths.items()):
        if number == processes.own:
            continue
        check()
        pids = processes.by_netns.get(number, [])
        try:
            known = nsid(kernel, path)
        except OSError:
            continue  # its last process has just ended
        sandbox: dict[str, t.Any] = {"netns": number, "nsid": known, "pids": pids[:SHOWN_PIDS]}
        if path.startswith(PINNED):
            sandbox["path"] = path
        sandbox.update(_identity(processes, pids))
        names = leading.get(-1 if known is None else known, [])
        if names:
            sandbox["ifname"] = names[0]
        if len(names) > 1:
            sandbox["ifnames"] = names
        result.append(sandbox)
    return result


def path_of(sandbox: dict[str, t.Any], root: str = "/proc") -> str:
    """Where the namespace can be opened."""
    return f"{root}/{sandbox['pids'][0]}/ns/net" if sandbox["pids"] else str(sandbox.get("path", ""))


def interface_of(address: str, routes: list[dict[str, t.Any]]) -> str | None:
    """The link that the node's own host route for this pod address points at."""
    for route in routes:
        if route["dst"].partition("/")[0] == address and route["type"] == "unicast" and route.get("scope") in ("link", "global") and "dev" in route:
            if route["dst"].endswith(("/32", "/128")) and "gateway" not in route:
                return str(route["dev"])
    return None


def find(asked: dict[str, t.Any], sandboxes: list[dict[str, t.Any]], routes: list[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The sandbox of an asked pod: by uid, container id, interface, and last by the route to its address."""
    uid, container, ifname = asked.get("uid"), asked.get("container_id"), asked.get("ifname")
    tests: list[t.Callable[[dict[str, t.Any]], bool]] = []
    if uid:
        tests.append(lambda sandbox: sandbox.get("pod_uid") == uid)
    if container:
        tests.append(lambda sandbox: container in sandbox["container_ids"])
    if ifname:
        tests.append(lambda sandbox: ifname in (sandbox.get("ifnames") or [sandbox.get("ifname")]))
    if asked.get("ip"):
        device = interface_of(asked["ip"], routes)
        if device:
            tests.append(lambda sandbox: device in (sandbox.get("ifnames") or [sandbox.get("ifname")]))
    for test in tests:
        found = [sandbox for sandbox in sandboxes if test(sandbox)]
        if found:
            return max(found, key=lambda sandbox: bool(sandbox.get("ifname")))
    return None
