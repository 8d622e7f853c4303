# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in a container through the Kubernetes API (``pods/exec``), as plain arguments and without a terminal.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import typing as t
from urllib.parse import quote, urlencode

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import configure
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import KubeError, Options

# The API server hands a websocket of this protocol on to the kubelet as it is (k8s.io/apimachinery, remotecommand.StreamProtocolV4Name).
PROTOCOL = "v4.channel.k8s.io"
ERROR_CHANNEL = 3


class Finished(t.NamedTuple):
    """What a command printed, and its exit code."""

    stdout: str
    stderr: str
    code: int


class Container(t.NamedTuple):
    """Where commands run."""

    namespace: str
    pod: str
    name: str


class Exec:
    """Runs commands in containers of one cluster."""

    def __init__(self, options: Options) -> None:
        if options.get("impersonate_user") or options.get("impersonate_groups"):
            raise KubeError("commands in a container cannot be run as an impersonated user")
        self._configuration = configure(options)
        headers = {"sec-websocket-protocol": PROTOCOL}
        for setting in self._configuration.auth_settings().values():
            if setting.get("in") == "header" and setting.get("value"):
                headers["authorization"] = setting["value"]
        if self._configuration.username and "authorization" not in headers:
            headers["authorization"] = self._configuration.get_basic_auth_token()
        self._headers = headers

    def run(self, container: Container, argv: t.Sequence[str], deadline: Deadline) -> Finished:
        """One command to its end. Errors: KubeError (refused, no such container or program), Expired."""
        deadline.check()
        query = [("container", container.name), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in argv)]
        path = f"/api/v1/namespaces/{quote(container.namespace, safe='')}/pods/{quote(container.pod, safe='')}/exec"
        url = f"{str(self._configuration.host).rstrip('/')}{path}?{urlencode(query)}".replace("http", "ws", 1)
        running = Running("exec", lambda: self._talk(url, argv, deadline))
        if not running.wait(deadline.remaining()):
            raise Expired(f"{argv[0]} in {container.namespace}/{container.pod}: no answer within {deadline.seconds:g} s")
        if running.error is not None:
            raise KubeError(f"{argv[0]} in {container.namespace}/{container.pod}: {_plain(running.error)}") from running.error
        return t.cast("Finished", running.value)

    def _talk(self, url: str, argv: t.Sequence[str], deadline: Deadline) -> Finished:
        from kubernetes.stream import ws_client  # pylint: disable=import-outside-toplevel

        client = ws_client.WSClient(self._configuration, url, self._headers, False)
        try:
            client.run_forever(timeout=deadline.remaining())
            if client.is_open():
                raise Expired("no answer in time")
            return Finished(client.read_stdout(), client.read_stderr(), exit_code(client.read_channel(ERROR_CHANNEL), argv))
        finally:
            client.close()


def exit_code(status: str, argv: t.Sequence[str]) -> int:
    """Of the ``v1.Status`` that ends a command. Errors: KubeError, where it could not be started."""
    try:
        told = json.loads(status)
        if told["status"] == "Success":
            return 0
        causes = (told.get("details") or {}).get("causes") or []
        codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
        if codes:
            return int(codes[0])
        said = told.get("message")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        said = "its end was not told"
    raise KubeError(f"{argv[0]} could not be run: {' '.join(str(said).split())[:200]}")


def _plain(error: BaseException) -> str:
    """The API's own words of a refused websocket, or the error as it is."""
    body = getattr(error, "resp_body", None)
    try:
        return str(json.loads(body)["message"])[:300] if body else sentence(error)[:300]
    except (ValueError, TypeError, KeyError):
        return sentence(error)[:300]
