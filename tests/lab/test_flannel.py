"""flannel and canal in the lab look as on a recorded cluster, and the lab's flanneld repairs as much as the real one: with VXLAN nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Lab
from lab.flannel.cni import store
from lab.flannel.flanneld import DEVICE, FORWARD, PREFIX, SUBNET_ENV
from lab.plan import FLANNEL_NETWORK, GATEWAY
from lab.processes import wait_for
from tests.lab.support import lab, needs_root, unique
from tests.lab.test_against_captures import link_shape, read, shape

pytestmark = needs_root
TFLANNEL = unique("tflan")
Json = dict[str, Any]
RECORDED = {
    "flannel": ("flannel-vxlan-healthy", "fl-1", "192.168.77.1"),
    "flannel-hostgw": ("flannel-hostgw-healthy", "gw-1", "192.168.78.1"),
    "canal": ("canal-healthy", "canal-1", "172.16.30.1"),
}


@pytest.fixture(scope="module", params=list(RECORDED))
def cluster(request: pytest.FixtureRequest, state: Path) -> Iterator[Lab]:
    lab("up", "--mode", request.param, "--api", "emulator", "--name", TFLANNEL)
    yield Lab.load(TFLANNEL)
    lab("down", "--name", TFLANNEL)


@pytest.fixture
def pair(cluster: Lab, capture: Callable[[str], Path]) -> tuple[Lab, Path, str]:
    name, node, gateway = RECORDED[cluster.mode]
    return cluster, capture(name) / "nodes" / node, gateway


def of_node(cluster: Lab, *command: str) -> list[Json]:
    return [item for item in json.loads(cluster.run("k8s01", *command)) if item]


def test_routes(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, gateway = pair
    recorded = {shape(route, gateway) for route in read(folder / "ip-route.json") if route["table"] == "main"}
    assert {shape(route, GATEWAY) for route in of_node(cluster, "ip", "-d", "-j", "route", "show", "table", "main")} == recorded


def kind(name: str) -> str:
    return name if name in ("lo", "eth0", "cni0", DEVICE) else name[:4]


def test_links(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair

    def shapes(links: list[Json]) -> dict[str, Json]:
        found = {}
        for link in links:
            whole = link_shape(link)
            info = link.get("linkinfo") or {}
            if info.get("info_kind") == "bridge":
                whole["linkinfo"] = {key: info["info_data"][key] for key in ("stp_state", "vlan_filtering", "forward_delay")}
            if "info_slave_data" in info:
                whole["linkinfo"] = {key: info["info_slave_data"][key] for key in ("state", "hairpin", "learning", "isolated")}
            found[kind(link["ifname"])] = {**whole, "master": link.get("master"), "peer": "link_netnsid" in link}
        found.pop("eth0")  # its queues depend on the machine
        return found

    assert shapes(of_node(cluster, "ip", "-d", "-j", "link")) == shapes(read(folder / "ip-link.json"))


def test_addresses(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair

    def inet(links: list[Json]) -> set[tuple[object, ...]]:
        rows = [(kind(link["ifname"]), item) for link in links for item in link.get("addr_info", [])]
        return {(name, item["family"], item["prefixlen"], item["scope"], "broadcast" in item) for name, item in rows}

    assert inet(of_node(cluster, "ip", "-j", "addr")) == inet(read(folder / "ip-addr.json"))


def test_the_other_ends_of_the_tunnel(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair

    def neighbours(found: list[Json]) -> list[str]:
        return [f"{item['dev']} {item['state']}" for item in found if item["dev"] == DEVICE]

    def entries(found: list[Json]) -> list[str]:
        return [f"{item['ifname']} {item['state']} {item['flags']}" for item in found if "dst" in item]

    fdb = of_node(cluster, "bridge", "-j", "fdb")
    assert neighbours(of_node(cluster, "ip", "-j", "neigh")) == neighbours(read(folder / "ip-neigh.json"))
    assert entries(fdb) == entries(read(folder / "bridge-fdb.json"))
    if cluster.description.calico.device:
        leases = cluster.leases()
        wanted = {leases[node.name].mac: node.address for node in cluster.nodes if node.name != "k8s01"}
        assert {item["mac"]: item["dst"] for item in fdb if "dst" in item} == wanted


def test_pod_side(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    recorded = next((folder.parents[1] / "pods").glob("shop_web*"))
    keys = ("type", "protocol", "scope", "flags", "dev")

    def shapes(routes: list[Json]) -> set[tuple[object, ...]]:
        main = [route for route in routes if route.get("table", "main") == "main"]
        return {(route["dst"].partition("/")[2] or route["dst"], "gateway" in route, *(str(route.get(key)) for key in keys)) for route in main}

    mine = json.loads(cluster.run_in_pod("shop/web-0", "ip", "-4", "-d", "-j", "route", "show", "table", "all"))
    assert shapes(mine) == shapes(read(recorded / "ip-route.json"))
    theirs = next(link for link in read(recorded / "ip-link.json") if link["ifname"] == "eth0")
    (link,) = json.loads(cluster.run_in_pod("shop/web-0", "ip", "-j", "link", "show", "eth0"))
    assert link["mtu"] == theirs["mtu"]


def test_files(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair

    def names(text: str) -> list[str]:
        return [line.partition("=")[0] for line in text.splitlines()]

    mine = cluster.run("k8s01", "cat", str(SUBNET_ENV))
    recorded = (folder / "flannel-subnet.env").read_text(encoding="ascii")
    assert names(mine) == names(recorded)
    assert mine.splitlines()[2:] == recorded.splitlines()[2:]  # MTU and IPMASQ
    assert mine.splitlines()[1] == "FLANNEL_SUBNET=10.244.0.1/24"
    pods = {pod.address: pod.sandbox for pod in cluster.pods if pod.node == "k8s01"}
    place = store(cluster.description)
    assert f"== {place}/" in (folder / "host-local.txt").read_text(encoding="utf-8")
    assert set(cluster.run("k8s01", "ls", str(place)).split()) == {*pods, "last_reserved_ip.0", "lock"}
    for address, sandbox in pods.items():
        assert cluster.run("k8s01", "cat", str(place / address)).splitlines() == [sandbox, "eth0"]
    config = next((folder / "cni" / "net.d").glob("*.conflist"))
    text = config.read_text(encoding="utf-8").replace('"nodename": "canal-1"', '"nodename": "k8s01"')
    assert cluster.run("k8s01", "cat", f"/etc/cni/net.d/{config.name}").strip() == text.strip()


def test_cni_result(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    recorded = next((folder / "cni" / "results").iterdir())
    pod = cluster.pod("shop/web-0")
    network = recorded.name.partition("-" + read(recorded)["containerId"])[0]
    mine = json.loads(cluster.run(pod.node, "cat", f"/var/lib/cni/results/{network}-{pod.sandbox}-eth0"))
    theirs = read(recorded)
    assert set(mine) == set(theirs) and mine["result"].keys() == theirs["result"].keys()
    assert [set(item) for item in mine["result"]["interfaces"]] == [set(item) for item in theirs["result"]["interfaces"]]
    assert [set(item) for item in mine["result"]["ips"]] == [set(item) for item in theirs["result"]["ips"]]


def test_objects(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    api = folder.parents[1] / "api"

    def annotations(nodes: list[Json]) -> set[str]:
        return {key for node in nodes for key in node["metadata"]["annotations"] if "flannel" in key or "projectcalico" in key}

    mine, theirs = cluster.client.list("nodes"), read(api / "nodes.json")["items"]
    assert annotations(mine) == annotations(theirs)
    for name in ("backend-type", "kube-subnet-manager"):
        assert mine[0]["metadata"]["annotations"][PREFIX + name] == theirs[0]["metadata"]["annotations"][PREFIX + name]
    data = [json.loads(nodes[0]["metadata"]["annotations"][PREFIX + "backend-data"]) for nodes in (mine, theirs)]
    assert set(data[0] or {}) == set(data[1] or {})
    assert set(mine[0]["spec"]) == set(theirs[0]["spec"]) - {"taints"}
    agent = cluster.description.calico.agent
    (recorded,) = (item for item in read(api / "daemonsets.json")["items"] if item["metadata"]["name"] == agent.name)
    ours = cluster.client.get("daemonsets", agent.name, agent.namespace)
    assert ours["metadata"]["namespace"] == recorded["metadata"]["namespace"]
    assert ours["spec"]["template"]["metadata"]["labels"] == recorded["spec"]["template"]["metadata"]["labels"]
    containers = [{each["name"] for each in item["spec"]["template"]["spec"]["containers"]} for item in (ours, recorded)]
    assert containers[0] == containers[1]
    (config,) = (item for item in read(api / "configmaps.json")["items"] if "net-conf.json" in item["data"])
    mine_config = cluster.client.get("configmaps", config["metadata"]["name"], config["metadata"]["namespace"])
    assert set(mine_config["data"]) == set(config["data"])
    assert json.loads(mine_config["data"]["net-conf.json"])["Backend"] == json.loads(config["data"]["net-conf.json"])["Backend"]
    groups = {group["name"] for group in cluster.client.request("GET", "/apis")["groups"]}
    assert ("crd.projectcalico.org" in groups) is bool(cluster.description.calico.backend)


def test_processes(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    mine = cluster.run("k8s01", "ps", "-eo", "args")
    commands = [line.split(None, 3)[3] for line in (folder / "ps.txt").read_text(encoding="utf-8").splitlines()[1:]]
    wanted = [command for command in commands if "kube-proxy" not in command]
    assert wanted and all(command in mine for command in wanted)


def forward_rules(text: str, network: str) -> list[str]:
    found = []
    for line in text.splitlines():
        words = line.partition("] ")[2] if line.startswith("[") else line
        if FORWARD in words and not words.startswith(":FORWARD"):
            found.append(words.partition(" [")[0].replace(network, "NETWORK"))
    return found


def test_forward_rules(pair: tuple[Lab, Path, str]) -> None:
    cluster, folder, _rest = pair
    network = json.loads((folder / "flannel-net-conf.json").read_text(encoding="utf-8"))["Network"]
    recorded = forward_rules((folder / "iptables-save.txt").read_text(encoding="utf-8"), network)
    assert len(recorded) == 4
    wait_for(lambda: len(forward_rules(cluster.run("k8s01", "iptables-save", "-c"), FLANNEL_NETWORK)) == 4, "flanneld has written its rules", 20)
    assert forward_rules(cluster.run("k8s01", "iptables-save", "-c"), FLANNEL_NETWORK) == recorded


# --------------------------------------------------------------------------- what it repairs, and what not


def lost_route(cluster: Lab) -> str:
    block = cluster.node("k8s02").block
    cluster.run("k8s01", "ip", "route", "del", block)
    return block


def routed(cluster: Lab, block: str) -> bool:
    return any(route["dst"] == block for route in cluster.routes("k8s01"))


def test_host_gw_puts_a_lost_route_back_and_vxlan_does_not(cluster: Lab) -> None:
    block = lost_route(cluster)
    if cluster.description.calico.device:
        # the next event is another node's: it is carried out, and repairs nothing
        _touch(cluster, "k8s03", {"public-ip": "10.2.7.99"})
        mac = cluster.leases()["k8s03"].mac
        wait_for(lambda: f"{mac} dst 10.2.7.99" in cluster.run("k8s01", "bridge", "fdb", "show", "dev", DEVICE), "k8s03 moved", 10)
        assert not routed(cluster, block)
        _touch(cluster, "k8s03", {"public-ip": cluster.node("k8s03").address})
        cluster.restart_calico("k8s01")
    wait_for(lambda: routed(cluster, block), "the route is there again", 20)
    cluster.wait_healthy(30)


def _touch(cluster: Lab, node: str, values: dict[str, str]) -> None:
    cluster.client.patch("nodes", node, {"metadata": {"annotations": {PREFIX + key: value for key, value in values.items()}}})


def test_lost_rules_of_forward_come_back(cluster: Lab) -> None:
    cluster.run("k8s01", "iptables", "-w", "-F", "FORWARD")
    wait_for(lambda: f"-j {FORWARD}" in cluster.run("k8s01", "iptables", "-w", "-S", "FORWARD"), "flanneld has put its rule back", 20)


def test_a_start_takes_the_mac_that_is_there_and_the_others_keep_the_old_entry(cluster: Lab) -> None:
    if not cluster.description.calico.device:
        pytest.skip("there is no flannel.1")
    old, new = cluster.leases()["k8s02"].mac, "66:00:00:00:00:77"
    cluster.run("k8s02", "ip", "link", "set", DEVICE, "address", new)
    cluster.restart_calico("k8s02")
    wait_for(lambda: cluster.leases()["k8s02"].mac == new, "k8s02 announces its new MAC", 20)
    cluster.wait_healthy(30)
    fdb = [item["mac"] for item in of_node(cluster, "bridge", "-j", "fdb") if item.get("dst") == cluster.node("k8s02").address]
    assert sorted(fdb) == sorted([old, new])


def test_a_deleted_pod_gets_another_address_and_gives_its_own_back(cluster: Lab) -> None:
    old = next(pod for pod in cluster.pods if pod.app == "probe" and pod.node == "k8s01")
    cluster.client.delete("pods", old.name, old.namespace)
    wait_for(lambda: all(pod.name != old.name for pod in cluster.pods), "the pod has a successor", 20)
    cluster.wait_healthy(30)
    held = cluster.run("k8s01", "ls", str(store(cluster.description))).split()
    assert {pod.address for pod in cluster.pods if pod.node == "k8s01"} == set(held) - {"last_reserved_ip.0", "lock"}
