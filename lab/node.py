"""A node: network, mount, UTS, IPC and PID namespaces, an sshd, and what lies on its disk."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from lab import kernel, processes
from lab.errors import LabError
from lab.plan import GATEWAY, GATEWAY6, SECOND_GATEWAY, Description, Node

SSHD = """Port 22
HostKey {keys}/{name}_host
PidFile none
AuthorizedKeysFile {keys}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
"""


def node_bridge(node: Node) -> str:
    """The fabric's bridge that a node's NIC is a port of."""
    return f"br{2 * node.subnet}"


MANY = 12  # nodes from which on they know each other's MAC for good: the kernel has one ARP table for all namespaces, and counts no permanent entries


def create_network(lab: Description) -> None:
    """The fabric with its bridges, between which it routes if nodes are in two subnets, and each node's network namespace with its NIC."""
    kernel.ip_batch([f"netns add {lab.fabric}", *(f"netns add {node.netns}" for node in lab.nodes)])
    fabric = ["link set lo up"]
    bridges = {"br0": GATEWAY, "br1": SECOND_GATEWAY} | {node_bridge(node): node.gateway for node in lab.nodes}
    for bridge, gateway in bridges.items():
        fabric += [
            f"link add {bridge} address 52:54:00:ff:00:0{bridge[-1]} type bridge",
            f"addr add {gateway}/24 dev {bridge}",
            f"link set {bridge} up",
        ]
    if lab.calico.ipv6:
        fabric.append(f"addr add {GATEWAY6}/64 dev br0 nodad")
    for number, node in enumerate(lab.nodes, 1):
        fabric.append(f"link add n{number} type veth peer name eth0 address {node.mac} netns {node.netns}")
        fabric.append(f"link set n{number} master {node_bridge(node)} up")
        if node.second:
            fabric.append(f"link add s{number} type veth peer name eth1 netns {node.netns}")
            fabric.append(f"link set s{number} master br1 up")
    kernel.ip_batch(fabric, lab.fabric)
    with kernel.in_netns(kernel.netns_path(lab.fabric)):
        kernel.sysctl({"net/ipv4/ip_forward": str(int(lab.calico.subnets > 1))})
    for node in lab.nodes:
        _node_network(lab, node)


def _node_network(lab: Description, node: Node) -> None:
    with kernel.in_netns(kernel.netns_path(node.netns)):
        kernel.sysctl({"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/route_localnet": "1"})
        if node.address6:
            kernel.sysctl({"net/ipv6/conf/all/forwarding": "1", "net/ipv6/conf/all/accept_dad": "0"})
    lines = [
        "link set lo up",
        f"addr add {node.address}/24 broadcast + dev eth0",
        "link set eth0 up",
        f"route add default via {node.gateway} dev eth0",
    ]
    if node.address6:
        lines += [f"addr add {node.address6}/64 dev eth0 nodad", f"route add default via {GATEWAY6} dev eth0"]
    if node.second:
        lines += [f"addr add {node.second}/24 broadcast + dev eth1", "link set eth1 up"]
    if len(lab.nodes) > MANY:
        near = [other for other in lab.nodes if other.subnet == node.subnet and other.name != node.name]
        lines += [f"neigh add {other.address} lladdr {other.mac} dev eth0 nud permanent" for other in near]
    kernel.ip_batch(lines, node.netns)


def create_keys(lab: Description, folder: Path) -> None:
    """A key for the user, a host key for each node, and the known_hosts that fits."""
    keys = folder / "ssh"
    keys.mkdir(mode=0o700)
    names = ["id_ed25519", *(f"{node.name}_host" for node in lab.nodes)]
    running = [
        subprocess.Popen(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {name}", "-f", str(keys / name)])
        for name in names
    ]
    for process in running:
        process.wait()
    (keys / "authorized_keys").write_text((keys / "id_ed25519.pub").read_text(encoding="utf-8"), encoding="utf-8")
    known = []
    for node in lab.nodes:
        kind, key = (keys / f"{node.name}_host.pub").read_text(encoding="utf-8").split()[:2]
        known.append(f"{node.name},{node.address} {kind} {key}")
        (keys / f"{node.name}_sshd").write_text(SSHD.format(keys=keys, name=node.name), encoding="utf-8")
    (keys / "known_hosts").write_text("\n".join(known) + "\n", encoding="utf-8")


def start(lab: Description, node: Node, folder: Path) -> None:
    """Start the node's first process and wait until its mounts and sshd are there."""
    ready, told = os.pipe()
    spec = {"lab": lab.name, "node": node.name, "machine_id": node.machine_id, "sshd": str(folder / "ssh"), "dataplane": lab.dataplane}
    command = processes.python_command("lab.node", json.dumps(spec), str(told))

    def boot() -> None:
        os.close(ready)
        kernel.setns(kernel.netns_path(node.netns), kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC)
        os.setsid()
        first = os.fork()
        if first:
            os.write(told, f"{first}\n".encode())
            os._exit(0)
        log = os.open(folder / "logs" / f"{node.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.set_inheritable(told, True)
        os.execve(sys.executable, command, processes.environment(lab.name))

    child = kernel.in_child(boot)
    os.close(told)
    with os.fdopen(ready) as pipe:
        lines = [pipe.readline(), pipe.readline()]
    kernel.wait_child(child, f"starting {node.name}")
    if sorted(lines)[-1].strip() != "ready":
        said = (folder / "logs" / f"{node.name}.log").read_text(encoding="utf-8", errors="replace").strip()[-1000:]
        raise LabError(f"{node.name} did not start: {said or 'it said nothing'}")
    node.pid = int(sorted(lines)[0])


def _mounts(spec: dict[str, str]) -> None:
    """The node's own view of the disk; runs inside."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        target = line.split()[4]
        if target.startswith("/run/netns/"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, and its mounts with it
                kernel.unmount(target)  # or this node would hold other namespaces alive
    kernel.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for name in ("sys", "layers", "sshd", "calico", "netns", "lock"):
        Path("/run", name).mkdir()
    kernel.mount("/sys", "/run/sys", flags=kernel.MS_BIND | kernel.MS_REC)
    kernel.mount("sysfs", "/sys", "sysfs")
    if Path("/sys/fs/cgroup").is_dir():
        kernel.mount("/run/sys/fs/cgroup", "/sys/fs/cgroup", flags=kernel.MS_BIND | kernel.MS_REC)
    kernel.unmount("/run/sys")
    Path("/run/sys").rmdir()
    kernel.mount("proc", "/proc", "proc")
    for name in ("etc", "var", "opt", "root"):
        upper, work = Path("/run/layers", name, "upper"), Path("/run/layers", name, "work")
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        kernel.mount("overlay", f"/{name}", "overlay", data=options)
    for folder in ("/var/log/calico/cni", "/var/lib/calico", "/var/lib/cni/results", "/etc/cni/net.d", "/opt/cni/bin"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("/etc/calico/confd/config").mkdir(parents=True, exist_ok=True)
    for name, text in (("machine-id", spec["machine_id"]), ("hostname", spec["node"]), ("hosts", f"127.0.0.1 localhost\n127.0.1.1 {spec['node']}")):
        path = Path("/etc", name)
        path.unlink(missing_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    if spec["dataplane"] == "iptables-legacy":  # as update-alternatives sets it
        for program in ("iptables", "ip6tables"):
            for ending in ("", "-save", "-restore"):
                link = Path("/etc/alternatives", program + ending)
                link.unlink(missing_ok=True)
                link.symlink_to(f"/usr/sbin/{program}-legacy{ending}")


def main(arguments: list[str]) -> int:
    """The node's first process: mounts, sshd, and then it only reaps."""
    spec: dict[str, str] = json.loads(arguments[0])
    kernel.set_hostname(spec["node"])
    _mounts(spec)
    kernel.set_title(["/sbin/init", spec["node"]])
    config = f"{spec['sshd']}/{spec['node']}_sshd"
    sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config], env=processes.environment(spec["lab"]))
    told = int(arguments[1])
    os.write(told, b"ready\n")
    os.close(told)
    signal.signal(signal.SIGTERM, lambda *_rest: os._exit(0))
    while True:
        try:
            if os.waitpid(-1, 0)[0] == sshd.pid:
                print("sshd ended", flush=True)
        except ChildProcessError:
            signal.pause()
