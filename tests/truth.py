# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NetworkPolicies in the lab, with real traffic: what was measured is held against what the API intends and what the nodes' rules do.

make truth [DATAPLANE=nftables] [SCENARIO=prefix]     the sets of tests/policy_scenarios.yml; writes build/truth.json
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import copy
import json
import os
import pathlib
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]

from ansible_collections.podnet.doctor.plugins.module_utils import _node  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils import _packet_walk, _policy  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts  # noqa: E402
from ansible_collections.podnet.doctor.tests.unit import recorded  # noqa: E402
from lab import kernel, pod  # noqa: E402
from lab.api.client import CALICO, ApiError  # noqa: E402
from lab.cluster import Lab  # noqa: E402
from lab.errors import LabError  # noqa: E402
from lab.modes import POLICED  # noqa: E402
from lab.plan import POOL  # noqa: E402
from lab.processes import wait_for  # noqa: E402

Json = t.Any
PROTOCOLS, PORTS = ("tcp", "udp"), (8080, 8081)  # the first is that of the pods' own servers
PATIENCE, AGAIN = 1.6, 0.4  # seconds for an answer: one repeated SYN; and between two datagrams
FIRST_PORT, MOST_CELLS = 20000, 64  # no two cells of a run share an entry of connection tracking
SECTIONS = ("links", "addresses", "routes", "rules", "sysctls", "netfilter")
LISTS = ("pods", "namespaces", "nodes", "networkpolicies", "services", "endpointslices", "serviceaccounts")
CALICO_LISTS = ("ippools", "ipamblocks", "blockaffinities", "tiers", "globalnetworkpolicies", "hostendpoints", "felixconfigurations", "clusterinformations")


@dataclass(frozen=True)
class Cell:
    """One thing that is tried. A place is `namespace/app-node` or `host/node`, nodes counted from 1."""

    source: str
    destination: str
    protocol: str
    port: int


@dataclass(frozen=True)
class Place:
    """A pod or a node that sends."""

    name: str
    node: str
    address: str
    netns: str
    key: str = ""  # namespace/name of the pod


class Ground:
    """A lab, its places, and the servers that were added to its pods."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        number = {node.name: place for place, node in enumerate(lab.nodes, 1)}
        self.places: dict[str, Place] = {}
        for item in lab.pods:
            if item.app in ("web", "api", "probe"):
                key, netns = f"{item.namespace}/{item.name}", f"/proc/{lab.pod_pid(f'{item.namespace}/{item.name}')}/ns/net"
                name = f"{item.namespace}/{item.app}-{number[item.node]}"
                self.places[name] = Place(name, item.node, item.address, netns, key)
        self.targets = list(self.places)
        for node in lab.nodes:
            self.places[f"host/{number[node.name]}"] = Place(f"host/{number[node.name]}", node.name, node.address, str(kernel.netns_path(node.netns)))
        self.round = 0
        self._serve()
        wait_for(self._served, "the API serves what Calico keeps in it", 30)

    def cells(self) -> list[Cell]:
        pairs = [(source, target) for source in self.places for target in self.targets if source != target]
        return [Cell(source, target, protocol, port) for source, target in pairs for protocol in PROTOCOLS for port in PORTS]

    def _served(self) -> bool:
        """A server that has just heard of a resource may not give it out yet."""
        try:
            cluster_document(self.lab)
        except ApiError as error:
            if error.status != 429:
                raise
            return False
        return True

    def _serve(self) -> None:
        """Answers on the second port of every pod."""
        waiting = selectors.DefaultSelector()
        for target in self.targets:
            with kernel.in_netns(self.places[target].netns):
                tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
            for listener in (tcp, udp):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", PORTS[1]))
                listener.setblocking(False)
                waiting.register(listener, selectors.EVENT_READ)
            tcp.listen(128)

        def answer() -> None:
            while True:
                for key, _events in waiting.select():
                    ready = t.cast("socket.socket", key.fileobj)
                    try:
                        if ready.type == socket.SOCK_DGRAM:
                            data, sender = ready.recvfrom(64)
                            ready.sendto(data, sender)
                        else:
                            ready.accept()[0].close()
                    except OSError:
                        continue

        threading.Thread(target=answer, daemon=True).start()

    def measure(self, cells: Sequence[Cell]) -> dict[Cell, str]:
        """works or timeout, of all cells at once."""
        self.round += 1
        count: dict[str, int] = {}
        made: dict[Cell, socket.socket] = {}
        for cell in cells:
            source = self.places[cell.source]
            with kernel.in_netns(source.netns):
                made[cell] = socket.socket(type=socket.SOCK_STREAM if cell.protocol == "tcp" else socket.SOCK_DGRAM)
            place = count[cell.source] = count.get(cell.source, 0) + 1
            made[cell].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[cell].bind(("", FIRST_PORT + self.round * MOST_CELLS + place))
            made[cell].setblocking(False)
        waiting = selectors.DefaultSelector()
        found = dict.fromkeys(cells, "timeout")
        for cell, client in made.items():
            client.connect_ex((self.places[cell.destination].address, cell.port))
            waiting.register(client, selectors.EVENT_WRITE if cell.protocol == "tcp" else selectors.EVENT_READ, cell)
        open_cells = set(cells)
        end, next_datagrams = time.monotonic() + PATIENCE, 0.0
        while open_cells and time.monotonic() < end:
            if time.monotonic() >= next_datagrams:
                next_datagrams = time.monotonic() + AGAIN
                for cell in open_cells:
                    if cell.protocol == "udp":
                        self._send(made[cell])
            for key, _events in waiting.select(0.05):
                cell, client = key.data, t.cast("socket.socket", key.fileobj)
                if cell.protocol == "tcp":
                    good = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                else:
                    good = self._receives(client)
                found[cell] = "works" if good else "refused"
                waiting.unregister(client)
                open_cells.discard(cell)
        for client in made.values():
            client.close()
        return found

    @staticmethod
    def _send(client: socket.socket) -> None:
        try:
            client.send(b"cell")
        except OSError:  # what came back for the datagram before; the receiver tells it
            pass

    @staticmethod
    def _receives(client: socket.socket) -> bool:
        try:
            return client.recv(64) == b"cell"
        except OSError:
            return False


def filled(value: Json, ground: Ground) -> Json:
    """{pool}, {block/N} and {host/N} in a scenario's strings."""
    if isinstance(value, dict):
        return {key: filled(item, ground) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, ground) for item in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    words = {"{pool}": POOL}
    for number, node in enumerate(ground.lab.nodes, 1):
        words |= {f"{{block/{number}}}": node.block, f"{{host/{number}}}": node.address}
    for word, meant in words.items():
        value = value.replace(word, meant)
    return value


def cluster_document(lab: Lab) -> dict[str, Json]:
    """What cluster_info would read, of what policies depend on."""
    with tempfile.TemporaryDirectory() as folder:
        for resource in LISTS:
            (pathlib.Path(folder) / f"{resource}.json").write_text(json.dumps(lab.client.list_raw(resource)))
        for resource in CALICO_LISTS:
            (pathlib.Path(folder) / f"{resource}.json").write_text(json.dumps(lab.client.list_raw(resource, "", CALICO)))
        (pathlib.Path(folder) / "calico-networkpolicies.json").write_text(json.dumps(lab.client.list_raw("networkpolicies", "", CALICO)))
        return recorded.cluster_in(pathlib.Path(folder))


def node_document(lab: Lab, name: str, pods: list[dict[str, str]]) -> Json:
    """What node_info reads on a node."""
    out, into = os.pipe()

    def read() -> None:
        document = _node.Collector(_node.Question(sections=SECTIONS, host=name, node=name, pods=pods, timeout=60.0)).read()
        with os.fdopen(into, "wb") as file:
            file.write(json.dumps(document).encode())

    child = pod.in_node(lab.node(name), read)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        raw = file.read()
    kernel.wait_child(child, f"reading {name}")
    return json.loads(raw)


@contextlib.contextmanager
def enforced(ground: Ground, policies: Sequence[Json]) -> Iterator[None]:
    """The policies of a scenario are there and in force."""
    lab = ground.lab
    made = []
    try:
        for one in policies:
            meta = {"name": one["name"], "namespace": one["namespace"]}
            body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": filled(copy.deepcopy(one["spec"]), ground)}
            lab.client.create("networkpolicies", body)
            made.append(meta)
        wait_for(lab.policies_in_force, "every Felix has written the policies", 30)
        yield
    finally:
        for meta in made:
            lab.client.delete("networkpolicies", meta["name"], meta["namespace"])


def verdicts(ground: Ground, cells: Sequence[Cell]) -> dict[str, dict[Cell, str]]:
    """What the collection says of each cell: from the API (intended), and from the nodes (actual)."""
    lab = ground.lab
    cluster = Cluster(cluster_document(lab))
    pods = [{"namespace": item.namespace, "name": item.name, "uid": item.uid, "ip": item.address} for item in lab.pods]
    walks = _packet_walk.Walks(NodeFacts(node.name, node_document(lab, node.name, pods)) for node in lab.nodes)
    intended, actual = {}, {}
    for cell in cells:
        source, to = ground.places[cell.source], ground.places[cell.destination]
        end = _policy.End("pod" if source.key else "node", source.address, source.node, source.key)
        meant = _policy.worst(_policy.intended(cluster, end, _policy.end_at(cluster, to.address), cell.protocol, cell.port))
        intended[cell] = f"unknown: {meant.why}" if meant.outcome == "unknown" else meant.outcome
        protocol = t.cast("t.Literal['tcp', 'udp']", cell.protocol)
        walked = walks.walk(_packet_walk.Flow(protocol, source.address, to.address, cell.port, source.node, not source.key))
        actual[cell] = walked.verdict if walked.verdict != "unknown" else f"unknown: {walked.reason}"
    return {"intended": intended, "actual": actual}


def judge(ground: Ground, scenario: Json) -> list[dict[str, Json]]:
    """The cells of a scenario that are not right."""
    cells = ground.cells()
    with enforced(ground, scenario["policies"]):
        said = verdicts(ground, cells)
        measured = ground.measure(cells)
        late = [cell for cell in cells if measured[cell] != said["actual"][cell]]
        if late:  # a machine that stood still has lost nothing; what differed once is shown
            print(f"{scenario['name']}: measured again: {late[:3]}, {len(late)} cells", flush=True)
            measured |= ground.measure(late)
    wanted = {Cell(*cell): word for word in ("lets", "blocks") for cell in scenario[word]}
    for cell, word in wanted.items():
        said.setdefault("scenario", dict(measured))[cell] = "works" if word == "lets" else "timeout"
    wrong = []
    for cell in cells:
        told_of = {judge: words[cell] for judge, words in said.items() if words[cell] != measured[cell]}
        if told_of:
            wrong.append({"scenario": scenario["name"], **asdict(cell), "measured": measured[cell], **told_of})
    return wrong


def lab_command(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "lab", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"lab {' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def run(dataplane: str, scenarios: Sequence[Json]) -> dict[str, Json]:
    """All scenarios on one lab."""
    name = f"t{os.getpid() % 100000}"
    row: dict[str, Json] = {"dataplane": dataplane, "mode": POLICED[dataplane], "scenarios": len(scenarios), "cells": 0, "wrong": []}
    begin = time.monotonic()
    try:
        lab_command("up", "--name", name, "--mode", POLICED[dataplane], "--nodes", "3", "--dataplane", dataplane)
        ground = Ground(Lab.load(name))
        for scenario in scenarios:
            wrong = judge(ground, scenario)
            row["cells"] += len(ground.cells())
            row["wrong"] += wrong
    except LabError as error:  # its arguments do not travel between processes
        raise RuntimeError(str(error)) from None
    finally:
        subprocess.run([sys.executable, "-m", "lab", "down", "--name", name], cwd=ROOT, capture_output=True, check=False)
    row["seconds"] = round(time.monotonic() - begin, 1)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataplane", choices=list(POLICED), help="only this one")
    parser.add_argument("--scenario", default="", help="only those whose name begins so")
    given = parser.parse_args()
    scenarios = [one for one in yaml.safe_load((ROOT / "tests" / "policy_scenarios.yml").read_text()) if one["name"].startswith(given.scenario)]
    if not scenarios:
        print(f"no scenario begins with {given.scenario}", file=sys.stderr)
        return 2
    chosen = [given.dataplane] if given.dataplane else list(POLICED)
    with concurrent.futures.ProcessPoolExecutor(min(2, len(chosen))) as pool:
        rows = list(pool.map(run, chosen, [scenarios] * len(chosen)))
    for row in rows:
        for cell in row["wrong"][:5]:
            print(json.dumps(cell))
        right = row["cells"] - len(row["wrong"])
        print(f"{row['dataplane']:<16} {right} of {row['cells']} cells right, {row['scenarios']} scenarios, {row['mode']}, {row['seconds']} s")
    total, wrong = sum(row["cells"] for row in rows), sum(len(row["wrong"]) for row in rows)
    target = ROOT / "build" / "truth.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"cells": total, "right": total - wrong, "dataplanes": rows}, indent=1) + "\n")
    print(f"{total - wrong} of {total} cells right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
