"""What a lab consists of: its nodes, pods and addresses, as plain data in `lab.json`."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import secrets
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.modes import MODES, Mode
from lab.processes import ROOT

POOL = "10.253.0.0/16"
FLANNEL_NETWORK = "10.244.0.0/16"
POOL6 = "fd00:10:253::/56"
SERVICES = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
NODE_NETWORKS = ("10.2.7.0/24", "10.2.8.0/24")  # one, or two with a router between them
GATEWAY = "10.2.7.254"  # of the first one
NODE_NETWORK6 = "fd00:10:2:7::/64"
GATEWAY6 = "fd00:10:2:7::fe"
SECOND_NETWORK = "10.9.7.0/24"
SECOND_GATEWAY = "10.9.7.254"
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass
class Node:
    """A node: its names and addresses."""

    name: str
    address: str
    mac: str
    block: str
    machine_id: str
    system_uuid: str
    netns: str
    prefixlen: int = 24
    tunnel: str | None = None
    second: str | None = None
    subnet: int = 0  # which of the networks of nodes it is in
    reflector: bool = False  # a route reflector
    address6: str = ""
    block6: str = ""
    pid: int = 0  # its first process, as the host numbers it

    @property
    def blocks(self) -> list[str]:
        """Its blocks of pod addresses, one for each family."""
        return [block for block in (self.block, self.block6) if block]

    @property
    def addresses(self) -> list[str]:
        """What Kubernetes knows of it: of the families that its pods have."""
        return [address for address, block in ((self.address, self.block or not self.block6), (self.address6, self.block6)) if block]

    @property
    def gateway(self) -> str:
        """Its default router: the last address of its network."""
        return str(ipaddress.ip_network(NODE_NETWORKS[self.subnet])[-2])


@dataclass
class Pod:
    """A pod with a sandbox of its own."""

    namespace: str
    name: str
    node: str
    app: str
    uid: str
    address: str
    mac: str
    sandbox: str
    container: str
    cni: str  # the name of its network namespace on the node
    cgroups: str  # how its cgroup is written: "cgroupfs" or "systemd"
    port: int = 8080
    pid: int = 0
    bridged: bool = False  # a port of flannel's bridge
    address6: str = ""

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.address, self.address6) if address]

    @property
    def prefixes(self) -> list[str]:
        """Its addresses, as prefixes of one address."""
        return [f"{address}/{32 if '.' in address else 128}" for address in self.addresses]

    @property
    def interface(self) -> str:
        """The host's end of its veth pair."""
        if self.bridged:  # the bridge plugin's name is random
            return "veth" + hashlib.sha1(self.sandbox.encode()).hexdigest()[:8]
        return "cali" + hashlib.sha1(f"{self.namespace}.{self.name}".encode()).hexdigest()[:11]


@dataclass
class Description:
    """The whole lab."""

    name: str
    mode: str
    autodetection: str
    monitor_interval: float
    felix_refresh: float
    api: str = ""
    api_reason: str = ""
    port: int = 0
    ipip: str = ""
    dns: str = ""
    dataplane: str = ""  # what policies are enforced with; "" where they are not
    operator: bool = False  # is calico-node made by the operator?
    nodes: list[Node] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def calico(self) -> Mode:
        return replace(MODES[self.mode], operator=self.operator)

    @property
    def prefix(self) -> str:
        return f"podnet-{self.name}-"

    @property
    def fabric(self) -> str:
        return f"{self.prefix}fabric"

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"lab {self.name} has no node {name}; its nodes are {', '.join(n.name for n in self.nodes)}")

    def pod(self, name: str) -> Pod:
        """A pod by `namespace/name`."""
        for pod in self.pods:
            if f"{pod.namespace}/{pod.name}" == name:
                return pod
        raise LabError(f"lab {self.name} has no pod {name}")

    def peers(self, node: Node) -> list[Node]:
        """The nodes that a node has a BGP session with."""
        return [other for other in self.nodes if other.name != node.name and (not self.calico.reflectors or node.reflector or other.reflector)]

    def way(self, node: Node, other: Node, family: int = 4) -> tuple[str | None, str, str]:
        """Gateway, device and protocol of the route from a node to the block of another one."""
        mode = self.calico
        nic = "eth1" if node.second else "eth0"
        if mode.flannel == "vxlan":
            return str(ipaddress.ip_network(other.block)[0]), mode.device, "boot"
        if mode.flannel:
            return other.address, nic, "boot"
        if family == 6:
            return other.address6, nic, "bird"
        if mode.cross_subnet and node.subnet == other.subnet:
            return other.address, nic, "80" if mode.felix_routes else "bird"
        if mode.tunnel == "vxlan":
            return other.tunnel, mode.device, "boot"
        return other.second or other.address, mode.device or nic, "80" if mode.felix_routes else "bird"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Description:
        raw: dict[str, Any] = json.loads(text)
        raw["nodes"] = [Node(**node) for node in raw["nodes"]]
        raw["pods"] = [Pod(**pod) for pod in raw["pods"]]
        return cls(**raw)


def check_name(name: str) -> str:
    """A lab's name becomes a part of namespaces' names, so it is short and plain."""
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):
        raise LabError(f"a lab's name is 1 to 16 lower case letters and digits and begins with a letter, not {name!r}")
    return name


def state_parent() -> Path:
    """The folder that holds the state folders of all labs."""
    return Path(os.environ.get("PODNET_LAB_STATE") or ROOT / "build" / "lab").resolve()


def mark(lab: str) -> str:
    """The last 12 digits of every container id of a lab: leftover cgroups can be told by them."""
    return hashlib.sha1(lab.encode()).hexdigest()[:12]


def random_name(length: int = 5) -> str:
    """A random ending as Kubernetes makes it."""
    return "".join(secrets.choice(LETTERS) for _turn in range(length))


def hashed(text: str, length: int = 10) -> str:
    """An ending that is always the same for `text`, in Kubernetes' letters."""
    number = int(hashlib.sha1(text.encode()).hexdigest(), 16)
    digits = []
    for _turn in range(length):
        number, rest = divmod(number, len(LETTERS))
        digits.append(LETTERS[rest])
    return "".join(digits)


def new_mac(first: str = "52:54:00") -> str:
    return first + "".join(f":{byte:02x}" for byte in secrets.token_bytes(6 - len(first.split(":"))))


def new_pod(lab: Description, namespace: str, name: str, node: str, app: str, address: str, port: int = 8080, address6: str = "") -> Pod:
    """A pod with fresh ids. Both ways of writing a cgroup are used, on different pods."""
    style = "systemd" if int(hashlib.sha1(f"{namespace}/{name}".encode()).hexdigest(), 16) % 2 else "cgroupfs"
    return Pod(
        namespace=namespace,
        name=name,
        node=node,
        app=app,
        uid=str(uuid.uuid4()),
        address=address,
        mac=new_mac("26"),
        sandbox=secrets.token_hex(26) + mark(lab.name),
        container=secrets.token_hex(26) + mark(lab.name),
        cni=f"cni-{uuid.uuid4()}",
        cgroups=style,
        port=port,
        bridged=not lab.calico.backend,
        address6=address6,
    )


def pod_networks(names: list[str]) -> list[str]:
    """The podCIDRs, as kube-controller-manager gives them out."""
    subnets = list(ipaddress.ip_network(FLANNEL_NETWORK).subnets(new_prefix=24))
    return [str(subnet) for subnet in subnets[: len(names)]]


def blocks(names: list[str]) -> list[str]:
    """One /26 of the pool for each node, spread as Calico's IPAM spreads them: by a hash of the host."""
    pool = ipaddress.ip_network(POOL)
    count = 2 ** (26 - pool.prefixlen)
    taken: set[int] = set()
    result = []
    for name in names:
        number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % count
        while number in taken:
            number = (number + 1) % count
        taken.add(number)
        result.append(str(ipaddress.ip_network((int(pool.network_address) + number * 64, 26))))
    return result


def block6(name: str) -> str:
    """A /122 of the IPv6 pool, by a hash of the host."""
    pool = ipaddress.ip_network(POOL6)
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 ** (122 - pool.prefixlen)
    return f"{pool.network_address + number * 64}/122"


def plan(
    name: str,
    mode: str,
    count: int,
    *,
    autodetection: str = "",
    second_nic: bool = False,
    monitor_interval: float = 10.0,
    felix_refresh: float = 30.0,
    dataplane: str = "",
    operator: bool = False,
) -> Description:
    """All names, ids and addresses of a new lab."""
    if mode not in MODES:
        raise LabError(f"there is no mode {mode}; the modes are {', '.join(MODES)}")
    if not 1 <= count <= 50:
        raise LabError(f"a lab has 1 to 50 nodes, not {count}")
    if dataplane and (not MODES[mode].backend or MODES[mode].ipv6):
        raise LabError(f"in the mode {mode} nothing enforces policies: {'Felix does not run' if not MODES[mode].backend else 'the rules are for IPv4'}")
    if operator and (not MODES[mode].backend or MODES[mode].flannel):
        raise LabError(f"in the mode {mode} there is no calico-node that an operator would make")
    if second_nic and not autodetection:
        autodetection = "interface=eth1"
    lab = Description(check_name(name), mode, autodetection or "first-found", monitor_interval, felix_refresh, dataplane=dataplane, operator=operator)
    names = [f"k8s{number:02d}" for number in range(1, count + 1)]
    for number, (node, block) in enumerate(zip(names, pod_networks(names) if lab.calico.flannel else blocks(names), strict=True), 1):
        network = ipaddress.ip_network(block)
        subnet = (number - 1) * lab.calico.subnets // count
        lab.nodes.append(
            Node(
                name=node,
                address=str(ipaddress.ip_network(NODE_NETWORKS[subnet])[200 + number]),
                mac=new_mac(),
                block=block if lab.calico.ipv4 else "",
                machine_id=uuid.uuid4().hex,
                system_uuid=str(uuid.uuid4()),
                netns=f"{lab.prefix}{node}",
                tunnel=str(network[0]) if lab.calico.tunnel else None,
                second=str(ipaddress.ip_network(SECOND_NETWORK)[200 + number]) if second_nic else None,
                subnet=subnet,
                reflector=number <= lab.calico.reflectors,
                address6=str(ipaddress.ip_network(NODE_NETWORK6)[0x200 + number]) if lab.calico.ipv6 else "",
                block6=block6(node) if lab.calico.ipv6 else "",
            )
        )
    _plan_pods(lab, names)
    return lab


def free_address(lab: Description, node: Node, family: int = 4) -> str:
    """The next address that IPAM hands out on a node; "" where it has no block of the family."""
    block = node.block if family == 4 else node.block6
    if not block:
        return ""
    used = {address for pod in lab.pods for address in pod.addresses} | {node.tunnel}
    network = ipaddress.ip_network(block)
    for address in list(network)[2:-1] if lab.calico.flannel else network:  # host-local keeps the first for the bridge
        if str(address) not in used:
            return str(address)
    raise LabError(f"the block {block} of {node.name} is full")


def _plan_pods(lab: Description, names: list[str]) -> None:
    def add(namespace: str, pod: str, index: int, app: str, port: int = 8080) -> None:
        node = lab.nodes[index % len(names)]
        lab.pods.append(new_pod(lab, namespace, pod, node.name, app, free_address(lab, node), port, free_address(lab, node, 6)))

    controllers = "calico-kube-controllers"
    if lab.calico.backend:
        add("kube-system", f"{controllers}-{hashed(controllers)}-{random_name()}", 0, controllers, 9094)
    for index in sorted({0, len(names) - 1}) if len(names) > 1 else [0, 0]:
        add("kube-system", f"coredns-{hashed('coredns')}-{random_name()}", index, "coredns", 53)
    for index in range(len(names)):
        add("ops", f"probe-{random_name()}", index, "probe")
        add("shop", f"web-{index}", index, "web")
        add("shop", f"api-{index}", index + 1, "api")
