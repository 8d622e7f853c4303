"""`up` and `down`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab import agent, cgroups, dns, ipip, kernel, kubelet, node, pod, processes
from lab.api import seed, server
from lab.cluster import Lab
from lab.errors import LabError
from lab.plan import GATEWAY, Description, Node, check_name, state_parent

Say = Callable[[str], None]
PROGRAMS = {
    "bird": "bird",
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "nc": "netcat-openbsd",
    "sysctl": "procps",
    "dnsmasq": "dnsmasq-base",
    "ping": "iputils-ping",
}


def check_machine() -> None:
    """Everything that `up` needs, or one sentence about what is missing."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces, so it needs root")
    path = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)})
    if missing:
        raise LabError(f"Debian packages are missing: apt-get install --no-install-recommends {' '.join(missing)}")


def inventory(lab: Description, folder: Path) -> str:
    """The nodes for Ansible: SSH to their real addresses, through the fabric's namespace."""
    options = [
        f"UserKnownHostsFile={folder}/ssh/known_hosts",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        f"'ProxyCommand=nsenter --net=/run/netns/{lab.fabric} nc %h %p'",
    ]
    lines = ["nodes:", "  vars:", "    ansible_user: root", "    ansible_python_interpreter: /usr/bin/python3"]
    lines.append(f"    ansible_ssh_private_key_file: {folder}/ssh/id_ed25519")
    lines.append(f"    ansible_control_path_dir: {run_folder(lab.name)}")
    lines.append('    ansible_ssh_common_args: "' + " ".join(f"-o {option}" for option in options) + '"')
    lines.append("  hosts:")
    for item in lab.nodes:
        lines += [f"    {item.name}:", f"      ansible_host: {item.address}"]
    return "\n".join(lines) + "\n"


def run_folder(name: str) -> Path:
    """A short path for ssh's control sockets."""
    return Path(f"/run/podnet-{name}")


def up(lab: Description, api: str, say: Say) -> Lab:
    """Make the lab. Whatever happens, what was made is recorded or can be told by its name first."""
    begin = time.monotonic()
    check_machine()
    folder = state_parent() / lab.name
    if (folder / "lab.json").exists() or traces(lab.name):
        raise LabError(f"there is a lab {lab.name} already; python -m lab down --name {lab.name} takes it away")
    (folder / "logs").mkdir(parents=True)
    run_folder(lab.name).mkdir(mode=0o700, exist_ok=True)
    lab.api, lab.api_reason = server.choose(api, say)
    lab.dns = dns.choose(lab)
    if lab.calico.tunnel == "ipip":
        lab.ipip = "kernel" if ipip.kernel_has_ipip() else "stand-in"
    save(lab, folder)
    say(f"lab {lab.name}: {len(lab.nodes)} nodes, {lab.mode}; API: {lab.api} ({lab.api_reason})")
    server.start(lab, folder)
    save(lab, folder)

    say("network namespaces, NICs, ssh keys")
    node.create_network(lab)
    node.create_keys(lab, folder)
    (folder / "inventory.yml").write_text(inventory(lab, folder), encoding="utf-8")
    fabric = f"{kernel.netns_path(lab.fabric)}={GATEWAY}"
    egress = f"--egress={server.egress_socket(folder)}"
    relay = processes.start_python(lab.name, "lab.api.relay", str(lab.port), egress, fabric, title="lab-api-relay-fabric")
    lab.pids["relay"] = relay.pid
    if lab.calico.tunnel == "ipip":
        _start_ipip(lab, folder)

    say("nodes: mount, UTS and PID namespaces, sshd")
    for item in lab.nodes:
        node.start(lab, item, folder)
        kernel.wait_child(_node_files(lab, item), f"writing files on {item.name}")
    save(lab, folder)

    say(f"waiting for the API server on 127.0.0.1:{lab.port}")
    client = server.wait_ready(lab, folder)
    say("filling the API: CRDs, nodes, pods, Calico's resources")
    seed.fill(client, lab)
    save(lab, folder)
    say(f"{len(lab.pods)} pods; DNS: {lab.dns}")
    children = []
    for item in lab.nodes:
        if lab.dns == "coredns" and any(p.app == "coredns" and p.node == item.name for p in lab.pods):
            kubelet.write_dns_kubeconfig(lab, item, folder)
        mine = [each for each in lab.pods if each.node == item.name]
        children.append(pod.create(lab, item, mine))
    for child in children:
        kernel.wait_child(child, "creating pods")
    if lab.dns == "coredns":
        for each in lab.pods:
            if each.app == "coredns":
                kubelet.start_dns_relay(lab, each)

    say(f"{lab.calico.agent.name} on every node")
    for item in lab.nodes:
        agent.start(lab, item, folder)
    watcher = processes.start_python(
        lab.name, "lab.kubelet", str(folder), log=folder / "logs" / "kubelet.log", title="lab-kubelet"
    )
    lab.pids["kubelet"] = watcher.pid
    if lab.operator:
        log = folder / "logs" / "operator.log"
        lab.pids["operator"] = processes.start_python(lab.name, "lab.tigera_operator", str(folder), log=log, title="lab-operator").pid
    if lab.api == "real" and lab.calico.backend:
        log = folder / "logs" / "container-exec.log"
        runner = processes.start_python(lab.name, "lab.container_exec", str(folder), log=log, title="lab-container-exec", site=True)
        lab.pids["container-exec"] = runner.pid
    save(lab, folder)
    made = Lab(folder)
    say("waiting for routes and pods")
    stop_if_asked()
    try:
        made.wait_healthy(60 + 20 * len(lab.nodes))
    except LabError as error:
        raise LabError(f"{error}\n{_last_words(folder / 'logs')}") from error
    stop_if_asked()
    say(f"lab {lab.name} is up after {time.monotonic() - begin:.1f} s")
    return made


def _last_words(logs: Path, lines: int = 4) -> str:
    """The end of each log, for a lab that did not come up: `up` takes them away with it."""
    texts = []
    for path in sorted(logs.glob("*.log")):
        end = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        texts += [f"{path.name}: {line[:300]}" for line in end]
    return "\n".join(texts)


def save(lab: Description, folder: Path) -> None:
    (folder / "lab.json").write_text(lab.to_json(), encoding="utf-8")


def _start_ipip(lab: Description, folder: Path) -> None:
    import json

    if lab.ipip == "kernel":
        ipip.create_kernel_devices(lab)
    spec = {"namespaces": [item.netns for item in lab.nodes], "stand_in": lab.ipip == "stand-in"}
    log = folder / "logs" / "ipip.log"
    lab.pids["ipip"] = processes.start_python(lab.name, "lab.ipip", json.dumps(spec), log=log, title="lab-ipip").pid
    processes.wait_for(lambda: "ready" in log.read_text(encoding="utf-8"), "tunl0 is there on every node", 10, 0.02)


def _node_files(lab: Description, item: Node) -> int:
    def work() -> None:
        name = {"": "flannel", "none": "canal"}.get(lab.calico.backend, "calico")
        path = Path(f"/etc/cni/net.d/10-{name}.conflist")
        path.touch(mode=0o600)
        path.write_text(pod.cni_config(lab, item), encoding="utf-8")

    return pod.in_node(item, work)


def traces(name: str) -> list[str]:
    """What exists of a lab outside of its state folder."""
    prefix = f"podnet-{name}-"
    found = []
    if kernel.NETNS_FOLDER.is_dir():
        found += [f"network namespace {p.name}" for p in kernel.NETNS_FOLDER.iterdir() if p.name.startswith(prefix)]
    found += [f"process {process.pid} {process.title[:60]}" for process in _processes(name)]
    found += [f"cgroup {path}" for path in cgroups.leftovers(name)]
    if run_folder(name).exists():
        found.append(f"folder {run_folder(name)}")
    return found


def _processes(name: str) -> list[processes.Process]:
    """Those that carry the lab's mark, and whatever else runs in its namespaces (an ssh session, a shell)."""
    inodes = set()
    if kernel.NETNS_FOLDER.is_dir():
        for path in kernel.NETNS_FOLDER.iterdir():
            if path.name.startswith(f"podnet-{name}-"):
                inodes.add(f"net:[{path.stat().st_ino}]")
    marked = {process.pid: process for process in processes.of_lab(name)}
    for process in processes.all_processes():
        if processes.namespace(process.pid, "net") in inodes:
            marked[process.pid] = process
    marked.pop(os.getpid(), None)
    return list(marked.values())


def down(name: str, say: Say) -> None:
    """Take a lab away, whatever there is of it."""
    check_name(name)
    folder = state_parent() / name
    if os.geteuid() != 0:
        raise LabError("the lab's namespaces belong to root, so taking them away needs root")
    if not folder.exists() and not traces(name):
        raise LabError(f"there is no lab {name}")
    for _turn in range(10):
        found = _processes(name)
        if not found:
            break
        processes.end([process.pid for process in found])
    say(f"lab {name}: processes ended")
    for path in list(kernel.NETNS_FOLDER.glob(f"podnet-{name}-*")):
        done = subprocess.run(["ip", "netns", "del", path.name], capture_output=True, text=True, check=False)
        if done.returncode and path.exists():
            path.unlink()  # a crash left the file without a namespace
    cgroups.remove_all(name)
    shutil.rmtree(run_folder(name), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    parent = state_parent()
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()
    left = traces(name)
    if left or folder.exists():
        raise LabError(f"lab {name} left something behind: {', '.join([*left, str(folder)][:5])}")
    say(f"lab {name}: nothing left")


_asked_to_stop: list[int] = []


def _interrupted(number: int, frame: object) -> None:
    _asked_to_stop.append(number)
    raise KeyboardInterrupt


def catch_signals() -> None:
    """SIGTERM and SIGHUP end `up` as Ctrl-C does."""
    _asked_to_stop.clear()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)


def stop_if_asked() -> None:
    """Python drops what a signal handler raises inside a callback (after a fork, in a finaliser), so it is raised here again."""
    if _asked_to_stop:
        raise KeyboardInterrupt
