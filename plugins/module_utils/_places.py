# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are on a node: what is read once for several sections, and the sandbox of a pod that was asked for.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _routes, _sandboxes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes


class Once:
    """A value that several sections need: read by the first that asks, its error told to all."""

    def __init__(self, read: t.Callable[[], t.Any]) -> None:
        self._read = read
        self._done = False
        self._value: t.Any = None
        self._error: Exception | None = None
        self._lock = threading.Lock()

    def __call__(self) -> t.Any:
        with self._lock:
            if not self._done:
                try:
                    self._value = self._read()
                except Exception as error:  # noqa: BLE001 - kept and raised again for every section that asks
                    self._error = error
                self._done = True
        if self._error is not None:
            raise self._error
        return self._value


class Places:
    """Reads what leads to a sandbox."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._payloads = Once(lambda: self._kernel(_links.dump))
        self._index = Once(lambda: _links.indexes(self._payloads()))
        self._links = Once(lambda: _links.links(self._payloads(), self._index()))
        self._routes = Once(lambda: self._kernel(lambda kernel: _routes.read(kernel, self._index())))
        self._processes = Once(lambda: Processes(check=self.deadline.check))
        self._sandboxes = Once(
            lambda: self._kernel(lambda kernel: _sandboxes.read(kernel, self._processes(), self._links(), self.deadline.check)),
        )

    def _kernel(self, work: t.Callable[[Rtnetlink], t.Any]) -> t.Any:
        with Rtnetlink(self.deadline) as kernel:
            return work(kernel)

    def sandbox_of(self, asked: dict[str, t.Any]) -> dict[str, t.Any] | None:
        """The sandbox of a pod that is named in one of several ways."""
        routes = []
        if asked.get("ip"):
            try:
                routes = self._routes()
            except Exception:  # noqa: BLE001 - the routes are a section of their own and tell it themselves
                routes = []
        return _sandboxes.find(asked, self._sandboxes(), routes)

    def place(self, asked: dict[str, t.Any]) -> str | None:
        """Where the namespace that a flow or target starts in can be opened; None for the node's own."""
        name = asked.get("netns_of")
        if not name:
            return None
        sandbox = self.sandbox_of({"uid": name, "ifname": name, "container_id": name, "ip": name})
        if sandbox is None:
            raise LookupError(f"no sandbox of {name} on this node")
        return _sandboxes.path_of(sandbox)
