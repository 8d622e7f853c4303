# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recorded real clusters as documents: `../shared/captures` beside the repository, or $PODNET_CAPTURES."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import re
import tarfile
import tempfile
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _bird, _dns, _flannel, _iproute, _ipset, _kube_cluster, _kube_fields, _netfilter, _sysctls
from ansible_collections.podnet.doctor.plugins.plugin_utils import _rebuild
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import Question
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import resolve

ROOT = pathlib.Path(__file__).resolve().parents[2]
ABSENT = "recorded clusters are absent: set PODNET_CAPTURES to their folder"
Json = t.Any


def folder() -> pathlib.Path | None:
    """Where recordings lie, packed (`<name>.tar.gz`) or opened (`<name>/about.json`)."""
    for path in (os.environ.get("PODNET_CAPTURES"), str(ROOT.parent / "shared" / "captures")):
        if path and (any(pathlib.Path(path).glob("*.tar.gz")) or any(pathlib.Path(path).glob("*/about.json"))):
            return pathlib.Path(path)
    return None


def policy_folder() -> pathlib.Path | None:
    """Where the measured sets of policies lie: the folder named policy beside the recordings, or a folder of nothing else."""
    for path in (os.environ.get("PODNET_CAPTURES"), str(ROOT.parent / "shared" / "captures")):
        for where in (pathlib.Path(path, "policy"), pathlib.Path(path)) if path else ():
            if names_in(where):
                return where
    return None


def names(prefix: str = "") -> list[str]:
    where = folder()
    return [] if where is None else names_in(where, prefix)


def names_in(where: pathlib.Path, prefix: str = "") -> list[str]:
    packed = {p.name.removesuffix(".tar.gz") for p in where.glob(f"{prefix}*.tar.gz")}
    return sorted(packed | {p.parent.name for p in where.glob(f"{prefix}*/about.json")})


def unpacked(name: str) -> pathlib.Path:
    where = folder()
    if where is None:
        pytest.skip(ABSENT)
    return opened(where, name)


@functools.cache
def opened(where: pathlib.Path, name: str) -> pathlib.Path:
    """The folder of a recording, which is unpacked once for all runs."""
    if (where / name / "about.json").is_file():
        return where / name
    origin = hashlib.sha256(str(where.resolve()).encode()).hexdigest()[:8]
    target = pathlib.Path(tempfile.gettempdir()) / f"podnet-recorded-{os.getuid()}-{origin}"
    if not (target / name / "about.json").is_file():
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".new-") as new:  # whole or not at all: several runs may share it
            with tarfile.open(where / f"{name}.tar.gz") as archive:
                archive.extractall(new, filter="data")
            try:
                os.rename(pathlib.Path(new) / name, target / name)
            except OSError:
                if not (target / name / "about.json").is_file():
                    raise
    return target / name


def read_json(path: pathlib.Path, default: Json = None) -> Json:
    return json.loads(path.read_text()) if path.is_file() else default


def text(path: pathlib.Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def about(name: str) -> Json:
    return read_json(unpacked(name) / "about.json")


def cluster(name: str) -> dict[str, Json]:
    """The cluster document of a recording."""
    return cluster_in(unpacked(name) / "api")


def cluster_in(api: pathlib.Path) -> dict[str, Json]:
    """The cluster document of a folder of lists as the API returned them."""
    configmaps = {}
    for item in read_json(api / "configmaps.json", {"items": []})["items"]:
        configmaps[(item["metadata"].get("namespace", ""), item["metadata"]["name"])] = item.get("data") or {}
    document: dict[str, Json] = {"schema": "podnet.doctor/cluster/1", "scope": "cluster", "narrowed": [], "seconds": 0}
    for path in sorted(api.glob("[!_]*.json")):
        section = path.stem.replace("calico-networkpolicies", "calico_networkpolicies")
        try:
            items = [item for item in read_json(path)["items"] if section != "events" or item.get("reason") == "FailedCreatePodSandBox"]
            document[section] = [_kube_fields.reduce(section, item, configmaps) for item in items]
        except (KeyError, ValueError):
            continue
    document["configmaps"] = _flannel_configuration(api)
    if (api / "_apis.json").is_file():
        groups = {group["name"] for group in read_json(api / "_apis.json")["groups"]}
    else:
        groups = {item["apiVersion"].partition("/")[0] for item in read_json(api / "tiers.json", {"items": []})["items"]}
    document["calico_api"] = next((group for group in ("crd.projectcalico.org/v1", "projectcalico.org/v3") if group.partition("/")[0] in groups), None)
    for section in ("ippools", "ipamblocks", "blockaffinities", "bgpconfigurations", "bgppeers", "felixconfigurations", "clusterinformations"):
        document.setdefault(section, [] if document["calico_api"] else {"error": "the API serves no Calico resources"})
    for section in _kube_cluster.SECTIONS:
        if not (api / f"{section}.json").is_file():
            document.setdefault(section, {"error": "the API does not serve it", "reason": "absent"})
    return document


def _flannel_configuration(api: pathlib.Path) -> list[dict[str, Json]]:
    items = read_json(api / "configmaps.json", {"items": []})["items"]
    return [_kube_fields.reduce("configmaps", item) for item in items if item["metadata"]["name"] in ("kube-flannel-cfg", "canal-config")]


def _flannel_section(where: pathlib.Path) -> dict[str, Json]:
    env, store = where / "flannel-subnet.env", []
    for piece in text(where / "host-local.txt").split("== ")[1:]:
        path, _newline, content = piece.partition("\n")
        network, name = path.split("/")[-2:]
        store.append(_flannel.entry(network, name, content))
    return {
        "flanneld": {"running": bool(re.search(r"^.*\bflanneld ", text(where / "ps.txt"), re.M))},
        "subnet_env": _flannel.subnet_env(text(env)) if env.is_file() else None,
        "host_local": [entry for entry in store if entry is not None],
    }


def _daemon(folder: pathlib.Path) -> dict[str, Json]:
    if not folder.is_dir() or (folder / "error.txt").is_file():
        said = text(folder / "error.txt")
        errno = "ECONNREFUSED" if "111" in said else "ENOENT"
        return {"error": said.strip() or "no BIRD", "errno": errno}
    return {
        "version": _bird.version(text(folder / "welcome.txt")),
        "status": _bird.status(text(folder / "status.txt")),
        "protocols": _bird.protocols(text(folder / "protocols-all.txt")),
        "routes": _bird.routes(text(folder / "route.txt")),
    }


def _network(folder: pathlib.Path) -> dict[str, Json]:
    def listing(name: str) -> Json:
        return read_json(folder / name, [])

    return {
        "links": _iproute.links(listing("ip-link.json")),
        "addresses": _iproute.addresses(listing("ip-addr.json")),
        "routes": _iproute.routes(listing("ip-route.json"), "inet") + _iproute.routes(listing("ip6-route.json"), "inet6"),
        "rules": _iproute.rules(listing("ip-rule.json"), "inet") + _iproute.rules(listing("ip6-rule.json"), "inet6"),
        "neighbours": _iproute.neighbours(listing("ip-neigh.json")),
        "sysctls": _sysctls.parse(text(folder / "sysctl.txt")),
    }


def netfilter(where: pathlib.Path) -> dict[str, Json]:
    """The section of the node document, from what was saved in a recording's folder of a node."""
    saved = []
    for name, family in (("iptables", "inet"), ("ip6tables", "inet6"), ("iptables-legacy", "inet"), ("iptables-nft", "inet")):
        rules = text(where / f"{name}-save.txt")
        if rules or name in ("iptables", "ip6tables"):
            first = rules.partition("\n")[0]
            saved.append({"backend": "nft" if "(nf_tables)" in first or not first else "legacy", "family": family, "text": rules})
    tables = _netfilter.by_table(read_json(where / "nft-ruleset.json", {"nftables": []}), saved)
    return {"iptables": saved, "nft": tables, "ipsets": _ipset.saved(text(where / "ipset-save.txt"))}


def conntrack(where: pathlib.Path, addresses: list[str]) -> dict[str, Json]:
    """The section of the node document for these addresses, from what `conntrack -L` printed."""
    entries = []
    for line in text(where / "conntrack.txt").splitlines():
        protocol, _number, _timeout, *rest = line.split()
        values: list[tuple[str, str]] = [(word.partition("=")[0], word.partition("=")[2]) for word in rest if "=" in word]
        second = [number for number, (key, _value) in enumerate(values) if key == "src"][1]
        halves = (values[:second], values[second:])
        ends = [{key: int(value) if value.isdecimal() else value for key, value in half if key != "use"} for half in halves]
        if {ends[0]["src"], ends[1]["src"]} <= set(addresses):
            flags = [flag for flag, there in (("seen_reply", "[UNREPLIED]" not in rest), ("assured", "[ASSURED]" in rest)) if there]
            ends[1].pop("mark", None)
            counted = [(f"{prefix}{name}", name, half) for name in ("packets", "bytes") for prefix, half in (("", ends[0]), ("reply_", ends[1]))]
            packets = {shown: half.pop(name) for shown, name, half in counted if name in half}
            state = {"state": rest[0]} if protocol == "tcp" else {}
            entries.append({"family": "inet6" if ":" in str(ends[0]["src"]) else "inet", "protocol": protocol, **ends[0], "reply": ends[1], "flags": flags,
                            "timeout": int(_timeout), **state, **packets})  # fmt: skip
    return {"pairs": [[one, two] for one in addresses for two in addresses if one != two], "entries": entries, "left_out": 0}


def node(name: str, node_name: str) -> dict[str, Json]:
    """The node document of a recording. Look-ups are not in it: the recordings did not ask the kernel for them."""
    return node_in(unpacked(name), node_name)


def node_in(base: pathlib.Path, node_name: str) -> dict[str, Json]:
    where = base / "nodes" / node_name
    document: dict[str, Json] = {"schema": "podnet.doctor/node/1", "host": node_name, "node": node_name, "seconds": 0, **_network(where)}
    document["netfilter"] = netfilter(where)
    document["fdb"] = _iproute.fdb(read_json(where / "bridge-fdb.json", []))
    document["bird"] = {"ipv4": _daemon(where / "bird"), "ipv6": _daemon(where / "bird6")}
    if (where / "ps.txt").exists():
        document["calico"] = _processes(text(where / "ps.txt"))
    document["flannel"] = _flannel_section(where)
    objects = read_json(base / "api" / "pods.json", {"items": []})["items"]
    document["conntrack"] = conntrack(where, sorted({held["ip"] for pod in objects for held in pod["status"].get("podIPs") or ()}))
    pods = [pod["metadata"] for pod in objects]
    uids = {f"{pod['namespace']}_{pod['name']}": pod["uid"] for pod in pods}
    by_index = {link["ifindex"]: link["ifname"] for link in document["links"]}
    document["sandboxes"] = []
    for pod in sorted((base / "pods").glob("*")):
        sandbox = read_json(pod / "sandbox.json", {})
        if sandbox.get("node") == node_name:
            network = _network(pod)
            index = next((link.get("link_index") for link in network["links"] if link["ifname"] == "eth0"), None)
            document["sandboxes"].append({"container_id": sandbox.get("sandbox_id"), "pod_uid": uids.get(pod.name), "ifname": by_index.get(index),
                                          "network": network})  # fmt: skip
    if any((base / "pods").glob("*/dns.txt")):
        document["dns"] = names_asked(base, node_name)
    return document


def _processes(commands: str) -> dict[str, Json]:
    return {
        "felix": {"running": bool(re.search(r"calico-node -felix|calico component felix", commands))},
        "confd": {"running": bool(re.search(r"calico-node -confd|calico component confd", commands))},
        "bird": {"running": bool(re.search(r"\bbird -R", commands))},
        "bird6": {"running": bool(re.search(r"\bbird6 -R", commands))},
    }


def names_asked(base: pathlib.Path, node_name: str) -> list[dict[str, Json]]:
    """The section dns of the node document, from what dig printed in the pods of a node."""
    found = []
    for pod in sorted((base / "pods").glob("*")):
        sandbox = read_json(pod / "sandbox.json", {})
        if sandbox.get("node") != node_name or not (pod / "dns.txt").is_file():
            continue
        objects = read_json(base / "api" / "pods.json", {"items": []})["items"]
        uid = next((one["metadata"]["uid"] for one in objects if f"{one['metadata']['namespace']}_{one['metadata']['name']}" == pod.name), None)
        queries: list[dict[str, Json]] = []
        search: list[dict[str, Json]] = []
        for words, said in re.findall(r"^\$ dig ((?:\+\S+ )*@\S+ \S+ A)\n(.*?)(?=^\$ |\Z)", text(pod / "dns.txt"), re.M | re.S):
            *options, server, asked_for, _kind = words.split()
            if {"+search", "+short"} & set(options):
                continue
            status = re.search(r"status: (\w+)", said)
            outcome = "answered" if status else "refused" if "refused" in said else "unreachable" if "unreachable" in said else "timeout"
            answer = {"rcode": status[1], "addresses": re.findall(r"\sIN\s+A\s+(\S+)", said)} if status else {}
            query = {"server": server[1:], "protocol": "tcp" if "+tcp" in options else "udp", "name": asked_for, "outcome": outcome, **answer, "seconds": 0.0}
            (queries if asked_for.startswith("kubernetes.default.") else search).append(query)
        found.append({"netns_of": uid, "name": search[0]["name"] if search else "", "control": "kubernetes.default.svc.cluster.local",
                      "resolver": _dns.resolver(text(pod / "resolv.conf")), "queries": queries, "search": search})  # fmt: skip
    return found


def documents(name: str) -> Json:
    """All documents of a recording, every node of it collected."""
    known = Cluster(cluster(name))
    nodes = {n: NodeFacts(n, node(name, n)) for n in known.nodes if (unpacked(name) / "nodes" / n).is_dir()}
    return Documents(known, nodes)


def with_cni_results(everything: Json) -> Json:
    """The documents with what libcni keeps on each node: one result for each pod, as the plugin gave it."""
    for pod in everything.cluster.workloads:
        facts = everything.nodes.get(pod.node)
        if facts is None or facts.document is None:
            continue
        document = t.cast("dict[str, Json]", facts.document)
        results = document.setdefault("cni", {"results": [], "config": None})["results"]
        results.append({"containerId": f"sandbox-{pod.uid}", "pod_namespace": pod.namespace, "pod_name": pod.name, "pod_uid": pod.uid, "interfaces": [],
                        "ips": [f"{address}/{32 if '.' in address else 128}" for address in pod.addresses]})  # fmt: skip
        if pod.uid not in {box.get("pod_uid") for box in document["sandboxes"]}:
            document["sandboxes"].append({"netns": 1, "pod_uid": pod.uid})
    return everything


def without_api(name: str) -> Json:
    """All documents of a recording, the API silent: the nodes tell what they can."""
    everything = with_cni_results(documents(name))
    silent = {"error": "the API at https://10.0.0.1:6443 does not answer: Connection refused"}
    document: dict[str, Json] = {"schema": "podnet.doctor/cluster/1", "server": "https://10.0.0.1:6443", "reachable": False, "narrowed": [], **silent,
                                 "calico_api": None}  # fmt: skip
    document.update(dict.fromkeys(_kube_cluster.SECTIONS, silent))
    reached_at = {name: str(everything.cluster.nodes[name].internal_ip) for name in everything.nodes}
    return Documents(Cluster(_rebuild.rebuilt(document, everything.nodes, reached_at)), everything.nodes)


def question(name: str, known: Cluster) -> Question:
    """What was measured in the recording; in a healthy one, traffic between two pods on different nodes that works."""
    told = about(name)
    symptom = ((told.get("truth") or {}).get("symptom")) or {}
    if symptom.get("source"):
        target, address = symptom.get("destination") or symptom["destination_ip"], str(symptom.get("destination_ip"))
        if target.startswith("Service/"):
            outside = symptom.get("query") and not str(symptom["query"]).endswith(".cluster.local")
            return resolve(known, symptom["source"], f"dns/{symptom['query']}" if outside else target.replace("Service/", "svc/", 1), *_service(symptom))
        return resolve(known, symptom["source"], address if ":" in address and ":" not in target else target, *_service(symptom))
    crossed = (m for m in told.get("real_traffic") or () if m["works"] and m["source"] in known.pods and m.get("destination") in known.pods)
    for measured in crossed:
        if known.pods[measured["source"]].node != known.pods[measured["destination"]].node:
            return resolve(known, measured["source"], measured["destination"], *_service(measured))
    raise LookupError(f"{name}: no traffic between two nodes was measured that works")


def _service(measured: Json) -> tuple[str | None, int | None]:
    """The protocol and the port of what was measured; an echo where it was something else than TCP and UDP."""
    protocol = str(measured.get("protocol") or "").lower()
    return (protocol, measured.get("port")) if protocol in ("tcp", "udp") else (None, None)


def diagnose(name: str) -> Diagnosis:
    """As the playbook does: first the nodes on the path, then those that the answers point to."""
    everything = documents(name)
    return follow(question(name, everything.cluster), everything)


def follow(asked: Question, everything: Documents) -> Diagnosis:
    """The diagnosis of a question, with the nodes that it asks for taken from the documents."""
    chosen = list(asked.nodes)
    witnesses: list[str] = []
    while True:
        known = {n: everything.nodes[n] for n in chosen + witnesses if n in everything.nodes}
        diagnosis = Diagnosis(asked, Documents(everything.cluster, known), tuple(witnesses))
        fresh = [w.node for w in diagnosis.wanted() if w.node in everything.nodes and w.node not in known]
        if not fresh:
            return diagnosis
        witnesses += fresh


@functools.cache
def report(name: str) -> dict[str, Json]:
    """The report of a recording, made once for all tests."""
    return diagnose(name).report(created_at="2026-11-21T09:30:42Z", version="test")


def asked(*skipped: str) -> list[str]:
    """The recordings, but for some."""
    return [name for name in names() if name not in skipped] or ["absent"]
