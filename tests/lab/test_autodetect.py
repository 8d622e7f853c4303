"""Address autodetection, held against calico-node's documented behaviour."""

from __future__ import annotations

import pytest

from lab.calico.autodetect import Found, Interface, autodetect, interfaces, published, usable

LO = Interface(1, "lo", ("127.0.0.1/8",))
ETH0 = Interface(2, "eth0", ("10.2.7.202/24",))
ETH1 = Interface(3, "eth1", ("10.9.7.202/24",))
CALI = Interface(4, "cali0123456789a", ("169.254.1.1/32",))
BR0 = Interface(9, "br0", ("192.188.1.1/24",))
DOCKER = Interface(10, "docker0", ("172.17.0.1/16",))
BRIDGE = Interface(11, "br-1234", ("172.18.0.1/16",))
ALL = [LO, ETH0, ETH1, CALI, BR0, DOCKER, BRIDGE]


@pytest.mark.parametrize(
    ("method", "nics", "expected"),
    [
        ("first-found", [LO, ETH0], Found("10.2.7.202/24", "eth0")),
        ("", [LO, ETH0, ETH1], Found("10.9.7.202/24", "eth1")),
        ("first-found", ALL, Found("192.188.1.1/24", "br0")),
        ("first-found", [LO, DOCKER, BRIDGE, CALI], None),
        ("first-found", [ETH0, Interface(12, "eth2", ("169.254.3.4/16",))], Found("10.2.7.202/24", "eth0")),
        ("interface=eth0", ALL, Found("10.2.7.202/24", "eth0")),
        ("interface=eth.*", ALL, Found("10.9.7.202/24", "eth1")),
        ("interface=eth0,eth1", ALL, Found("10.2.7.202/24", "eth0")),
        ("interface=r0", ALL, Found("172.17.0.1/16", "docker0")),
        ("interface=nothing", ALL, None),
        ("skip-interface=br0", ALL, Found("10.9.7.202/24", "eth1")),
        ("skip-interface=br0,eth1", ALL, Found("10.2.7.202/24", "eth0")),
        ("cidr=10.2.0.0/16", ALL, Found("10.2.7.202/24", "eth0")),
        ("cidr=172.17.0.0/16,10.2.0.0/16", ALL, Found("172.17.0.1/16", "docker0")),
        ("cidr=203.0.113.0/24", ALL, None),
        ("kubernetes-internal-ip", ALL, Found("10.2.7.202/24", "eth0")),
        ("kubernetes-internal-ip", [LO, BR0], Found("10.2.7.202/32", "")),
    ],
)
def test_method(method: str, nics: list[Interface], expected: Found | None) -> None:
    assert autodetect(method, nics, "10.2.7.202") == expected


def test_can_reach_asks_the_kernel() -> None:
    assert autodetect("can-reach=127.0.0.1", [LO]) == Found("127.0.0.1/8", "lo")


def test_no_internal_ip() -> None:
    assert autodetect("kubernetes-internal-ip", ALL) is None


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="invalid IP autodetection method: best"):
        autodetect("best", ALL)


def test_usable() -> None:
    assert [cidr for cidr in ("10.0.0.1/8", "127.0.0.1/8", "169.254.0.1/16", "224.0.0.1/4") if usable(cidr)] == ["10.0.0.1/8"]


def test_published_leaves_out_what_is_excluded() -> None:
    assert [nic["name"] for nic in published(ALL)] == ["br0", "eth1", "eth0"]


def test_interfaces_from_ip() -> None:
    link = {"ifindex": 2, "ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.2.7.202", "prefixlen": 24}]}
    assert interfaces([link]) == [ETH0]
