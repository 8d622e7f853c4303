"""Starts the lab's API: etcd and kube-apiserver, or the emulator."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from lab import binaries, processes
from lab.api import pki
from lab.api.client import ApiError, Client
from lab.errors import LabError
from lab.plan import GATEWAY, SERVICES, Description


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def choose(wanted: str, say: Callable[[str], None]) -> tuple[str, str]:
    """Which API to run, and why."""
    tools = ("etcd", "kube-apiserver")
    if wanted == "emulator":
        return "emulator", "asked for"
    if wanted == "real":
        for tool in tools:
            binaries.build(tool, say)
        return "real", "asked for"
    missing = [tool for tool in tools if not binaries.find(tool)]
    if missing:
        return "emulator", f"{' and '.join(missing)} not built yet (python -m lab build makes them)"
    return "real", "etcd and kube-apiserver were found"


def write_kubeconfig(folder: Path, port: int) -> Path:
    """The administrator's kubeconfig, certificates inside."""

    def data(name: str) -> str:
        return base64.b64encode((folder / "pki" / name).read_bytes()).decode()

    server = f"https://127.0.0.1:{port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
        "users": [
            {
                "name": "lab-admin",
                "user": {"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")},
            }
        ],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab-admin"}}],
        "current-context": "lab",
    }
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return path


def egress_socket(folder: Path) -> Path:
    """Where `lab.api.relay` takes the API server's connections to the nodes' kubelets."""
    return folder / "egress.sock"


def _egress(folder: Path) -> Path:
    """The API server is in the host's namespace, from where no way leads to the nodes: it connects to them through a proxy that is among them."""
    transport = {"uds": {"udsName": str(egress_socket(folder))}}
    connection = {"proxyProtocol": "HTTPConnect", "transport": transport}
    selection = {"name": "cluster", "connection": connection}
    config = {"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": [selection]}
    path = folder / "egress.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def start(lab: Description, folder: Path) -> None:
    """Start the chosen API in the background."""
    pki.create(folder / "pki")
    lab.port = free_port()
    write_kubeconfig(folder, lab.port)
    if lab.api == "emulator":
        log = folder / "logs" / "emulator.log"
        server = processes.start_python(
            lab.name, "lab.api.emulator", str(lab.port), str(folder / "pki"), log=log, title="lab-api-emulator"
        )
        lab.pids["api"] = server.pid
        return
    etcd, peer = free_port(), free_port()
    tools = {tool: binaries.find(tool) for tool in ("etcd", "kube-apiserver")}
    lab.pids["etcd"] = processes.start(
        lab.name,
        [
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        executable=str(tools["etcd"]),
        log=folder / "logs" / "etcd.log",
    ).pid
    key = folder / "pki" / "sa.key"
    lab.pids["api"] = processes.start(
        lab.name,
        [
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            f"--advertise-address={GATEWAY}",
            f"--secure-port={lab.port}",
            f"--client-ca-file={folder / 'pki' / 'ca.crt'}",
            f"--tls-cert-file={folder / 'pki' / 'server.crt'}",
            f"--tls-private-key-file={folder / 'pki' / 'server.key'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--enable-priority-and-fairness=false",
            "--storage-media-type=application/json",
            "--profiling=false",
            f"--cert-dir={folder / 'pki'}",
            f"--egress-selector-config-file={_egress(folder)}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={folder / 'pki' / 'admin.crt'}",
            f"--kubelet-client-key={folder / 'pki' / 'admin.key'}",
        ],
        executable=str(tools["kube-apiserver"]),
        log=folder / "logs" / "kube-apiserver.log",
    ).pid


def wait_ready(lab: Description, folder: Path, timeout: float = 90.0) -> Client:
    """Wait until the API answers and has its namespaces."""
    client = Client(folder / "kubeconfig")
    limit = time.monotonic() + timeout
    error: Exception = LabError("it never answered")
    while time.monotonic() < limit:
        if not processes.alive(lab.pids["api"]):
            break
        try:
            client.request("GET", "/readyz" if lab.api == "emulator" else "/readyz?exclude=informer-sync")
            client.get("namespaces", "kube-system")
            client.get("namespaces", "default")
            return client
        except (ApiError, OSError) as caught:
            error = caught
            time.sleep(0.1)
    raise LabError(f"the API of lab {lab.name} does not answer ({error}); see {folder / 'logs'}")
