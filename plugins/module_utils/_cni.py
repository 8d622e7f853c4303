# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CNI configuration of a node and libcni's cache of results.

Only named fields are taken, so credentials that a configuration may hold never enter the document.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical_prefix
from ansible_collections.podnet.doctor.plugins.module_utils._processes import GONE

CONFIG_DIRECTORIES = ("/etc/cni/net.d", "/var/snap/microk8s/current/args/cni-network", "/var/lib/rancher/k3s/agent/etc/cni/net.d")
RESULT_DIRECTORIES = ("/var/lib/cni/results", "/var/snap/microk8s/common/var/lib/cni/results")
LARGEST = 1 << 20


def _loads(text: str | bytes) -> dict[str, t.Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _plugin(plugin: dict[str, t.Any]) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {"type": plugin.get("type") if isinstance(plugin.get("type"), str) else None}
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and isinstance(ipam.get("type"), str):
        result["ipam_type"] = ipam["type"]
    for name, kind in (("mtu", (int, str)), ("nodename", str), ("nodename_file_optional", bool)):
        if isinstance(plugin.get(name), kind):
            result[name] = plugin[name]
    return result


def config(text: str | bytes) -> dict[str, t.Any] | None:
    """A ``.conf`` or ``.conflist`` file: name and plugins, None if it is not one."""
    data = _loads(text)
    if data is None:
        return None
    plugins = data.get("plugins", [data])
    if not isinstance(plugins, list):
        return None
    found = [_plugin(plugin) for plugin in plugins if isinstance(plugin, dict)]
    if not any(plugin["type"] for plugin in found):
        return None
    name = data.get("name")
    return {"name": name if isinstance(name, str) else None, "plugins": found}


def _arguments(value: t.Any) -> dict[str, str]:
    if not isinstance(value, list):
        return {}
    pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2]
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}


def result(text: str | bytes) -> dict[str, t.Any] | None:
    """One file of libcni's cache: whose interface it is and which addresses it got; None if it is not one."""
    data = _loads(text)
    if data is None or not isinstance(data.get("containerId"), str):
        return None
    arguments = _arguments(data.get("cniArgs"))
    answer = data.get("result")
    answer = answer if isinstance(answer, dict) else {}
    found: dict[str, t.Any] = {
        "containerId": data["containerId"],
        "ifName": data.get("ifName") if isinstance(data.get("ifName"), str) else None,
        "networkName": data.get("networkName") if isinstance(data.get("networkName"), str) else None,
        "pod_namespace": arguments.get("K8S_POD_NAMESPACE"),
        "pod_name": arguments.get("K8S_POD_NAME"),
        "ips": [],
        "interfaces": [],
    }
    if "K8S_POD_UID" in arguments:
        found["pod_uid"] = arguments["K8S_POD_UID"]
    if isinstance(data.get("netns"), str):
        found["netns"] = data["netns"]
    for address in _dicts(answer.get("ips")):
        prefix = canonical_prefix(address.get("address"))
        if prefix:
            found["ips"].append(prefix)
    for interface in _dicts(answer.get("interfaces")):
        if isinstance(interface.get("name"), str):
            found["interfaces"].append({name: interface[name] for name in ("name", "mac", "sandbox") if isinstance(interface.get(name), str)})
    return found


def _dicts(value: t.Any) -> list[dict[str, t.Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _files(directories: t.Iterable[str]) -> t.Iterator[tuple[str, str]]:
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except GONE:
            continue
        yield from ((name, f"{directory}/{name}") for name in names)


def _text(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST)
    except GONE:  # a pod that was deleted meanwhile
        return b""


def read(
    config_directories: t.Iterable[str] = CONFIG_DIRECTORIES,
    result_directories: t.Iterable[str] = RESULT_DIRECTORIES,
    check: t.Callable[[], None] | None = None,
) -> dict[str, t.Any]:
    """The configuration that the runtime takes (the first by name) and all cached results."""
    found: dict[str, t.Any] = {"results": [], "config": None}
    for name, path in _files(config_directories):
        if found["config"] is None and name.endswith((".conflist", ".conf", ".json")):
            found["config"] = config(_text(path))
            if found["config"] is not None:
                found["config"]["file"] = path
    for _name, path in _files(result_directories):
        if check is not None:
            check()
        cached = result(_text(path))
        if cached is not None:
            found["results"].append(cached)
    return found
