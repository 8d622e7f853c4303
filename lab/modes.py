"""The ways in which packets travel between the nodes of a lab, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Agent:
    """The DaemonSet that runs the network plugin, and how its pods are called and labelled."""

    name: str
    namespace: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Mode:
    """What of the network plugin's configuration differs from one mode to the other."""

    ipip: str = "Never"  # ipipMode of the pool
    vxlan: str = "Never"  # vxlanMode of the pool
    backend: str = "bird"  # CALICO_NETWORKING_BACKEND; "none" in canal, "" without Calico
    flannel: str = ""  # the type of flannel's backend; "" without flannel
    version: str = "v3.32.1"  # since v3.33 Felix writes the routes over tunl0, and not BIRD
    subnets: int = 1  # in how many the nodes are, with a router between them
    reflectors: int = 0  # how many nodes reflect routes, instead of a mesh of all
    families: tuple[int, ...] = (4,)
    operator: bool = False  # does the operator make calico-node? An option of every lab with calico-node

    @property
    def bird(self) -> bool:
        """Does BIRD run?"""
        return self.backend == "bird"

    @property
    def birds(self) -> tuple[str, ...]:
        """The daemons of BIRD: one for each family of addresses."""
        return tuple({4: "bird", 6: "bird6"}[family] for family in self.families) if self.bird else ()

    @property
    def ipv4(self) -> bool:
        """Do pods have IPv4 addresses? The nodes themselves are reached over IPv4 in every mode."""
        return 4 in self.families

    @property
    def ipv6(self) -> bool:
        return 6 in self.families

    @property
    def templates(self) -> str:
        """The release whose confd writes BIRD's configuration."""
        return self.version.rpartition(".")[0]

    def title(self, part: str) -> str:
        """How the command line of "felix", "confd", "node-services", "bird" or "bird6" begins."""
        if part in self.birds:
            return f"{part} -R"
        if self.templates == "v3.32":
            return f"calico-node -{part}"
        return f"calico component {'node ' if part == 'node-services' else ''}{part}"

    @property
    def cross_subnet(self) -> bool:
        """Do packets inside of a subnet go without a tunnel?"""
        return "CrossSubnet" in (self.ipip, self.vxlan)

    @property
    def tunnel(self) -> str:
        """The encapsulation that the pool has: "ipip", "vxlan" or ""."""
        return "ipip" if self.ipip != "Never" else "vxlan" if self.vxlan != "Never" else ""

    @property
    def agent(self) -> Agent:
        """What runs on every node."""
        if not self.backend:
            return Agent("kube-flannel-ds", "kube-flannel", {"app": "flannel", "tier": "node"})
        name = "canal" if self.flannel else "calico-node"
        return Agent(name, "calico-system" if self.operator else "kube-system", {"k8s-app": name})

    @property
    def device(self) -> str:
        """The tunnel's device, or ""."""
        if self.flannel:
            return "flannel.1" if self.flannel == "vxlan" else ""
        return {"ipip": "tunl0", "vxlan": "vxlan.calico", "": ""}[self.tunnel]

    @property
    def mtu(self) -> int:
        """What a NIC of 1500 leaves for pods; canal's manifest does not look at the tunnel."""
        if self.flannel == "vxlan" and not self.backend:
            return 1450
        return {"ipip": 1480, "vxlan": 1450, "": 1500}[self.tunnel]

    @property
    def felix_routes(self) -> bool:
        """Does Felix write the routes to other nodes, and not BIRD?"""
        return self.tunnel == "vxlan" or (self.tunnel == "ipip" and self.templates != "v3.32")


MODES = {
    "noencap": Mode(),
    "ipip": Mode(ipip="Always"),
    "vxlan": Mode(vxlan="Always", backend="vxlan"),
    "vxlan-crosssubnet": Mode(vxlan="CrossSubnet", backend="vxlan", subnets=2),
    "ipip-crosssubnet": Mode(ipip="CrossSubnet", version="v3.33.0", subnets=2),
    "felixroutes": Mode(ipip="Always", version="v3.33.0"),
    "routereflector": Mode(reflectors=1),
    "dualstack": Mode(families=(4, 6)),
    "ipv6": Mode(families=(6,)),
    "flannel": Mode(backend="", flannel="vxlan"),
    "flannel-hostgw": Mode(backend="", flannel="host-gw"),
    "canal": Mode(backend="none", flannel="vxlan"),
}
POLICED = {"iptables-nft": "noencap", "iptables-legacy": "vxlan", "nftables": "ipip"}  # what can enforce policies, and the mode in which that is tried
