"""How calico-node chooses the node's address: the methods of IP_AUTODETECTION_METHOD."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

EXCLUDED = (
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^podman.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo",
    "^br-.*",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    r"^vxlan\.calico.*",
    r"^vxlan-v6\.calico.*",
    r"^wireguard\.cali.*",
    r"^wg-v6\.cali.*",
    "^nodelocaldns.*",
)


@dataclass(frozen=True)
class Interface:
    """A NIC and its addresses of a family, like `10.2.7.201/24`."""

    index: int
    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The address that was chosen, and the NIC that it was found on, if it was on one."""

    cidr: str
    interface: str


def interfaces(links: Iterable[dict[str, Any]], family: int = 4) -> list[Interface]:
    """From `ip -j addr`."""
    wanted = "inet" if family == 4 else "inet6"
    return [
        Interface(
            link["ifindex"],
            link["ifname"],
            tuple(f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []) if a.get("family") == wanted),
        )
        for link in links
    ]


def usable(cidr: str) -> bool:
    """Go's IsGlobalUnicast: private addresses count, loopback, link-local and multicast do not."""
    address = ipaddress.ip_interface(cidr).ip
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or str(address) == "255.255.255.255"
    )


def _filtered(found: Sequence[Interface], include: Sequence[str], exclude: Sequence[str]) -> list[Interface]:
    """Newest first, as calico-node looks at them; operational state never matters."""
    wanted = [
        nic
        for nic in sorted(found, key=lambda nic: nic.index, reverse=True)
        if not any(re.search(pattern, nic.name) for pattern in exclude)
        and (not include or any(re.search(pattern, nic.name) for pattern in include))
    ]
    if include:  # the order of the list of expressions comes first
        wanted.sort(key=lambda nic: next(i for i, pattern in enumerate(include) if re.search(pattern, nic.name)))
    return wanted


def first_usable(found: Sequence[Interface], include: Sequence[str], exclude: Sequence[str]) -> Found | None:
    for nic in _filtered(found, include, exclude):
        for cidr in nic.addresses:
            if usable(cidr):
                return Found(cidr, nic.name)
    return None


def _holder(found: Sequence[Interface], address: str) -> Found | None:
    for nic in found:
        for cidr in nic.addresses:
            if cidr.partition("/")[0] == address:
                return Found(cidr, nic.name)
    return None


def _reach(found: Sequence[Interface], target: str) -> Found | None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 80))
            local: str = probe.getsockname()[0]
    except OSError:
        return None
    return _holder(found, local)


def autodetect(method: str, found: Sequence[Interface], internal_ip: str = "") -> Found | None:
    """The node's address by a method, or None if it finds none."""
    name, _rest, value = method.partition("=")
    values = [part.strip() for part in value.split(",") if part.strip()]
    if name in ("", "first-found"):
        return first_usable(found, (), EXCLUDED)
    if name == "interface":
        return first_usable(found, values, ())
    if name == "skip-interface":
        return first_usable(found, (), (*EXCLUDED, *values))
    if name == "can-reach":
        return _reach(found, value)
    if name == "cidr":
        networks = [ipaddress.ip_network(part, strict=False) for part in values]
        for nic in _filtered(found, (), ()):
            for cidr in nic.addresses:
                if any(ipaddress.ip_interface(cidr).ip in network for network in networks):
                    return Found(cidr, nic.name)
        return None
    if name == "kubernetes-internal-ip":
        if not internal_ip:
            return None
        return _holder(found, internal_ip) or Found(f"{internal_ip}/32", "")
    raise ValueError(f"invalid IP autodetection method: {method}")


def published(found: Sequence[Interface], found6: Sequence[Interface] = ()) -> list[dict[str, Any]]:
    """The annotation projectcalico.org/Interfaces: every NIC that is not excluded; of IPv6 the link-local addresses, too."""
    result = []
    more = {nic.name: nic.addresses for nic in found6}
    for nic in _filtered(found, (), EXCLUDED):
        addresses = [cidr.partition("/")[0] for cidr in (*filter(usable, nic.addresses), *more.get(nic.name, ()))]
        if addresses:
            result.append({"name": nic.name, "addresses": addresses})
    return result
