"""What the lab produces looks as on a recorded cluster: routes, links, addresses, objects, BIRD's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Lab
from lab.plan import GATEWAY, GATEWAY6
from tests.lab.support import lab, needs_root, unique

pytestmark = needs_root
TCAP = unique("tcap")
Json = dict[str, Any]
RECORDED = {
    "noencap": ("bgp-noencap-healthy", "node-a", "172.18.0.1"),
    "ipip": ("ipip-healthy", "ip-a", "172.31.5.1"),
    "vxlan": ("vxlan-healthy", "worker-1", "192.168.50.1"),
    "vxlan-crosssubnet": ("crosssubnet-healthy", "site1-n1", "10.20.1.1"),
    "felixroutes": ("v333-ipip-healthy", "m-1", "10.6.0.1"),
    "routereflector": ("routereflector-healthy", "rr-1", "10.77.0.1"),
    "dualstack": ("dualstack-healthy", "ds-a", "172.20.0.1"),
}  # there is no recording of ipip-crosssubnet


@pytest.fixture(scope="module", params=list(RECORDED))
def pair(request: pytest.FixtureRequest, state: Path, capture: Callable[[str], Path]) -> Iterator[tuple[Lab, Path, str]]:
    name, node, gateway = RECORDED[request.param]
    folder = capture(name)
    lab("up", "--mode", request.param, "--api", "emulator", "--name", TCAP)
    yield Lab.load(TCAP), folder / "nodes" / node, gateway
    lab("down", "--name", TCAP)


def read(path: Path) -> Any:
    """A file of a node; its NIC is called eth0, as the lab's."""
    text = path.read_text(encoding="utf-8")
    routes = path.parent / "ip-route.json"
    if routes.exists():
        nic = next(route["dev"] for route in json.loads(routes.read_text(encoding="utf-8")) if route["dst"] == "default")
        text = text.replace(f'"{nic}"', '"eth0"')
    return json.loads(text)


def bird_runs(cluster: Lab) -> None:
    if not cluster.description.calico.bird:
        pytest.skip("BIRD does not run in this mode")


def shape(route: Json, gateway: str) -> tuple[object, ...]:
    """A route without its numbers."""
    dst = str(route["dst"])
    kind = "default" if dst == "default" else dst.partition("/")[2] or "host"
    via = "none" if "gateway" not in route else "router" if route["gateway"] == gateway else "node"
    keys = ("type", "protocol", "scope", "metric", "flags", "metrics")
    return (kind, via, str(route.get("dev", ""))[:4], *(str(route.get(key)) for key in keys))


def test_routes(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, gateway = pair
    recorded = {shape(route, gateway) for route in read(folder / "ip-route.json") if route["table"] == "main"}
    mine = json.loads(cluster.run("k8s01", "ip", "-d", "-j", "route", "show", "table", "main"))
    assert {shape(route, GATEWAY) for route in mine} == recorded


def test_routes_of_ipv6(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    if not cluster.description.calico.ipv6:
        pytest.skip("no IPv6 in this mode")
    whole = [route for route in read(folder / "ip6-route.json") if route["table"] == "main"]
    router = next(route["gateway"] for route in whole if route["dst"] == "default")
    mine = json.loads(cluster.run("k8s01", "ip", "-6", "-d", "-j", "route", "show", "table", "main"))
    assert {shape(route, GATEWAY6) for route in mine} == {shape(route, router) for route in whole}
    recorded = read(next((folder.parents[1] / "pods").glob("shop_web*")) / "ip6-route.json")
    inside = json.loads(cluster.run_in_pod("shop/web-0", "ip", "-6", "-d", "-j", "route", "show", "table", "main"))
    assert {shape(route, "") for route in inside} == {shape(route, "") for route in recorded if route["table"] == "main"}


def link_shape(link: Json) -> Json:
    keys = ("flags", "mtu", "qdisc", "operstate", "link_type", "linkinfo", "inet6_addr_gen_mode", "num_tx_queues")
    found = {key: link.get(key) for key in keys}
    if "info_data" in (link.get("linkinfo") or {}):
        found["linkinfo"] = {**link["linkinfo"], "info_data": {**link["linkinfo"]["info_data"], "local": None}}
    if link["ifname"].startswith("cali"):
        found |= {"address": link["address"], "txqlen": link.get("txqlen")}
    return found


def test_links(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    mine = {link["ifname"]: link for link in json.loads(cluster.run("k8s01", "ip", "-d", "-j", "link"))}
    recorded = {link["ifname"]: link for link in read(folder / "ip-link.json")}
    names = {name for name in recorded if not name.startswith("cali")}
    assert names == {name for name in mine if not name.startswith("cali")}
    for name in names:
        if name != "eth0":  # its queues depend on the machine
            assert link_shape(mine[name]) == link_shape(recorded[name])
    expected = next(link_shape(link) for name, link in recorded.items() if name.startswith("cali"))
    for name, link in mine.items():
        if name.startswith("cali"):
            assert link_shape(link) == expected
            assert "link_netnsid" in link


def test_the_other_ends_of_the_tunnel(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    if cluster.description.calico.tunnel != "vxlan":
        pytest.skip("only VXLAN has neighbours and FDB entries of its own")

    def neighbours(found: list[Json]) -> set[str]:
        return {f"{item['dev']} {item['state']}" for item in found if item["dev"] == "vxlan.calico"}

    def entries(found: list[Json]) -> set[str]:
        return {f"{item['ifname']} {item['state']} {item['flags']}" for item in found if "dst" in item}

    mine = json.loads(cluster.run("k8s01", "bridge", "-j", "fdb"))
    assert neighbours(json.loads(cluster.run("k8s01", "ip", "-j", "neigh"))) == neighbours(read(folder / "ip-neigh.json"))
    assert entries(mine) == entries(read(folder / "bridge-fdb.json"))
    assert {item["mac"]: item["dst"] for item in mine if "dst" in item} == {
        json.loads(cluster.run(node.name, "ip", "-j", "link", "show", "vxlan.calico"))[0]["address"]: node.address
        for node in cluster.nodes
        if node.name != "k8s01"
    }


def test_addresses(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair

    def inet(links: list[Json]) -> set[tuple[object, ...]]:
        return {
            (link["ifname"][:4], item["family"], item["prefixlen"], item["scope"], "broadcast" in item)
            for link in links
            for item in link.get("addr_info", [])
        }

    assert inet(json.loads(cluster.run("k8s01", "ip", "-j", "addr"))) == inet(read(folder / "ip-addr.json"))


def test_sysctls_of_a_pods_interface(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    pod = cluster.pod("shop/web-0")
    recorded = {}
    for line in (folder / "sysctl.txt").read_text().splitlines():
        key, _rest, value = line.partition(" = ")
        if ".cali" in key and key.startswith("net.ipv4.conf"):
            recorded[key.rpartition(".")[2]] = value
    if cluster.description.calico.ipv6:
        for line in (folder / "sysctl.txt").read_text().splitlines():
            key, _rest, value = line.partition(" = ")
            if key.startswith("net.ipv6.conf.cali") and key.rpartition(".")[2] in ("proxy_ndp", "forwarding", "accept_ra", "accept_dad", "disable_ipv6"):
                path = f"/proc/sys/net/ipv6/conf/{pod.interface}/{key.rpartition('.')[2]}"
                assert cluster.run(pod.node, "cat", path).strip() == value, key
    for key in ("proxy_arp", "forwarding", "route_localnet", "rp_filter"):
        mine = cluster.run(pod.node, "cat", f"/proc/sys/net/ipv4/conf/{pod.interface}/{key}").strip()
        assert mine == recorded[key], key


def test_pod_side(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    recorded = next((folder.parents[1] / "pods").glob("shop_web*"))
    keys = ("type", "dst", "gateway", "dev", "protocol", "scope", "flags")

    def shapes(routes: list[Json]) -> list[Json]:
        return [{key: route.get(key) for key in keys} for route in routes if route["table"] == "main"]

    mine = json.loads(cluster.run_in_pod("shop/web-0", "ip", "-4", "-d", "-j", "route", "show", "table", "all"))
    for route in mine:
        route.setdefault("table", "main")
    assert shapes(mine) == shapes(read(recorded / "ip-route.json"))
    assert cluster.run_in_pod("shop/web-0", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_bird_answers(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    bird_runs(cluster)
    rows = [line.split() for line in cluster.bird("k8s01", "show protocols").splitlines()[1:] if line.split()]
    recorded = [line[5:].split() for line in (folder / "bird" / "protocols.txt").read_text().splitlines()[1:-1]]
    assert {(row[1], row[2], row[3]) for row in rows} == {(row[1], row[2], row[3]) for row in recorded if len(row) > 3}

    def kinds(text: str) -> set[str]:
        return {line.split("[")[1].split()[0].rstrip("0123456789_") for line in text.splitlines() if "[" in line}

    if cluster.description.calico.ipv6:
        assert kinds(cluster.bird("k8s01", "show route", "bird6")) == kinds((folder / "bird6" / "route.txt").read_text())
    assert kinds(cluster.bird("k8s01", "show route")) == kinds((folder / "bird" / "route.txt").read_text())


def test_objects(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    api = folder.parents[1] / "api"

    def annotations(nodes: list[Json]) -> set[str]:
        return {key for node in nodes for key in node["metadata"]["annotations"] if "projectcalico" in key}

    assert annotations(cluster.client.list("nodes")) == annotations(read(api / "nodes.json")["items"])
    for resource in ("ipamblocks", "blockaffinities", "ippools", "clusterinformations", "ipamhandles"):
        mine, theirs = cluster.client.list(resource)[0], read(api / f"{resource}.json")["items"][0]
        assert set(mine["spec"]) == set(theirs["spec"]), resource
        assert mine["kind"] == theirs["kind"]
    recorded = read(api / "daemonsets.json")["items"]
    shortened = {"AUTODETECT_POLL_INTERVAL"}  # the lab's monitor looks more often than the 60 s of a real one, and says so
    assert _node_env(cluster.client.list("daemonsets")) - shortened == _node_env(recorded)


def _node_env(items: list[Json]) -> set[str]:
    """The names of the variables of calico-node."""
    for item in items:
        if item["metadata"]["name"] == "calico-node":
            return {each["name"] for each in item["spec"]["template"]["spec"]["containers"][0]["env"]}
    return set()


def test_cni_result(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    recorded = read(next((folder / "cni" / "results").iterdir()))
    pod = cluster.pod("shop/web-0")
    mine = json.loads(cluster.run(pod.node, "cat", f"/var/lib/cni/results/k8s-pod-network-{pod.sandbox}-eth0"))
    assert set(mine) == set(recorded)
    assert mine["result"].keys() - {"dns"} == recorded["result"].keys() - {"dns"}  # v3.33 leaves it out where it is empty
    assert cluster.run(pod.node, "ls", mine["netns"]).strip() == mine["netns"]


def test_processes_and_sandbox(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    mine = cluster.run("k8s01", "ps", "-eo", "args")
    for line in (folder / "ps.txt").read_text().splitlines()[1:]:
        command = line.split(None, 3)[3]
        if "kube-proxy" not in command and ("bird6" not in command or cluster.description.calico.ipv6):
            assert command in mine
    pod = cluster.pod("shop/web-0")
    groups = cluster.run("k8s01", "sh", "-c", "cat /proc/[0-9]*/cgroup")
    assert pod.sandbox in groups
    assert pod.uid.replace("-", "_") in groups.replace("-", "_")
    assert "cri-containerd-" in groups
    assert "/kubepods/burstable/pod" in groups
    assert "reporting ready" in cluster.run("k8s01", "python3", "-c", "import urllib.request as r; print(r.urlopen('http://localhost:9099/readiness').read())")
