# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _packing, _pyroute2
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.modules import node_info
from ansible_collections.podnet.doctor.tests.unit.plugins import support

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: reads network namespaces")


def test_everything(run: t.Any) -> None:
    result = run(node_info, {"host": "one", "node": "k8s01", "timeout": 5}, check=True)
    support.valid("node", result["node"])
    assert (result["node"]["host"], result["node"]["node"]) == ("one", "k8s01")
    assert result["sections"][0] == "identity"
    hidden = {"calico", "flannel", "network_manager"} if support.some_process_is_hidden() else set()  # their daemons may be among what is hidden
    assert set(result["errors"]) == hidden and all("Permission denied" in error for error in result["errors"].values())


def test_packed(run: t.Any) -> None:
    result = run(node_info, {"packed": True, "gather_subset": ["identity", "routes"]})
    document = _packing.unpack(result["packed"])
    support.valid("node", document)
    assert "node" not in result and document["routes"]


def test_flows_and_pods(run: t.Any) -> None:
    result = run(
        node_info, {"gather_subset": ["lookups", "reachability"], "flows": [{"dst": "127.0.0.1"}], "reachability": [{"dst": "127.0.0.1", "timeout": 1}]}
    )
    assert result["node"]["lookups"][0]["route"]["dev"] == "lo"
    assert result["node"]["reachability"][0]["outcome"] == "answered"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"gather_subset": ["colour"]}, "gather_subset: no section colour; known are all, identity, links"),
        ({"timeout": 0}, "timeout: 0 is not a positive number of seconds"),
        ({"flows": [{"src": "10.0.0.1"}]}, "missing required arguments: dst found in flows"),
        ({"reachability": [{"dst": "10.0.0.1", "protocol": "udp"}]}, "value of protocol must be one of: tcp, icmp, got: udp found in reachability"),
    ],
)
def test_bad_options(run: t.Any, arguments: dict[str, t.Any], text: str) -> None:
    result = run(node_info, arguments)
    assert result["failed"] is True and result["msg"].startswith(text)


def test_not_root(run: t.Any, no_root: None) -> None:
    result = run(node_info)
    assert result["failed"] is True and result["msg"].endswith("belongs to root; run this task with become: true")


def test_without_pyroute2(run: t.Any, namespaces: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest goes on, and where no link needs it nothing is missed."""

    def missing(*_arguments: t.Any) -> t.Any:
        raise _pyroute2.Missing("pyroute2 is not installed for this Python, and no copy came with the call")

    said: list[str] = []
    monkeypatch.setattr(_pyroute2, "load", missing)
    monkeypatch.setattr(node_info.AnsibleModule, "warn", lambda _module, text: said.append(text))
    options = {"gather_subset": ["identity", "links", "addresses", "rules", "routes", "neighbours", "sandboxes", "sysctls"]}
    space = namespaces()
    space.ip("link set lo up")
    assert inside(space.path, lambda: run(node_info, options), Deadline(30))["errors"] == {}
    space.ip("link add vxlan.calico type vxlan id 4096 dstport 4789")
    assert inside(space.path, lambda: run(node_info, options), Deadline(30))["errors"] == {}
    space.ip("tuntap add tunl0 mode tun")
    result = inside(space.path, lambda: run(node_info, options), Deadline(30))
    assert set(result["errors"]) == {"links", "sandboxes"}
    assert result["node"]["routes"] and result["node"]["sysctls"] and result["node"]["addresses"] and result["node"]["rules"]
    words = "what is particular to some kinds of links (tun, vlan, vrf, bond) cannot be read: "
    assert said == 3 * [f"{words}pyroute2 is not installed for this Python, and no copy came with the call"]


def test_broken_copy(run: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: t.Any) -> t.Any:
        raise ValueError("File is not a zip file")

    monkeypatch.setattr(_pyroute2, "load", broken)
    assert run(node_info, {"pyroute2": "x"})["failed"] is True
