# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and memory of a diagnosis from documents, as a cluster grows: 30 pods a node, BGP full mesh, IPIP, one question between two pods.

The documents are made here and written to files; a process of its own reads and judges them. One node announces a wrong address, so that there
are findings: all its sessions are dead, and it has no route of any other node's block.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PODS = 30
SIZES = (100, 1000, 5000)
SECONDS, MEGABYTES, GROWTH = 60.0, 2048.0, 1.3
SOURCE, DESTINATION = "app/pod-0-0", "app/pod-1-0"
# chains as Calico and kube-proxy put them before everything that comes to, or from, the node itself
FILTER = "\n".join(
    [
        *("*filter", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"),
        *(f":{name}-{way} - [0:0]" for name in ("cali", "KUBE-FIREWALL") for way in ("INPUT", "OUTPUT")),
        *(f"[9:540] -A {way} -j {name}-{way}" for name in ("cali", "KUBE-FIREWALL") for way in ("INPUT", "OUTPUT")),
        *(
            f"[9:540] -A cali-{way} {end} 192.0.2.{number}/32 -p tcp -m multiport --dports {number + 2000} -m mark --mark 0x10000/0x10000 -j ACCEPT"
            for way, end in (("INPUT", "-s"), ("OUTPUT", "-d"))
            for number in range(20)
        ),
        *(
            f"[9:540] -A KUBE-FIREWALL-{way} ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
            for way in ("INPUT", "OUTPUT")
        ),
        *("COMMIT", ""),
    ],
)
JUDGE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
began = time.monotonic()
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
def read(path):
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)
cluster = Cluster(read(f"{sys.argv[2]}/cluster.json"))
nodes = {name: NodeFacts(name, read(f"{sys.argv[2]}/{name}.json")) for name in ("node-0", "node-1")}
question = resolve(cluster, sys.argv[3], sys.argv[4], "tcp", 8080)
report = Diagnosis(question, Documents(cluster, nodes)).report(version="bench")
text = json.dumps(report)
took = time.monotonic() - began
causes = [cause["id"] for cause in report["verdict"]["causes"]]
assert causes[:1] == ["node_ip_wrong_nic"] and not report["verdict"]["unexplained"], (causes, report["verdict"]["unexplained"][:3])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss would be that of whoever started this
print(took, time.process_time(), int(peak) / 1024, len(report["findings"]))
"""


def address(number: int) -> str:
    return f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"


def node_address(number: int) -> str:
    return f"172.{16 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def block(number: int) -> str:
    return f"{address(number * 64)}/26"


def interface(namespace: str, name: str) -> str:
    return "cali" + hashlib.sha1(f"{namespace}.{name}".encode(), usedforsecurity=False).hexdigest()[:11]


def policies(nodes: int) -> dict[str, Any]:
    """Two NetworkPolicies a node in their own namespaces, 500 global ones, sets of 10,000 prefixes; the asked pods are allowed to talk."""
    teams = ["app", *(f"team-{number}" for number in range(nodes // 5))]
    peers = [{"namespaceSelector": {"matchLabels": {"team": "app"}}}, {"podSelector": {"matchLabels": {"app": "app-0"}}}]
    ingress = {"policyTypes": ["Ingress"], "ingress": [{"from": peers, "ports": [{"port": 8080}]}]}
    own = [
        {
            "metadata": {"name": f"allow-{number}", "namespace": teams[number % len(teams)]},
            "spec": {"podSelector": {"matchLabels": {"app": f"app-{number % PODS}"}}, **ingress},
        }
        for number in range(2 * nodes)
    ]
    deny = {"types": ["Ingress"], "ingress": [{"action": "Deny", "source": {"selector": "has(list)"}}]}
    overall = [{"metadata": {"name": f"deny-{n}"}, "spec": {"selector": f"app == 'other-{n}'", "order": n, **deny}} for n in range(500)]
    sets = [
        {"metadata": {"name": f"list-{n}", "labels": {"list": str(n)}}, "spec": {"nets": [f"198.18.{n}.{m}/32" for m in range(200)]}} for n in range(50)
    ]
    empty = ("serviceaccounts", "services", "endpointslices", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies", "hostendpoints",
             "calico_networkpolicies", "tiers", "networksets")  # fmt: skip
    return {
        "namespaces": [{"metadata": {"name": team, "labels": {"team": team}}} for team in teams],
        "networkpolicies": own,
        "globalnetworkpolicies": overall,
        "globalnetworksets": sets,
        **{section: [] for section in empty},
    }


def cluster_document(nodes: int, broken: bool = True) -> dict[str, Any]:
    """What the API says. broken: node-1 announces the address of a bridge."""
    listed = []
    for number in range(nodes):
        announced = "192.188.1.1/24" if broken and number == 1 else f"{node_address(number)}/12"
        annotations = {"projectcalico.org/IPv4Address": announced, "projectcalico.org/IPv4IPIPTunnelAddr": address(number * 64)}
        status = {"addresses": [{"type": "InternalIP", "address": node_address(number)}], "conditions": [{"type": "Ready", "status": "True"}]}
        listed.append({"metadata": {"name": f"node-{number}", "uid": f"n{number}", "annotations": annotations}, "spec": {}, "status": status})
    pods = [
        {
            "metadata": {"namespace": "app", "name": f"pod-{number}-{place}", "uid": f"p{number}-{place}", "labels": {"app": f"app-{place}"}},
            "spec": {"nodeName": f"node-{number}"},
            "status": {"phase": "Running", "podIP": address(number * 64 + place + 1), "podIPs": [{"ip": address(number * 64 + place + 1)}]},
        }
        for number in range(nodes)
        for place in range(PODS)
    ]
    container = {"name": "calico-node", "env": [{"name": "IP", "value": "autodetect"}]}
    template = {"metadata": {"labels": {"k8s-app": "calico-node"}}, "spec": {"containers": [container]}}
    taken = [None, *range(PODS)] + [None] * (63 - PODS)
    return {
        "schema": "podnet.doctor/cluster/1",
        "narrowed": [],
        "nodes": listed,
        "pods": pods,
        "daemonsets": [{"metadata": {"name": "calico-node", "namespace": "kube-system"}, "spec": {"template": template}}],
        "deployments": [],
        **policies(nodes),
        "ippools": [{"metadata": {"name": "pool"}, "spec": {"cidr": "10.64.0.0/10", "ipipMode": "Always", "vxlanMode": "Never"}}],
        "ipamblocks": [{"metadata": {}, "spec": {"cidr": block(n), "affinity": f"host:node-{n}", "allocations": taken}} for n in range(nodes)],
        "blockaffinities": [{"metadata": {}, "spec": {"cidr": block(n), "node": f"node-{n}", "state": "confirmed"}} for n in range(nodes)],
        "bgpconfigurations": [],
        "bgppeers": [],
        "felixconfigurations": [],
        "clusterinformations": [],
    }


def route(dst: str, dev: str | None = None, **more: Any) -> dict[str, Any]:
    entry = {"family": "inet", "table": 254, "type": "unicast", "dst": dst, "protocol": "boot", "scope": "global", "metric": 0, "flags": []}
    return {**entry, **({"dev": dev} if dev else {}), **more}


def link(index: int, name: str) -> dict[str, Any]:
    return {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": 1480, "operstate": "UP", "address": "ee:ee:ee:ee:ee:ee"}


def session(number: int, up: bool) -> dict[str, Any]:
    state = "Established" if up else "Active"
    bgp = {"state": state, "neighbor_address": node_address(number)}
    return {"name": f"Mesh_{number}", "proto": "BGP", "table": "master", "state": "up" if up else "start", "since": "10:00", "info": state, "bgp": bgp}


def node_document(number: int, nodes: int, broken: bool = True) -> dict[str, Any]:
    """What a node says. broken: node-1 lost everything, all others lost node-1."""
    names = [(place, f"pod-{number}-{place}") for place in range(PODS)]
    calis = [interface("app", name) for _place, name in names]
    others = [other for other in range(nodes) if other != number]
    lost = [] if not broken else others if number == 1 else [1]
    known = sorted(set(others) - set(lost))
    settings = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/proxy_arp": "0"}
    settings.update({f"net/ipv4/conf/{cali}/{name}": "1" for cali in calis for name in ("forwarding", "proxy_arp")})
    held = [("eth0", node_address(number), 12), ("tunl0", address(number * 64), 32)] + ([("br0", "192.188.1.1", 24)] if broken and number == 1 else [])
    far, own = address((1 - number) * 64 + 1), address(number * 64 + 1)
    pod = {
        "links": [link(3, "eth0")],
        "addresses": [{"ifname": "eth0", "family": "inet", "local": own, "prefixlen": 32}],
        "routes": [route("0.0.0.0/0", "eth0", gateway="169.254.1.1")],
        "neighbours": [],
    }
    return {
        "schema": "podnet.doctor/node/1",
        "host": f"node-{number}",
        "node": f"node-{number}",
        "seconds": 1.0,
        "identity": {"hostname": f"node-{number}"},
        "links": [link(2, "eth0"), link(3, "tunl0"), link(4, "br0"), *(link(10 + place, cali) for place, cali in enumerate(calis))],
        "addresses": [{"ifname": name, "family": "inet", "local": local, "prefixlen": length} for name, local, length in held],
        "routes": [
            route("0.0.0.0/0", "eth0", gateway="172.31.255.254"),
            route(block(number), type="blackhole", protocol="bird"),
            *(route(f"{address(number * 64 + place + 1)}/32", cali, scope="link") for place, cali in enumerate(calis)),
            *(route(block(other), "tunl0", gateway=node_address(other), protocol="bird", flags=["onlink"]) for other in known),
        ],
        "rules": [],
        "neighbours": [],
        "fdb": [],
        "sysctls": settings,
        "bird": {
            "ipv4": {
                "version": "1.6.8",
                "status": {"graceful_restart": None},
                "protocols": [session(other, other not in set(lost)) for other in others],
                "routes": [
                    {"prefix": block(other), "type": "unicast", "protocol": f"Mesh_{other}", "state": "*", "preference": 100,
                     "nexthops": [{"gateway": node_address(other), "dev": "tunl0"}]}
                    for other in known
                ],
            }
        },
        "calico": {"felix": {"running": True}, "bird": {"running": True}},
        "netfilter": {"iptables": [{"backend": "nft", "family": "inet", "text": FILTER}], "nft": []},
        "sandboxes": [{"ifname": calis[0], "network": pod}],
        "lookups": [
            {"dst": "169.254.1.1", "route": {"dst": "169.254.1.1/32", "gateway": "172.31.255.254", "dev": "eth0"}},
            *({"dst": node_address(other), "route": {"dst": node_address(other), "dev": "eth0"}} for other in (0, 1) if other != number),
            {"dst": far, "src": own, "iif": calis[0], "route": {"gateway": "172.31.255.254", "dev": "eth0"}},
            {"dst": own, "route": {"dev": calis[0]}},
        ],
    }  # fmt: skip


@dataclass(frozen=True)
class Measured:
    nodes: int
    seconds: float
    cpu: float
    megabytes: float
    findings: int


def measure(sizes: tuple[int, ...] = SIZES, repeat: int = 3) -> Iterator[Measured]:
    """For each size the fastest of some rounds: what else runs on a machine only ever adds."""
    for nodes in sizes:
        with tempfile.TemporaryDirectory(prefix="podnet-scale-") as folder:
            (Path(folder) / "cluster.json").write_text(json.dumps(cluster_document(nodes)))
            for number in (0, 1):
                (Path(folder) / f"node-{number}.json").write_text(json.dumps(node_document(number, nodes)))
            command = [sys.executable, "-c", JUDGE, str(ROOT / "build" / "collections"), folder, SOURCE, DESTINATION]
            rounds = []
            for _turn in range(repeat):
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rounds.append(tuple(map(float, done.stdout.split())))
            seconds, _cpu, megabytes, findings = min(rounds)
            yield Measured(nodes, seconds, min(cpu for _seconds, cpu, *_rest in rounds), megabytes, int(findings))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("nodes", type=int, nargs="*", default=list(SIZES))
    options = parser.parse_args()
    for got in measure(tuple(options.nodes), 1):
        print(f"{got.nodes} nodes, {got.nodes * PODS} pods: {got.seconds:.2f} s, {got.megabytes:.0f} MB, {got.findings} findings", flush=True)
