"""A stand-in for flanneld with the Kubernetes subnet manager, and as event driven as the real one.

VXLAN writes the route, the neighbour and the FDB entry of another node when that node's lease appears or changes, and never again; an
FDB entry of an old MAC stays. host-gw also looks at its routes every ten seconds and puts back what is missing. A flannel.1 that is
deleted is made again at once, and stays empty. Rules of FORWARD that are lost come back within five seconds. Only a start writes
subnet.env and the node's own lease.
"""

from __future__ import annotations

import ipaddress
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import kernel
from lab.api.client import ApiError, Client, Json
from lab.calico.common import annotations_of
from lab.errors import LabError
from lab.kernel import ip_batch, ip_json

PREFIX = "flannel.alpha.coreos.com/"
DEVICE = "flannel.1"
VNI, PORT = 1, 8472
OVERHEAD = 50  # of VXLAN over IPv4
ROUTE_CHECK = 10.0  # seconds
IPTABLES_RESYNC = 5.0
FORWARD = "FLANNEL-FWD"
COMMENT = ["-m", "comment", "--comment", "flanneld forward"]
SUBNET_ENV = Path("/run/flannel/subnet.env")
LOG = Path("/var/log/flanneld.log")
TITLE = ["flanneld", "--ip-masq", "--kube-subnet-mgr"]


@dataclass(frozen=True)
class Settings:
    """One node's flanneld."""

    lab: str
    node: str
    backend: str
    network: str
    kubeconfig: str
    server: str
    title: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Settings:
        raw: dict[str, Any] = json.loads(text)
        raw["title"] = tuple(raw["title"])
        return cls(**raw)


@dataclass(frozen=True)
class Lease:
    """What a node announces."""

    cidr: str
    public_ip: str
    mac: str

    @property
    def vtep(self) -> str:
        return cidr_address(self.cidr, 0)

    @classmethod
    def of(cls, node: Json) -> Lease | None:
        annotations = annotations_of(node)
        cidr, public_ip = node.get("spec", {}).get("podCIDR"), annotations.get(PREFIX + "public-ip")
        if not cidr or not public_ip:
            return None
        data = json.loads(annotations.get(PREFIX + "backend-data") or "null") or {}
        return cls(cidr, public_ip, data.get("VtepMAC", ""))


def cidr_address(cidr: str, number: int) -> str:
    """An address of a podCIDR: 0 is flannel.1's, 1 the bridge's."""
    return str(ipaddress.ip_network(cidr)[number])


def log(text: str, level: str = "I") -> None:
    """A line in klog's form."""
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.gmtime(now)) + f".{int(now * 1e6) % 1000000:06d}"
    with LOG.open("a", encoding="utf-8") as file:
        file.write(f"{level}{stamp} {threading.get_native_id():7d} flanneld.py] {text}\n")


def uplink() -> tuple[str, str, int]:
    """Name, address and MTU of the NIC that the default route uses."""
    default = next(route for route in ip_json(["route", "show", "default"]))
    link = next(link for link in ip_json(["addr", "show", "dev", default["dev"]]))
    address = next(item["local"] for item in link["addr_info"] if item["family"] == "inet")
    return link["ifname"], address, link["mtu"]


def iptables(*arguments: str) -> bool:
    """Whether the command succeeded; a check fails where there is no such rule."""
    return subprocess.run(["iptables", "-w", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


class Flanneld:
    """The daemon of one node."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client(Path(settings.kubeconfig), settings.server)
        self.known: dict[str, Lease] = {}
        self.events: queue.Queue[Json] = queue.Queue()
        self.dev, self.address, mtu = uplink()
        self.mtu = mtu - OVERHEAD if settings.backend == "vxlan" else mtu
        self.mac = ""
        self.cidr = ""

    def start(self) -> None:
        """Everything that only a start does."""
        node = self.client.get("nodes", self.settings.node)
        self.cidr = node.get("spec", {}).get("podCIDR") or ""
        if not self.cidr:
            raise LabError(f'Error registering network: failed to acquire lease: node "{self.settings.node}" pod cidr not assigned')
        if self.settings.backend == "vxlan":
            self.make_device()
        annotations = annotations_of(node)
        public_ip = annotations.get(PREFIX + "public-ip-overwrite") or self.address
        data = json.dumps({"VNI": VNI, "VtepMAC": self.mac}, separators=(",", ":")) if self.settings.backend == "vxlan" else "null"
        lease = {"backend-data": data, "backend-type": self.settings.backend, "kube-subnet-manager": "true", "public-ip": public_ip}
        wanted = {PREFIX + name: value for name, value in lease.items()}
        if any(annotations.get(name) != value for name, value in wanted.items()):
            self.client.patch("nodes", self.settings.node, {"metadata": {"annotations": wanted}})
        self.report_up(node)
        SUBNET_ENV.parent.mkdir(exist_ok=True)
        lines = {"NETWORK": self.settings.network, "SUBNET": f"{cidr_address(self.cidr, 1)}/{self.cidr.partition('/')[2]}",
                 "MTU": self.mtu, "IPMASQ": "true"}  # fmt: skip
        temporary = SUBNET_ENV.with_name(".subnet.env")
        temporary.write_text("".join(f"FLANNEL_{name}={value}\n" for name, value in lines.items()), encoding="ascii")
        temporary.rename(SUBNET_ENV)
        log(f"Wrote subnet file to {SUBNET_ENV}")

    def report_up(self, node: Json) -> None:
        """The node's condition."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        fresh = {"type": "NetworkUnavailable", "status": "False", "reason": "FlannelIsUp", "message": "Flannel is running on this node",
                 "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}  # fmt: skip
        kept = [item for item in node.get("status", {}).get("conditions", []) if item["type"] != "NetworkUnavailable"]
        self.client.patch("nodes", self.settings.node, {"status": {"conditions": [fresh, *kept]}}, part="status")

    def device(self) -> Json | None:
        return next((link for link in ip_json(["-d", "addr"]) if link["ifname"] == DEVICE), None)

    def make_device(self) -> None:
        """flannel.1, with the MAC that it has already, or with the one that it had."""
        link = self.device()
        right = {"id": VNI, "port": PORT, "local": self.address, "link": self.dev}
        if link and {key: link.get("linkinfo", {}).get("info_data", {}).get(key) for key in right} != right:
            ip_batch([f"link del {DEVICE}"], force=True)
            link = None
        if not link:
            mac = f"address {self.mac} " if self.mac else ""
            ip_batch([f"link add {DEVICE} mtu {self.mtu} {mac}type vxlan id {VNI} dstport {PORT} local {self.address} dev {self.dev} nolearning"])
            link = self.device()
        assert link is not None
        self.mac = link["address"]
        address = cidr_address(self.cidr, 0)
        have = [item["local"] for item in link.get("addr_info", []) if item["family"] == "inet"]
        lines = [f"addr del {old}/32 dev {DEVICE}" for old in have if old != address]
        lines += [] if address in have else [f"addr add {address}/32 dev {DEVICE}"]
        ip_batch([*lines, f"link set {DEVICE} up"])

    # --------------------------------------------------------------- events

    def lease_changed(self, name: str, lease: Lease | None) -> None:
        """What another node announces is new, different or gone."""
        old = self.known.get(name)
        if name == self.settings.node or lease == old:
            return
        if lease is None:
            self.known.pop(name)
        else:
            self.known[name] = lease
        if self.settings.backend == "host-gw":
            self.write_route(old, lease)
        else:
            self.write_tunnel(old, lease)

    def write_route(self, old: Lease | None, lease: Lease | None) -> None:
        if old is not None and (lease is None or lease.cidr != old.cidr):
            ip_batch([f"route del {old.cidr} via {old.public_ip}"], force=True)
        if lease is not None:
            log(f"Adding route {lease.cidr} via {lease.public_ip}")
            ip_batch([f"route replace {lease.cidr} via {lease.public_ip} dev {self.dev}"])

    def write_tunnel(self, old: Lease | None, lease: Lease | None) -> None:
        if lease is None:
            assert old is not None
            ip_batch([f"route del {old.cidr} dev {DEVICE}", f"neigh del {old.vtep} dev {DEVICE}"], force=True)
            ip_batch([f"fdb del {old.mac} dev {DEVICE} dst {old.public_ip} self"], force=True, program="bridge")
            return
        log(f"adding subnet: {lease.cidr} PublicIP: {lease.public_ip} VtepMAC: {lease.mac}")
        ip_batch([f"neigh replace {lease.vtep} lladdr {lease.mac} dev {DEVICE} nud permanent"])
        ip_batch([f"fdb replace {lease.mac} dev {DEVICE} dst {lease.public_ip} self permanent"], program="bridge")
        ip_batch([f"route replace {lease.cidr} via {lease.vtep} dev {DEVICE} onlink"])

    def node_event(self, event: Json) -> None:
        if event["type"] == "LISTED":
            there = {item["metadata"]["name"]: Lease.of(item) for item in event["object"]["items"]}
            for name in [*there, *(set(self.known) - set(there))]:
                self.lease_changed(name, there.get(name))
        elif event["type"] in ("ADDED", "MODIFIED", "DELETED"):
            item = event["object"]
            self.lease_changed(item["metadata"]["name"], None if event["type"] == "DELETED" else Lease.of(item))

    def check_routes(self) -> None:
        """host-gw: put back what is missing."""
        present = {route["dst"] for route in ip_json(["route", "show", "table", "main"])}
        for lease in self.known.values():
            if lease.cidr not in present:
                log(f"Route to {lease.cidr} via {lease.public_ip} is missing, adding it")
                self.write_route(None, lease)

    def sync_forward(self) -> None:
        """The rules that let the pods' packets through."""
        jump = ["FORWARD", *COMMENT, "-j", FORWARD]
        accept = [[FORWARD, way, self.settings.network, *COMMENT, "-j", "ACCEPT"] for way in ("-s", "-d")]
        if iptables("-C", *jump) and all(iptables("-C", *rule) for rule in accept):
            return
        iptables("-N", FORWARD)
        iptables("-F", FORWARD)
        for rule in accept:
            iptables("-A", *rule)
        if not iptables("-C", *jump):
            iptables("-A", *jump)
        log(f"Setting up the chain {FORWARD}")

    def watch_device(self) -> None:
        """VXLAN: flannel.1 is made again if it was deleted, without what was on it."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as monitor:
            monitor.bind((0, 1))  # RTMGRP_LINK
            while True:
                try:
                    monitor.recv(1 << 16)
                except OSError:  # overrun: something changed
                    pass
                if self.device() is None:
                    log(f"Interface {DEVICE} deleted", "W")
                    try:
                        self.make_device()
                    except LabError as error:
                        log(f"failed to recreate VXLAN device: {error}", "E")
                    else:
                        log(f"VXLAN device {DEVICE} recreated successfully")

    def run(self) -> None:
        """For ever."""
        self.start()
        if self.settings.backend == "vxlan":
            threading.Thread(target=self.watch_device, daemon=True).start()
        self.client.follow("nodes", self.events.put)
        self.sync_forward()
        checked = synced = time.monotonic()
        while True:
            try:
                self.node_event(self.events.get(timeout=1.0))
            except queue.Empty:
                pass
            except LabError as error:
                log(str(error), "E")
            if time.monotonic() - synced >= IPTABLES_RESYNC:
                self.sync_forward()
                synced = time.monotonic()
            if self.settings.backend == "host-gw" and time.monotonic() - checked >= ROUTE_CHECK:
                self.check_routes()
                checked = time.monotonic()


def main(arguments: list[str]) -> int:
    """JSON of the settings."""
    settings = Settings.read(arguments[0])
    kernel.set_title(settings.title)
    try:
        Flanneld(settings).run()
    except (ApiError, LabError) as error:
        log(str(error), "F")
        print(error, file=sys.stderr)
    return 1
