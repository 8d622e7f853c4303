# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit of a large cluster from a store, as podnet.doctor.compare judges it: 30 pods a node, BGP full mesh, IPIP, and faults hidden on some nodes.

The answers are made here, in the form in which nodes of an audit give them, and kept by the functions that podnet.doctor.collect uses; a process of its own
reads the store, judges and makes the report. Every fault must be named, and nothing else. `rows`: how many rows of tables had to be written out as entries.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.scale import ROOT, address, block, cluster_document, interface, node_address, node_document

sys.path.insert(0, str(ROOT / "build" / "collections"))
from ansible_collections.podnet.doctor.plugins.module_utils import _compact
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _audit, _collection, _store, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster

FAULTS = 40
Document = dict[str, Any]
JUDGE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
began = time.monotonic()
from ansible_collections.podnet.doctor.plugins.module_utils import _compact, _entries
from ansible_collections.podnet.doctor.plugins.plugin_utils import _run
rows, filler = 0, _entries.filler
def counted(template):
    fill = filler(template)
    def one(row):
        global rows
        rows += 1
        return fill(row)
    return one
_compact.filler = _entries.filler = counted
class HostVars(dict):
    def raw_get(self, host): return {}
with open(f"{sys.argv[2]}/cluster.json", encoding="utf-8") as stream:
    names = [node["metadata"]["name"] for node in json.load(stream)["nodes"]]
asked = {"audit": True, "cluster_file": f"{sys.argv[2]}/cluster.json", "nodes": {name: name for name in names},
         "stored": {"folder": f"{sys.argv[2]}/store", "since": "2026"}}
variables = {"hostvars": HostVars(), "groups": {"all": []}}
diagnosis, collected, hosts = _run.diagnose(asked, variables)
report = diagnosis.report(collected, version="bench", waves=_run.waves(variables, hosts, _run.stored_answers(asked)))
json.dumps(report)
took = time.monotonic() - began
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
causes = sorted([cause["id"], cause["node"]] for cause in report["verdict"]["causes"])
print(json.dumps({"seconds": took, "cpu": time.process_time(), "megabytes": int(peak) / 1024, "not_checked": len(report["not_checked"]),
                  "compared": sum(report["checks"].values()), "rows": rows, "causes": causes, "unexplained": report["verdict"]["unexplained"][:5]}))
"""


def no_forwarding(document: Document) -> None:
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


def no_proxy_arp(document: Document) -> None:
    number = int(document["node"].rpartition("-")[2])
    document["sysctls"][f"net/ipv4/conf/{interface('app', f'pod-{number}-3')}/proxy_arp"] = "0"


def no_local_route(document: Document) -> None:
    number = int(document["node"].rpartition("-")[2])
    document["routes"] = [route for route in document["routes"] if route["dst"] != f"{address(number * 64 + 5)}/32"]


def no_block_route(document: Document) -> None:
    document["routes"] = [route for route in document["routes"] if route["dst"] != block(0)]


def no_felix(document: Document) -> None:
    document["calico"]["felix"] = {"running": False}


KINDS: tuple[tuple[str, Callable[[Document], None]], ...] = (
    ("proxy_arp_or_forwarding_cleared", no_forwarding),
    ("proxy_arp_or_forwarding_cleared", no_proxy_arp),
    ("local_pod_route_missing", no_local_route),
    ("remote_block_route_missing_bird_has_it", no_block_route),
    ("felix_not_ready", no_felix),
)


def whole_document(number: int, nodes: int) -> Document:
    """What a healthy node of the cluster says, with the inside of all its pods."""
    document = node_document(number, nodes, broken=False)
    inside = json.dumps(document["sandboxes"][0]["network"])
    first = address(number * 64 + 1)
    document["sandboxes"] = [
        {
            "ifname": link["ifname"],
            "pod_uid": f"p{number}-{place}",
            "network": json.loads(inside.replace(f'"{first}"', f'"{address(number * 64 + 1 + place)}"')),
        }
        for place, link in enumerate(document["links"][3:])
    ]
    for session in document["bird"]["ipv4"]["protocols"]:
        session["name"] = "Mesh_" + session["bgp"]["neighbor_address"].replace(".", "_")
    for route in document["bird"]["ipv4"]["routes"]:
        route["protocol"] = "Mesh_" + route["nexthops"][0]["gateway"].replace(".", "_")
    document.update(counters={"nf_conntrack": {"count": 12, "max": 65536}}, netfilter={"error": "was not asked for"}, collected_at="2026-11-21T09:30:42Z")
    del document["netfilter"]
    return document


def way_of(flow: Document, owners: dict[str, tuple[int, str]]) -> Document:
    """The kernel's answer to a look-up."""
    if flow["dst"] not in owners:
        return {"dst": "169.254.1.1/32", "gateway": "172.31.255.254", "dev": "eth0"}
    number, ifname = owners[flow["dst"]]
    return {"dst": flow["dst"], "gateway": node_address(number), "dev": "tunl0"} if flow.get("src") else {"dst": flow["dst"], "dev": ifname}


def make(folder: Path, nodes: int, faults: int) -> list[list[str]]:
    """The cluster document, and a store with all answers. Returns the causes that are hidden there."""
    raw = cluster_document(nodes, broken=False)
    (folder / "cluster.json").write_text(json.dumps(raw))
    cluster = Cluster(raw)
    shared = json.loads(json.dumps(_tables.shared(cluster)))
    scope = _audit.scope_of(cluster)
    wave = {wanted.node: wanted for wanted in _collection.audit_wave(cluster, scope)}
    pods: dict[str, list[Any]] = {}
    for pod in scope.everyone:
        pods.setdefault(str(pod.node), []).append(pod)
    own = {name: json.loads(json.dumps(_tables.of_node(mine))) for name, mine in pods.items()}
    hidden = {(place * nodes // faults) + nodes // faults // 2: KINDS[place % len(KINDS)] for place in range(faults)}
    owners = {str(pod.address): (int(str(pod.node).rpartition("-")[2]), pod.ifname) for pod in scope.everyone}
    seen = _compact.Expander()
    full = (1 << nodes) - 1
    template = json.dumps(_compact.compact(whole_document(0, nodes), {**shared, **own["node-0"]}))
    answers = {}
    for number in range(nodes):
        name = f"node-{number}"
        rows = {**shared, **own[name]}
        if number in hidden:
            document = whole_document(number, nodes)
            hidden[number][1](document)
            told = _compact.compact(document, rows)
        else:
            text = template.replace(f'"{full ^ 1:x}"', f'"{full ^ 1 << number:x}"')
            mine = (("node-0", name), (block(0), block(number)), (node_address(0), node_address(number)), (address(0), address(number * 64)))
            for before, after in mine:
                text = text.replace(f'"{before}"', f'"{after}"')
            told = json.loads(text)
            told["expected"] = _compact.digest(rows, seen.digest_of)
        told["lookups"] = [{**flow, "route": way_of(flow, owners)} for flow in wave[name].flows]
        told["reachability"] = [{**test, "outcome": "answered", "seconds": 0.001} for test in wave[name].reachability]
        answers[name] = {"packed": pack(told)}
    now = datetime.datetime.now(datetime.timezone.utc)
    _store.save(_store.Folder(str(folder / "store")), answers, {name: name for name in own}, shared, own.__getitem__, now)
    return sorted([cause, f"node-{number}"] for number, (cause, _change) in hidden.items())


def measure(nodes: int, faults: int = FAULTS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="podnet-fleet-") as name:
        wanted = make(Path(name), nodes, faults)
        command = [sys.executable, "-c", JUDGE, str(ROOT / "build" / "collections"), name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    found["missed"] = [cause for cause in wanted if cause not in found["causes"]]
    found["invented"] = [cause for cause in found["causes"] if cause not in wanted]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("nodes", type=int, nargs="*", default=[1000])
    parser.add_argument("--faults", type=int, default=FAULTS)
    for size in parser.parse_args().nodes:
        got = measure(size, parser.parse_args().faults)
        named = len(got["causes"]) - len(got["invented"])
        print(f"{size} nodes: {got['seconds']:.1f} s, {got['cpu']:.1f} s CPU, {got['megabytes']:.0f} MB, {got['compared']} compared, {got['rows']} rows")
        print(f"  named: {named}, missed: {got['missed']}, invented: {got['invented']}")
        print(f"  unexplained: {got['unexplained']}, not checked: {got['not_checked']}", flush=True)
