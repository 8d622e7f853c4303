# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import threading
import time
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _node, _places, _processes, _sandboxes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inode, inside
from ansible_collections.podnet.doctor.tests.unit.plugins import support


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


def read(space: t.Any, **options: t.Any) -> dict[str, t.Any]:
    return inside(space.path, lambda: _node.Collector(_node.Question(**options)).read(), Deadline(30))


@pytest.fixture(autouse=True)
def every_process_may_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs these tests may be kept from some, such as the machine's first."""
    monkeypatch.setattr(_processes.Processes, "refusal", property(lambda _self: None, lambda _self, _error: None), raising=False)


def test_whole_document(network: support.Network) -> None:
    network.stay(network.pods[0])
    network.serve(network.nodes[1], 179)
    flows = [
        {"dst": "10.244.1.2", "src": "10.244.0.2", "iif": "cali00"},
        {"dst": "10.244.1.2", "netns_of": "cali00"},
        {"dst": "10.244.1.2", "netns_of": "nobody"},
        {"dst": "2001:db8::1"},
        {"dst": "nonsense"},
        {"dst": "10.244.1.2", "iif": "gone0"},
        {"dst": "203.0.113.1", "protocol": "tcp", "dport": 80, "mark": 7},
    ]
    targets = [
        {"dst": "192.0.2.12", "port": 179, "source": "192.0.2.11"},
        {"dst": "192.0.2.12", "port": 5473},
        {"dst": "192.0.2.12"},
        {"dst": "10.244.1.2", "netns_of": "10.244.0.2"},
        {"dst": "2001:db8::1"},
        {"dst": "192.0.2.12", "port": 179, "source": "203.0.113.9"},
        {"dst": "192.0.2.12", "netns_of": "nobody"},
    ]
    before = inode()
    document = read(network.nodes[0], host="one", node="k8s01", pods=[{"ip": "10.244.0.2"}, {"uid": "nobody"}], flows=flows, reachability=targets)
    assert inode() == before
    support.valid("node", document)
    assert _node.errors(document) == {}
    assert {link["ifname"] for link in document["links"]} == {"lo", "eth0", "cali00"}
    assert document["sysctls"]["net/ipv4/conf/cali00/proxy_arp"] == "1"
    (sandbox,) = [one for one in document["sandboxes"] if one.get("ifname") == "cali00"]
    assert sandbox["netns"] == inode(network.pods[0].path) and len(sandbox["pids"]) == 1
    assert {address["local"] for address in sandbox["network"]["addresses"]} > {"10.244.0.2"}
    assert any(route["dst"] == "0.0.0.0/0" and route["gateway"] == "169.254.1.1" for route in sandbox["network"]["routes"])
    assert sum("network" in one for one in document["sandboxes"]) == 1
    routes = [lookup["route"] for lookup in document["lookups"]]
    assert (routes[0]["dev"], routes[0]["gateway"], routes[0]["match"]["dst"], routes[0]["match"]["protocol"]) == (
        "eth0",
        "192.0.2.12",
        "10.244.1.0/26",
        "bird",
    )
    assert (routes[1]["dev"], routes[1]["gateway"], routes[1]["prefsrc"]) == ("eth0", "169.254.1.1", "10.244.0.2")
    assert routes[2]["error"] == "no sandbox of nobody on this node"
    assert routes[3]["errno"] == 101 and "unreachable" in routes[3]["error"]
    assert "not an address" in routes[4]["error"] and "no interface gone0" in routes[5]["error"]
    assert routes[6]["gateway"] == "192.0.2.254"
    assert [target["outcome"] for target in document["reachability"]] == [
        "answered",
        "refused",
        "answered",
        "answered",
        "unreachable",
        "unreachable",
        "unreachable",
    ]
    assert document["bird"]["ipv4"]["reason"] in ("absent", "refused")


def test_dead_pod_is_still_found(network: support.Network) -> None:
    """A namespace that only a mount keeps."""
    document = read(network.nodes[0], sections=["sandboxes"], pods=[{"ifname": "cali00"}])
    (sandbox,) = [one for one in document["sandboxes"] if one.get("ifname") == "cali00"]
    assert sandbox["pids"] == [] and sandbox["path"] == network.pods[0].path and sandbox["network"]["links"]


def test_subset() -> None:
    assert _node.subset(None) == list(_node.SECTIONS)
    assert _node.subset(["routes", "links"]) == ["links", "routes"]
    assert "cni" not in _node.subset(["!cni"]) and len(_node.subset(["all", "!cni"])) == len(_node.SECTIONS) - 1
    with pytest.raises(ValueError, match="no section colour"):
        _node.subset(["colour"])


def test_only_asked_sections() -> None:
    document = _node.Collector(_node.Question(sections=["identity", "counters"])).read()
    assert set(document) == {"schema", "collected_at", "seconds", "host", "node", "identity", "counters"}


def test_hanging_and_failing_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()

    def denied(*_arguments: t.Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_node._cni, "read", lambda **_options: forever.wait())
    monkeypatch.setattr(_node._counters, "listeners", denied)
    monkeypatch.setattr(_node._calico, "read", lambda *_arguments: forever.wait())
    started = time.monotonic()
    document = _node.Collector(_node.Question(timeout=1.5)).read()
    forever.set()
    assert time.monotonic() - started < 3
    assert _node.errors(document) == {
        "cni": "no answer before the deadline",
        "calico": "no answer before the deadline",
        "listeners": "Permission denied",
    }
    assert document["routes"] and document["links"]
    support.valid("node", document)


def test_thousands_of_interfaces(namespaces: t.Any) -> None:
    space = namespaces()
    pairs = "".join(f"link add cali{number:04x} type veth peer name veth{number:04x}\n" for number in range(1000))
    subprocess.run(["ip", "-n", space.name, "-batch", "-"], input=pairs, text=True, check=True)
    document = read(space, sections=["links", "addresses", "routes", "neighbours", "fdb", "sysctls"], timeout=60)
    assert _node.errors(document) == {}
    assert len(document["links"]) == 2001
    assert sum(name.endswith("/proxy_arp") for name in document["sysctls"]) == 2003  # of each, of all and of default


def test_processes_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_arguments: t.Any, **_options: t.Any) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(_places, "Processes", gone)
    document = _node.Collector(_node.Question(sections=["bird", "calico", "sandboxes", "links"], timeout=3)).read()
    assert document["links"] and document["calico"] == {"error": "no /proc"} and document["sandboxes"] == {"error": "no /proc"}
    assert "reason" in document["bird"]["ipv4"]


def test_find() -> None:
    sandboxes: list[dict[str, t.Any]] = [
        {"netns": 1, "container_ids": ["c1"], "pod_uid": "u1", "ifname": "cali1", "pids": [7]},
        {"netns": 2, "container_ids": [], "ifname": "cali2", "ifnames": ["cali2", "cali3"], "pids": [], "path": "/run/netns/x"},
    ]
    routes = [
        {"dst": "10.0.0.0/26", "type": "unicast", "dev": "cali1", "scope": "link"},
        {"dst": "10.0.0.1/32", "type": "unicast", "dev": "eth0", "gateway": "192.0.2.1", "scope": "global"},
        {"dst": "10.0.0.1/32", "type": "unicast", "dev": "cali3", "scope": "link"},
    ]
    assert _sandboxes.find({"uid": "u1"}, sandboxes, routes) is sandboxes[0]
    assert _sandboxes.find({"uid": "other", "container_id": "c1"}, sandboxes, routes) is sandboxes[0]
    assert _sandboxes.find({"ifname": "cali3"}, sandboxes, routes) is sandboxes[1]
    assert _sandboxes.find({"ip": "10.0.0.1"}, sandboxes, routes) is sandboxes[1]
    assert _sandboxes.find({"ip": "10.0.0.2"}, sandboxes, routes) is None
    assert _sandboxes.find({}, sandboxes, routes) is None
    assert [_sandboxes.path_of(sandbox) for sandbox in sandboxes] == ["/proc/7/ns/net", "/run/netns/x"]
