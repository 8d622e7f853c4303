# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container id and pod uid from the text of ``/proc/<pid>/cgroup``.

Understood are cgroup v1 and v2, the systemd and the cgroupfs driver, and the forms of docker, containerd and CRI-O.
Every function is total: any text gives a result.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import re
import typing as t

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_POD = re.compile(r"(?:^|[-_.])pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$", re.ASCII)
_SCOPE = re.compile(r"(?:(?:docker|cri-containerd|crio|libpod|cri-o)-(?:conmon-)?)?([0-9a-f]{64})(?:\.scope)?", re.ASCII)


def _paths(text: str) -> t.Iterator[str]:
    for line in text.splitlines():
        hierarchy, colon, rest = line.partition(":")
        path = rest.partition(":")[2]
        if colon and hierarchy.isdigit() and path.startswith("/"):
            yield path


def container(text: str) -> tuple[str | None, str | None]:
    """``(container id, pod uid)``, each None if the paths do not tell."""
    container_id: str | None = None
    pod_uid: str | None = None
    for path in _paths(text):
        for part in path.split("/"):
            # a systemd slice may carry the whole chain, and containerd's cgroupfs form "slice:prefix:id" has colons
            for piece in part.split(":"):
                pod = _POD.search(piece)
                if pod and pod_uid is None:
                    pod_uid = uid(pod.group(1))
                scope = _SCOPE.fullmatch(piece)
                if scope and not piece.startswith("crio-conmon-"):
                    container_id = container_id or scope.group(1)
        if container_id and pod_uid:
            break
    return container_id, pod_uid


def uid(text: str) -> str:
    """The uid as the API writes it: systemd slices use underscores; a static pod's uid has no separators at all."""
    return text.replace("_", "-")


def is_container_id(text: str) -> bool:
    """64 hexadecimal digits."""
    return _HEX.fullmatch(text) is not None
