"""What flannel's CNI plugin does through `bridge` and `host-local`: cni0, the pods as its ports, the address store.

canal uses host-local too, with Calico's plugin.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from collections.abc import Sequence
from pathlib import Path

from lab import kernel
from lab.flannel import objects
from lab.plan import FLANNEL_NETWORK, Description, Node, Pod, new_mac

BRIDGE = "cni0"
STORE = Path("/var/lib/cni/networks")
DELEGATES = Path("/var/lib/cni/flannel")
NETNS = Path("/run/netns")


def store(lab: Description) -> Path:
    """host-local's folder of the network."""
    return STORE / ("k8s-pod-network" if lab.calico.backend else "cbr0")


def gateway(node: Node) -> str:
    """The address that host-local keeps for the bridge."""
    return str(ipaddress.ip_network(node.block)[1])


def wire(lab: Description, node: Node, pods: Sequence[Pod]) -> None:
    """cni0, and the pods' veth pairs as its ports. The pods' network namespaces are there already."""
    length = node.block.partition("/")[2]
    size = lab.calico.mtu
    if not Path("/sys/class/net", BRIDGE).exists():
        kernel.ip_batch([f"link add {BRIDGE} mtu {size} address {new_mac('0a')} type bridge", f"link set {BRIDGE} up"])  # its own, not a port's
    have = {item["local"] for link in kernel.ip_json(["addr", "show", "dev", BRIDGE]) for item in link["addr_info"]}
    lines = [] if gateway(node) in have else [f"addr add {gateway(node)}/{length} broadcast + dev {BRIDGE}"]
    for pod in pods:
        lines.append(f"link add {pod.interface} mtu {size} type veth peer name eth0 mtu {size} address {pod.mac} netns {pod.cni}")
        lines.append(f"link set {pod.interface} master {BRIDGE} up")
        lines.append(f"link set {pod.interface} type bridge_slave hairpin on")
    kernel.ip_batch(lines)
    for pod in pods:
        kernel.ip_batch(
            [
                "link set lo up",
                "link set eth0 up",
                f"addr add {pod.address}/{length} broadcast + dev eth0",
                f"route add default via {gateway(node)} dev eth0",
                f"route add {FLANNEL_NETWORK} via {gateway(node)} dev eth0",
            ],
            pod.cni,
        )


def allocate(lab: Description, pod: Pod) -> None:
    """host-local's file of an address."""
    folder = store(lab)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / pod.address).write_text(f"{pod.sandbox}\r\neth0", encoding="ascii", newline="")
    (folder / "last_reserved_ip.0").write_text(pod.address, encoding="ascii")
    (folder / "lock").touch()


def release(lab: Description, pod: Pod) -> None:
    """CNI DEL of host-local: only the container that an address belongs to gives it back."""
    path = store(lab) / pod.address
    if path.exists() and path.read_text(encoding="ascii").startswith(pod.sandbox):
        path.unlink()
    (DELEGATES / pod.sandbox).unlink(missing_ok=True)


def _mac(link: str) -> str:
    return (Path("/sys/class/net") / link / "address").read_text(encoding="ascii").strip()


def write_results(lab: Description, node: Node, pod: Pod, results: Path) -> None:
    """libcni's result cache and the delegate's configuration."""
    path = f"/var/run/netns/{pod.cni}"
    length = node.block.partition("/")[2]
    result = {
        "kind": "cniCacheV1",
        "containerId": pod.sandbox,
        "config": base64.b64encode(objects.CNI_CONFIG.encode()).decode(),
        "ifName": "eth0",
        "networkName": "cbr0",
        "netns": path,
        "cniArgs": [
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", pod.namespace],
            ["K8S_POD_NAME", pod.name],
            ["K8S_POD_INFRA_CONTAINER_ID", pod.sandbox],
            ["K8S_POD_UID", pod.uid],
        ],
        "capabilityArgs": {"io.kubernetes.cri.pod-annotations": {}, "portMappings": []},
        "result": {
            "cniVersion": "0.3.1",
            "dns": {},
            "interfaces": [
                {"mac": _mac(BRIDGE), "name": BRIDGE},
                {"mac": _mac(pod.interface), "name": pod.interface},
                {"mac": pod.mac, "name": "eth0", "sandbox": path},
            ],
            "ips": [{"address": f"{pod.address}/{length}", "gateway": gateway(node), "interface": 2, "version": "4"}],
            "routes": [{"dst": FLANNEL_NETWORK}, {"dst": "0.0.0.0/0", "gw": gateway(node)}],
        },
    }
    (results / f"cbr0-{pod.sandbox}-eth0").write_text(json.dumps(result, separators=(",", ":")), encoding="ascii")
    delegate = {
        "cniVersion": "0.3.1", "hairpinMode": True, "ipMasq": False,
        "ipam": {"ranges": [[{"subnet": node.block}]], "routes": [{"dst": FLANNEL_NETWORK}], "type": "host-local"},
        "isDefaultGateway": True, "isGateway": True, "mtu": lab.calico.mtu, "name": "cbr0", "type": "bridge",
    }  # fmt: skip
    DELEGATES.mkdir(parents=True, exist_ok=True)
    (DELEGATES / pod.sandbox).write_text(json.dumps(delegate, separators=(",", ":")), encoding="ascii")
    os.chmod(DELEGATES / pod.sandbox, 0o600)
