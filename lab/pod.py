"""A pod on its node: the sandbox that containerd makes, wired as Calico's CNI plugin wires it."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import cgroups, dns, kernel, processes
from lab.api.objects import cni_network_config
from lab.flannel import cni as flannel
from lab.flannel import objects as flannel_objects
from lab.plan import DNS_ADDRESS, Description, Node, Pod, state_parent

NETNS = Path("/run/netns")
RESULTS = Path("/var/lib/cni/results")
HOST_MAC = "ee:ee:ee:ee:ee:ee"
HOST_LL = "fe80::ecee:eeff:feee:eeee"  # of that MAC: the gateway of a pod's IPv6


def ipv6_sysctls(interface: str) -> dict[str, str]:
    """What the CNI plugin and Felix set on the host's end of a pod with IPv6."""
    values = {"disable_ipv6": "0", "proxy_ndp": "1", "forwarding": "1", "accept_ra": "0", "accept_dad": "0"}
    return {f"net/ipv6/conf/{interface}/{name}": value for name, value in values.items()}


def start_in_node(lab: Description, node: Node, command: list[str], log: Path, what: str) -> None:
    """Start a long-lived Python program of the lab inside a node."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        if os.fork():
            return
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, written), (2, written)):
            os.dup2(source, target)
        os.execve(sys.executable, command, processes.environment(lab.name))

    child = in_node(node, work)
    os.close(written)
    kernel.wait_child(child, f"starting {what} on {node.name}")


def in_node(node: Node, work: Callable[[], None]) -> int:
    """Run `work` as a process of the node; the id of the process that waits for it."""

    def outer() -> None:
        kernel.enter(node.pid)
        kernel.wait_child(kernel.in_child(work), f"work on {node.name}")

    return kernel.in_child(outer)


def create(lab: Description, node: Node, pods: Sequence[Pod]) -> int:
    """Make the sandboxes of some pods of a node in a child process, whose id is returned."""
    log = os.open(state_parent() / lab.name / "logs" / "pods.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        _network(lab, node, pods)
        for pod in pods:
            _cni_files(lab, node, pod)
            _process(lab, pod, pod.sandbox, "/usr/bin/sleep", ["/pause", "infinity"], log)
            if pod.app == "coredns":
                executable, command = dns.command(lab, pod)
            else:
                name = f"{pod.namespace}/{pod.name}"
                command = processes.python_command("lab.pod_server", name, str(pod.port))
                executable = sys.executable
            _process(lab, pod, pod.container, executable, command, log)

    try:
        return in_node(node, work)
    finally:
        os.close(log)


def _network(lab: Description, node: Node, pods: Sequence[Pod]) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    for pod in pods:
        (NETNS / pod.cni).touch()
        kernel.unshare(kernel.CLONE_NEWNET)
        kernel.mount("/proc/self/ns/net", NETNS / pod.cni, flags=kernel.MS_BIND)
        kernel.sysctl({"net/ipv4/ip_forward": "0"})
    kernel.setns(f"/proc/self/fd/{own}", kernel.CLONE_NEWNET)
    os.close(own)
    if not lab.calico.backend:
        flannel.wire(lab, node, pods)
        return
    size = lab.calico.mtu
    kernel.ip_batch(
        f"link add {pod.interface} mtu {size} address {HOST_MAC} numtxqueues 1 numrxqueues 1 type veth "
        f"peer name eth0 mtu {size} address {pod.mac} netns {pod.cni}"
        for pod in pods
    )
    for pod in pods:
        kernel.sysctl(
            {
                f"net/ipv4/conf/{pod.interface}/route_localnet": "1",
                f"net/ipv4/neigh/{pod.interface}/proxy_delay": "0",
                f"net/ipv4/conf/{pod.interface}/proxy_arp": "1",
                f"net/ipv4/conf/{pod.interface}/forwarding": "1",
                **(ipv6_sysctls(pod.interface) if pod.address6 else {}),
            }
        )
        in_pod = ["link set lo up", "link set eth0 up"]
        if pod.address:
            in_pod += [f"addr add {pod.address}/32 dev eth0", "route add 169.254.1.1 dev eth0 scope link", "route add default via 169.254.1.1 dev eth0"]
        if pod.address6:  # written before the link is up, so that nothing waits for duplicate address detection
            with kernel.in_netns(NETNS / pod.cni):
                kernel.sysctl({"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/eth0/accept_dad": "0"})
            in_pod += [f"addr add {pod.address6}/128 dev eth0 nodad", f"route add default via {HOST_LL} dev eth0"]
        kernel.ip_batch(in_pod, pod.cni)
    lines = []
    for pod in pods:
        lines.append(f"link set {pod.interface} txqueuelen 0 up")
        if pod.address:
            lines.append(f"route replace {pod.address}/32 dev {pod.interface} scope link")
        if pod.address6:
            lines.append(f"route replace {pod.address6}/128 dev {pod.interface}")
    kernel.ip_batch(lines)


def _process(
    lab: Description, pod: Pod, container: str, executable: str, command: Sequence[str], log: int
) -> None:
    if os.fork():
        return
    try:
        os.setsid()
        kernel.setns(NETNS / pod.cni, kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
        kernel.set_hostname(pod.name[:63])
        resolv = Path("/run", f"resolv-{pod.sandbox[:12]}")
        domains = f"{pod.namespace}.svc.cluster.local svc.cluster.local cluster.local"
        resolv.write_text(f"search {domains}\nnameserver {DNS_ADDRESS}\noptions ndots:5\n", encoding="ascii")
        if Path("/etc/resolv.conf").exists():
            kernel.mount(str(resolv), "/etc/resolv.conf", flags=kernel.MS_BIND)
        cgroups.join(pod, container)
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(executable, list(command), processes.environment(lab.name))
    except BaseException as error:
        os.write(2, f"lab: pod {pod.namespace}/{pod.name}: {error}\n".encode())
    finally:
        os._exit(1)


def cni_config(lab: Description, node: Node) -> str:
    """The CNI configuration of a node in /etc/cni/net.d."""
    if not lab.calico.backend:
        return flannel_objects.CNI_CONFIG
    text = flannel_objects.canal_cni_config() if lab.calico.flannel else cni_network_config(lab)
    text = text.replace("__KUBERNETES_NODE_NAME__", node.name).replace("__CNI_MTU__", "0")
    return text.replace("__KUBECONFIG_FILEPATH__", "/etc/cni/net.d/calico-kubeconfig") + "\n"


def _cni_files(lab: Description, node: Node, pod: Pod) -> None:
    """libcni's result cache, and the plugin's log line."""
    if lab.calico.flannel:
        flannel.allocate(lab, pod)
    if not lab.calico.backend:
        flannel.write_results(lab, node, pod, RESULTS)
        return
    path = f"/var/run/netns/{pod.cni}"
    result = {
        "kind": "cniCacheV1",
        "containerId": pod.sandbox,
        "config": base64.b64encode(cni_config(lab, node).encode()).decode(),
        "ifName": "eth0",
        "networkName": "k8s-pod-network",
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
            "interfaces": [{"name": pod.interface}, {"mac": pod.mac, "name": "eth0", "sandbox": path}],
            "ips": [{"address": prefix, "interface": 1, "version": "6" if ":" in prefix else "4"} for prefix in pod.prefixes],
            **({} if lab.calico.flannel else {"routes": [{"dst": f"{address}/{122 if ':' in address else 26}"} for address in pod.addresses]}),
        },
    }
    text = json.dumps(result, separators=(",", ":"))
    (RESULTS / f"k8s-pod-network-{pod.sandbox}-eth0").write_text(text, encoding="ascii")
    with Path("/var/log/calico/cni/cni.log").open("a", encoding="utf-8") as log:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        log.write(
            f'{stamp}.000 [INFO][{os.getpid()}] cni-plugin/dataplane_linux.go 510: Added Mac, interface name, and '
            f'active container ID to endpoint ContainerID="{pod.sandbox}" Namespace="{pod.namespace}" '
            f'Pod="{pod.name}" WorkloadEndpoint="{endpoint_name(node.name, pod.name)}"\n'
        )


def endpoint_name(node: str, pod: str) -> str:
    """The name of a WorkloadEndpoint."""
    return f"{node.replace('-', '--')}-k8s-{pod.replace('-', '--')}-eth0"


def processes_of(pod: Pod) -> list[int]:
    """The pod's processes as the caller numbers them, the sandbox's own first."""
    return cgroups.pids(pod, pod.sandbox) + cgroups.pids(pod, pod.container)


def delete(lab: Description, node: Node, pod: Pod) -> None:
    """Take a pod's sandbox away, as CNI DEL and containerd do."""
    processes.end(processes_of(pod))

    def work() -> None:
        kernel.ip_batch([f"link del {pod.interface}"], force=True)
        for path in RESULTS.glob(f"*-{pod.sandbox}-eth0"):
            path.unlink()
        if lab.calico.flannel:
            flannel.release(lab, pod)
        if (NETNS / pod.cni).exists():
            kernel.unmount(NETNS / pod.cni)
            (NETNS / pod.cni).unlink()

    kernel.wait_child(in_node(node, work), f"deleting {pod.namespace}/{pod.name}")
    cgroups.remove(pod)
