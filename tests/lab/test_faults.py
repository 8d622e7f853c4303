"""Every fault breaks what it says, and healing it leaves a healthy lab."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import faults, kernel
from lab.cluster import Lab
from lab.errors import LabError
from lab.processes import wait_for
from tests.lab.support import lab, needs_root, unique

TFAULT = unique("tfault")


def test_catalogue() -> None:
    found = faults.catalogue()
    assert {item.number for item in found} >= {"F01", "F02", "F17", "F20", "F22", "F49", "F51", "F52", "F75", "F76", "F77", "F78"}
    for item in found:
        assert item.text, item.name
        assert item.cause == item.name.split(".")[0]
    with pytest.raises(LabError, match="there is no fault nothing"):
        faults.find("nothing")


# one fault of each file in its first mode; the matrix puts all of them in, looks at the traffic, and takes them out again
FOR_HOMES = [item for item in reversed(faults.catalogue()) if item.works is False and not item.by_service]  # for a Service kube-proxy needs the real API
HOMES = sorted({item.run.__module__: (item.modes.names[0], item.name) for item in FOR_HOMES}.values())


@pytest.fixture(scope="module", params=["ipip", "vxlan", "dualstack", "canal"])
def cluster(request: pytest.FixtureRequest, state: Path) -> Iterator[Lab]:
    lab("up", "--mode", request.param, "--api", "emulator", "--name", TFAULT, "--monitor-interval", "2")
    yield Lab.load(TFAULT)
    lab("down", "--name", TFAULT)


@needs_root
@pytest.mark.thorough
@pytest.mark.parametrize(("cluster", "name"), HOMES, indirect=["cluster"])
def test_breaks_and_heals(cluster: Lab, name: str) -> None:
    found = faults.find(name)
    source, destination, _rest = found.question
    assert cluster.answers(source, destination, family=found.family)
    found.inject(cluster)
    try:
        assert found.shows(cluster)
    finally:
        found.heal(cluster)
    assert cluster.answers(source, destination, family=found.family)


@needs_root
def test_elsewhere_it_says_why_not(cluster: Lab) -> None:
    for found in faults.catalogue():
        if cluster.mode not in found.modes.names:
            with pytest.raises(LabError, match=re.escape(found.why_not(cluster.mode))):
                found.inject(cluster)


def _needs(cluster: Lab, *wanted: faults.Fault) -> None:
    for item in wanted:
        if cluster.mode not in item.modes.names:
            pytest.skip(item.why_not(cluster.mode))


@needs_root
def test_two_at_once(cluster: Lab) -> None:
    stray, proxy = faults.find("node_ip_wrong_nic"), faults.find("proxy_arp_or_forwarding_cleared.proxy_arp")
    _needs(cluster, stray, proxy)
    stray.inject(cluster)
    proxy.inject(cluster)
    with pytest.raises(LabError, match="is in already"):
        proxy.inject(cluster)
    stray.heal(cluster)
    assert cluster.address("k8s02") == "10.2.7.202/24"
    assert not cluster.answers("shop/web-2", "shop/web-0")
    proxy.heal(cluster)
    with pytest.raises(LabError, match="is not in"):
        proxy.heal(cluster)


@needs_root
def test_the_monitor_heals_the_address(cluster: Lab) -> None:
    stray = faults.find("node_ip_wrong_nic")
    _needs(cluster, stray)
    stray.inject(cluster)
    cluster.run("k8s02", "ip", "addr", "del", "192.188.1.1/24", "dev", "br0")
    assert cluster.wait_healthy(40) < 40
    stray.heal(cluster)


@needs_root
def test_a_deleted_pod_comes_back(cluster: Lab) -> None:
    old = next(pod for pod in cluster.pods if pod.app in ("calico-kube-controllers", "probe"))
    cluster.client.delete("pods", old.name, old.namespace)
    wait_for(lambda: all(pod.name != old.name for pod in cluster.pods), "the pod has a successor", 20)
    cluster.wait_healthy(30)
    fresh = next(pod for pod in cluster.pods if (pod.app, pod.node, pod.namespace) == (old.app, old.node, old.namespace))
    assert cluster.client.get("pods", fresh.name, fresh.namespace)["status"]["podIP"] == fresh.address


@needs_root
@pytest.mark.parametrize("cluster", ["ipip"], indirect=True)
def test_no_ssh_connection_of_the_old_mtu_outlives_it(cluster: Lab) -> None:
    """A segment of the old size would be dropped again and again, and whoever goes on with the connection would wait for minutes."""
    found = faults.find("mtu_blackhole")
    with kernel.in_netns(f"/run/netns/{cluster.description.fabric}"):
        connection = socket.create_connection((cluster.node("k8s02").address, 22), timeout=20)
    with connection:
        assert connection.recv(4) == b"SSH-"
        found.inject(cluster)
        try:
            with pytest.raises(ConnectionResetError):
                while connection.recv(4096):
                    pass
        finally:
            found.heal(cluster)
