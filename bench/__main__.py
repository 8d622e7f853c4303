# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection costs, against what would be done without it; bench/README.md says what each number means.

One pair over SSH: `ansible -m ping`, a plain playbook of a runbook's commands, and the diagnosis. Everything is a ratio of runs
that alternate on the same machine, the median of several rounds' ratios. "warm" finds SSH connections that are open already, "cold" has
to make them. Then the CPU of node_info, and a diagnosis of large clusters from documents. Writes build/bench.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import node_cpu, scale

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LAB = f"bench{os.getpid()}"
AT_MOST_PING = 3.0
FASTER_THAN_RUNBOOK = 8.0
AT_MOST_PROBED = 2.0  # of the same diagnosis without packets
AUDITED = 30


@dataclass(frozen=True)
class Pair:
    """The question that is measured."""

    inventory: Path
    kubeconfig: Path
    source: str
    destination: str
    port: int


def api(kubeconfig: Path) -> tuple[Any, dict[str, str]]:
    """A client of the API, and what the plain playbook needs to ask it without kubectl."""
    from kubernetes import client, config

    config.load_kube_config(str(kubeconfig))
    document = yaml.safe_load(kubeconfig.read_text())
    context = next(item["context"] for item in document["contexts"] if item["name"] == document["current-context"])
    cluster = next(item["cluster"] for item in document["clusters"] if item["name"] == context["cluster"])
    user = next(item["user"] for item in document["users"] if item["name"] == context["user"])
    folder = Path(tempfile.mkdtemp(prefix="podnet-bench-"))

    def file_of(holder: dict[str, Any], key: str) -> str:
        if holder.get(f"{key}-data"):
            path = folder / key
            path.write_bytes(base64.b64decode(holder[f"{key}-data"]))
            path.chmod(0o600)
            return str(path)
        return str(holder.get(key, ""))

    access = {
        "bench_server": str(cluster["server"]),
        "bench_ca": file_of(cluster, "certificate-authority"),
        "bench_cert": file_of(user, "client-certificate"),
        "bench_key": file_of(user, "client-key"),
        "bench_folder": str(folder),
    }
    return client.CoreV1Api(), access


def pod(core: Any, name: str, side: str) -> tuple[str, dict[str, str]]:
    """The node of a pod, and the variables of the plain playbook about it."""
    namespace, _slash, short = name.partition("/")
    found = core.read_namespaced_pod(short, namespace)
    address = str(found.status.pod_ip)
    values = {"namespace": namespace, "name": short, "address": address, "node": str(found.spec.node_name)}
    values["node_address"] = str(found.status.host_ip)
    return str(found.spec.node_name), {f"bench_{side}_{key}": value for key, value in values.items()}


class Bench:
    """Runs the three commands in turn and keeps their times."""

    def __init__(self, pair: Pair, hosts: str, variables: dict[str, str]) -> None:
        inventory = ["-i", str(pair.inventory)]
        playbook = str(BIN / "ansible-playbook")
        extra = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
        question = ["-e", f"source={pair.source}", "-e", f"destination={pair.destination}", "-e", f"port={pair.port}"]
        self.commands = {
            "ping": [str(BIN / "ansible"), *inventory, hosts, "--become", "-m", "ansible.builtin.ping"],
            "runbook": [playbook, *inventory, "--limit", hosts, str(ROOT / "bench" / "runbook.yml"), *extra],
            "diagnose": [playbook, *inventory, "podnet.doctor.diagnose", *question, "-e", "probe=false"],
            "probed": [playbook, *inventory, "podnet.doctor.diagnose", *question],
        }
        self.environment = {
            **os.environ,
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_FORKS": "5",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
            "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=60s",
            "K8S_AUTH_KUBECONFIG": str(pair.kubeconfig),
            "KUBECONFIG": str(pair.kubeconfig),
        }
        self.seconds: dict[str, list[float]] = {}
        self.sockets: list[Path] = []

    def run(self, name: str, folder: Path, label: str | None) -> None:
        """Run one command; its time counts if it has a label."""
        environment = dict(self.environment)
        if name == "ping":
            environment["ANSIBLE_STDOUT_CALLBACK"] = "minimal"
        began = time.monotonic()
        work = ROOT / "build" / "bench"
        work.mkdir(parents=True, exist_ok=True)
        connections = ["-e", f"ansible_control_path_dir={folder}"]  # as an extra variable, because an inventory may set it
        done = subprocess.run([*self.commands[name], *connections], env=environment, cwd=work, capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        if label:
            self.seconds.setdefault(f"{name} {label}", []).append(took)
            print(f"  {label:<5} {name:<9} {took:6.2f} s", flush=True)

    def control_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="pd-", dir="/tmp"))
        self.sockets.append(folder)
        return folder

    def close(self) -> None:
        """End the SSH connections that were kept open."""
        for folder in self.sockets:
            for socket in folder.iterdir():
                subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "none"], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)

    def rounds(self, repeat: int) -> None:
        names = list(self.commands)
        warm = self.control_folder()
        for name in names:  # compiled files, caches of the kernel, connections
            self.run(name, warm, None)
        for turn in range(repeat):
            order = names if turn % 2 == 0 else names[::-1]
            for name in order:
                self.run(name, warm, "warm")
            for name in order:
                self.run(name, self.control_folder(), "cold")

    def ratio(self, one: str, other: str) -> float:
        """The median of the rounds' own ratios: what is beside each other in time had the same machine."""
        return statistics.median(first / second for first, second in zip(self.seconds[one], self.seconds[other], strict=True))

    def results(self) -> dict[str, dict[str, Any]]:
        median = {name: statistics.median(values) for name, values in self.seconds.items()}
        rows: dict[str, dict[str, Any]] = {}
        for label in ("warm", "cold"):
            ping, runbook, value, probed = (f"{name} {label}" for name in ("ping", "runbook", "diagnose", "probed"))
            slower, faster = self.ratio(value, ping), self.ratio(runbook, value)
            rows[f"pair_to_ping_{label}"] = row(median[value], median[ping], slower, AT_MOST_PING, slower <= AT_MOST_PING)
            rows[f"runbook_to_pair_{label}"] = row(median[value], median[runbook], faster, FASTER_THAN_RUNBOOK, faster >= FASTER_THAN_RUNBOOK)
            slower = self.ratio(probed, value)
            rows[f"probed_to_pair_{label}"] = row(median[probed], median[value], slower, AT_MOST_PROBED, slower <= AT_MOST_PROBED)
            slower, faster = self.ratio(probed, ping), self.ratio(runbook, probed)
            print(f"  for information: with packets sent, {label}: {median[probed]:.2f} s, {slower:.2f} times ping, {faster:.2f} times faster than the runbook")
        return rows


class Audits(Bench):
    """The audit of a whole lab beside a ping of all its nodes, with open connections."""

    def __init__(self, inventory: Path, kubeconfig: Path) -> None:
        super().__init__(Pair(inventory, kubeconfig, "", "", 0), "nodes", {})
        playbook = [str(BIN / "ansible-playbook"), "-i", str(inventory)]
        self.commands = {"ping": self.commands["ping"], "audit": [*playbook, "podnet.doctor.audit", "-e", "podnet_fail_on=finding"]}

    def rounds(self, repeat: int) -> None:
        warm = self.control_folder()
        for name in self.commands:
            self.run(name, warm, None)
        for turn in range(repeat):
            for name in list(self.commands) if turn % 2 == 0 else list(self.commands)[::-1]:
                self.run(name, warm, "warm")

    def results(self) -> dict[str, dict[str, Any]]:
        slower = self.ratio("audit warm", "ping warm")
        value, baseline = (statistics.median(self.seconds[f"{name} warm"]) for name in ("audit", "ping"))
        return {f"audit_{AUDITED}_nodes": row(value, baseline, slower, AT_MOST_PING, slower <= AT_MOST_PING)}


def audit_rows(repeat: int) -> dict[str, dict[str, Any]]:
    """A lab of its own, healthy: the audit fails the round if it is not called so."""
    name = f"audit{os.getpid()}"
    state = ROOT / "build" / "lab" / name
    try:
        lab("up", "--mode", "ipip", "--nodes", str(AUDITED), "--name", name)
        bench = Audits(state / "inventory.yml", state / "kubeconfig")
        try:
            bench.rounds(repeat)
        finally:
            bench.close()
        return bench.results()
    finally:
        lab("down", "--name", name)


def flood_rows() -> dict[str, dict[str, Any]]:
    from bench import flood
    from lab.cluster import Lab

    got = flood.measure(Lab.load(LAB))
    return {"flood_captured": row(got.captured, got.alone, got.ratio, flood.TARGET, got.ratio >= flood.TARGET)}


def cpu_rows(repeat: int) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, got in node_cpu.measure(repeat).items():
        rows[name] = row(got.seconds, got.raw, got.ratio, node_cpu.TARGET, got.ratio <= node_cpu.TARGET)
        size = got.megabytes / node_cpu.MEGABYTES
        rows[name.replace("_cpu", "_memory")] = row(got.megabytes, node_cpu.MEGABYTES, size, 1.0, size < 1)
    return rows


def scale_rows(repeat: int) -> dict[str, dict[str, Any]]:
    """Time and memory at the largest size, and how the time grows from the size before."""
    found = list(scale.measure(repeat=repeat))
    for got in found:
        print(f"  diagnosis from documents, {got.nodes} nodes, {got.nodes * scale.PODS} pods: {got.seconds:.2f} s, {got.megabytes:.0f} MB")
    before, largest = found[-2:]
    share, size = largest.seconds / scale.SECONDS, largest.megabytes / scale.MEGABYTES
    linear = before.cpu * largest.nodes / before.nodes
    growth = largest.cpu / linear
    return {
        f"diagnosis_{largest.nodes}_nodes": row(largest.seconds, scale.SECONDS, share, 1.0, share <= 1),
        f"diagnosis_{largest.nodes}_nodes_memory": row(largest.megabytes, scale.MEGABYTES, size, 1.0, size <= 1),
        "diagnosis_growth": row(largest.cpu, linear, growth, scale.GROWTH, growth <= scale.GROWTH),
    }


def row(value: float, baseline: float, ratio: float, target: float, met: bool) -> dict[str, Any]:
    return {"value": round(value, 3), "baseline": round(baseline, 3), "ratio": round(ratio, 2), "target": target, "met": met}


def lab(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", *words], cwd=ROOT, check=True)


def measure(pair: Pair, repeat: int) -> dict[str, dict[str, Any]]:
    core, access = api(pair.kubeconfig)
    folder = access.pop("bench_folder")
    try:
        one, source = pod(core, pair.source, "source")
        other, destination = pod(core, pair.destination, "destination")
        kubectl = shutil.which("kubectl") or ""
        print(f"the plain playbook asks the API with {kubectl or 'ansible.builtin.uri: there is no kubectl'}")
        variables = {**access, **source, **destination, "bench_kubectl": kubectl, "bench_kubeconfig": str(pair.kubeconfig)}
        bench = Bench(pair, f"{one}:{other}", variables)
        try:
            bench.rounds(repeat)
        finally:
            bench.close()
        return bench.results()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--inventory", type=Path, help="of a cluster that exists; without it a lab is built and taken down")
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--source", default="shop/web-0")
    parser.add_argument("--destination", default="shop/api-0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    own = options.inventory is None
    state = ROOT / "build" / "lab" / LAB
    inventory = (options.inventory or state / "inventory.yml").resolve()
    kubeconfig = (options.kubeconfig or inventory.parent / "kubeconfig").resolve()
    try:
        if own:
            lab("up", "--mode", "ipip", "--nodes", "3", "--name", LAB)
        load = os.getloadavg()[0]
        print(f"load of the machine before: {load:.2f} on {os.cpu_count()} CPUs")
        rows = measure(Pair(inventory, kubeconfig, options.source, options.destination, options.port), options.repeat)
        if own:
            rows.update(flood_rows())
    finally:
        if own:
            lab("down", "--name", LAB)
    if own:
        rows.update(audit_rows(min(options.repeat, 3)))
    if os.geteuid() == 0:
        rows.update(cpu_rows(options.repeat))
    rows.update(scale_rows(min(options.repeat, 3)))
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=2) + "\n")
    for name, values in rows.items():
        bound = "at least" if name.startswith(("runbook", "flood")) else "at most"
        said = "met" if values["met"] else "MISSED"
        unit = "MB" if "memory" in name else "MB/s" if name.startswith("flood") else "s"
        print(f"{name:<27} {values['value']:8.3f} {unit} against {values['baseline']:8.3f} {unit}: {values['ratio']:5.2f} ({bound} {values['target']}: {said})")
    print(f"written: {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
