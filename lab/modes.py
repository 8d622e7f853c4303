"""The ways in which packets travel between the nodes of a lab, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """What of Calico's configuration differs from one mode to the other."""

    ipip: str = "Never"  # ipipMode of the pool
    vxlan: str = "Never"  # vxlanMode of the pool
    backend: str = "bird"  # CALICO_NETWORKING_BACKEND

    @property
    def bird(self) -> bool:
        """Does BIRD run?"""
        return self.backend == "bird"

    @property
    def tunnel(self) -> str:
        """The encapsulation that the pool has: "ipip", "vxlan" or ""."""
        return "ipip" if self.ipip != "Never" else "vxlan" if self.vxlan != "Never" else ""

    @property
    def device(self) -> str:
        """The tunnel's device, or ""."""
        return {"ipip": "tunl0", "vxlan": "vxlan.calico", "": ""}[self.tunnel]

    @property
    def mtu(self) -> int:
        """What a NIC of 1500 leaves for pods."""
        return {"ipip": 1480, "vxlan": 1450, "": 1500}[self.tunnel]

    @property
    def felix_routes(self) -> bool:
        """Does Felix write the routes to other nodes, and not BIRD?"""
        return self.tunnel == "vxlan"


MODES = {
    "noencap": Mode(),
    "ipip": Mode(ipip="Always"),
    "vxlan": Mode(vxlan="Always", backend="vxlan"),
}
