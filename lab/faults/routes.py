"""Faults of routes."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import BIRD_ROUTES, DIRECT, FELIX, FELIX_ROUTES, MESH, TUNNEL, Modes, fault
from lab.faults.router import outside_reflector
from lab.faults.steps import affinity, cut_off, kill
from lab.modes import MODES
from lab.plan import GATEWAY
from lab.processes import wait_for


@fault(
    "local_pod_route_missing",
    number="F20",
    breaks="route.local.missing",
    objects=("shop/web-1",),
    modes=FELIX,
    question=("shop/web-0", "shop/web-1", 8080),
)
def local_route(lab: Lab) -> Iterator[None]:
    """Felix of k8s02 is dead, and the /32 of a local pod was deleted: the blackhole takes its packets."""
    kill(lab, "k8s02", "felix")
    pod = lab.pod("shop/web-1")
    lab.run("k8s02", "ip", "route", "del", f"{pod.address}/32", "dev", pod.interface)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.revive("k8s02")


def _alien(lab: Lab, node: str) -> list[str]:
    """A static route that sends the block of another node to the gateway, at BIRD's metric."""
    return [lab.node(node).block, "via", GATEWAY, "dev", "eth0", "proto", "static", "metric", "1024"]


@fault(
    "remote_block_route_missing_bird_has_it.alien",
    number="F22",
    breaks="route.block.missing",
    node="k8s01",
    modes=BIRD_ROUTES,
    question=("shop/web-0", "shop/web-1", 8080),
)
def alien_route(lab: Lab) -> Iterator[None]:
    """On k8s01 a static route with BIRD's prefix and metric stands in the way; BIRD learns it and tells the others."""
    block = lab.node("k8s02").block
    lab.run("k8s01", "ip", "route", "replace", *_alien(lab, "k8s02"))
    wait_for(lambda: f"{block}" in _failed(lab, "k8s01"), "BIRD says that it could not install its route", 20)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "route", "del", *_alien(lab, "k8s02"), check=False)


def _failed(lab: Lab, node: str) -> str:
    """BIRD's routes that the kernel refused."""
    return "\n".join(line for line in lab.bird(node, "show route").splitlines() if "] !" in line)


@fault(
    "remote_block_route_missing_bird_has_it.unlearned",
    number="F22",
    breaks="route.block.missing",
    node="k8s01",
    modes=BIRD_ROUTES,
    question=("shop/web-0", "shop/web-1", 8080),
)
def unlearned_route(lab: Lab) -> Iterator[None]:
    """As the alien route, but written as `proto kernel`, which BIRD never learns: only k8s01 suffers."""
    alien = [word.replace("static", "kernel") for word in _alien(lab, "k8s02")]
    lab.run("k8s01", "ip", "route", "replace", *alien)
    wait_for(lambda: lab.node("k8s02").block in _failed(lab, "k8s01"), "BIRD could not install its route", 20)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "route", "del", *alien, check=False)


@fault(
    "remote_block_route_missing_bird_has_it.host_route",
    number="F22",
    breaks="route.alien",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=BIRD_ROUTES,
)
def host_route(lab: Lab) -> Iterator[None]:
    """A static route for one address takes the packets of one pod; its neighbours in the block are well."""
    route = [f"{lab.pod('shop/web-1').address}/32", "via", GATEWAY, "dev", "eth0", "proto", "static"]
    lab.run("k8s01", "ip", "route", "replace", *route)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "route", "del", *route, check=False)


@fault(
    "remote_block_route_missing_bird_has_it.wrong_device",
    number="F22",
    breaks="route.alien",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=Modes(tuple(name for name in BIRD_ROUTES.names if name not in TUNNEL.names), "such a route leads around the tunnel, too"),
)
def wrong_device(lab: Lab) -> Iterator[None]:
    """A static route to a block has the right gateway, and leads through a bridge without ports."""
    there = lab.node("k8s02")
    lab.run("k8s01", "ip", "link", "add", "br-5f1c", "type", "bridge")
    lab.run("k8s01", "ip", "link", "set", "br-5f1c", "up")
    lab.run("k8s01", "ip", "route", "add", there.block, "via", there.address, "dev", "br-5f1c", "onlink", "proto", "static", "metric", "100")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "link", "del", "br-5f1c", check=False)


@fault(
    "pool_overlaps_host_network",
    number="F65",
    breaks="route.block.different",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=BIRD_ROUTES,
)
def bridge_on_a_block(lab: Lab) -> Iterator[None]:
    """A bridge of a container network on k8s01 has the block of another node as its own subnet."""
    lab.run("k8s01", "ip", "link", "add", "br-5f1c", "type", "bridge")
    lab.run("k8s01", "ip", "addr", "add", lab.node("k8s02").block, "dev", "br-5f1c")
    lab.run("k8s01", "ip", "link", "set", "br-5f1c", "up")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "link", "del", "br-5f1c", check=False)


@fault(
    "pod_route_wrong_iface",
    number="F21",
    breaks="route.local.different",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=FELIX,
)
def pod_route(lab: Lab) -> Iterator[None]:
    """Felix of k8s02 is dead, and the /32 of a pod leads into the interface of another pod."""
    kill(lab, "k8s02", "felix")
    pod, other = lab.pod("shop/web-1"), lab.pod("shop/api-0")
    lab.run("k8s02", "ip", "route", "replace", f"{pod.address}/32", "dev", other.interface, "scope", "link", "metric", "1024")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.revive("k8s02")


@fault(
    "felix_owned_route_missing",
    number="F24",
    breaks="route.block.missing",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=FELIX_ROUTES,
)
def felix_route(lab: Lab) -> Iterator[None]:
    """Felix of k8s01 is dead, and its route to the block of k8s02 was deleted."""
    kill(lab, "k8s01", "felix")
    lab.run("k8s01", "ip", "route", "del", lab.node("k8s02").block)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.revive("k8s01")


@fault(
    "blackhole_wrong_block.leftover",
    number="F28",
    breaks="route.alien",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=BIRD_ROUTES,
)
def leftover_blackhole(lab: Lab) -> Iterator[None]:
    """A blackhole for the block of k8s02 was left behind on k8s01, from the time when the block was its own."""
    route = ["blackhole", lab.node("k8s02").block, "proto", "static"]
    lab.run("k8s01", "ip", "route", "add", *route)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "route", "del", *route, check=False)


@fault(
    "blackhole_wrong_block.two_owners",
    number="F28",
    breaks="route.blackhole.wrong",
    node="k8s03",
    question=("shop/web-2", "shop/web-1", 8080),
    modes=MESH,
    only_bgp=True,
)
def two_owners(lab: Lab) -> Iterator[None]:
    """A second BlockAffinity says that the block of k8s02 belongs to k8s03, too: both announce it, and k8s03 drops what it gets."""
    body = affinity(lab, "k8s03", lab.node("k8s02").block)
    lab.client.create("blockaffinities", body)
    if not lab.description.calico.felix_routes:
        cut_off(lab, "shop/web-2", "shop/web-1")
    yield
    lab.client.delete("blockaffinities", body["metadata"]["name"])


@fault(
    "affinity_without_block",
    number="F29",
    breaks="affinity.block.missing",
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
    modes=MESH,
)
def dangling_affinity(lab: Lab) -> Iterator[None]:
    """A BlockAffinity names a block that does not exist: a blackhole on k8s02 and a route on the others, without harm."""
    body = affinity(lab, "k8s02", "10.253.255.0/26")
    lab.client.create("blockaffinities", body)
    if not lab.description.calico.felix_routes:
        wait_for(lambda: any(route["dst"] == "10.253.255.0/26" for route in lab.routes("k8s02")), "k8s02 has the blackhole", 20)
    yield
    lab.client.delete("blockaffinities", body["metadata"]["name"])


@fault(
    "remote_block_route_missing_not_learned",
    number="F23",
    breaks="route.block.missing",
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
    modes=BIRD_ROUTES,
)
def affinity_removed(lab: Lab) -> Iterator[None]:
    """The BlockAffinity of k8s02 was deleted: BIRD announces the address of each pod instead of the block."""
    name = affinity(lab, "k8s02", lab.node("k8s02").block)["metadata"]["name"]
    old = lab.client.get("blockaffinities", name)
    lab.client.delete("blockaffinities", name)
    address = lab.pod("shop/web-1").address
    wait_for(lambda: any(route["dst"] == address for route in lab.routes("k8s01")), "k8s01 has a route to the pod itself", 20)
    wait_for(lambda: not any(route["dst"] == lab.node("k8s02").block for route in lab.routes("k8s01")), "k8s01 has no route to the block", 20)
    yield
    lab.client.create("blockaffinities", {**old, "metadata": {key: old["metadata"][key] for key in ("name", "labels") if key in old["metadata"]}})


WITHOUT_REFLECTOR = Modes(
    tuple(name for name in BIRD_ROUTES.names if name in MESH.names), "BIRD does not write the routes, or a route reflector passes them on"
)


@fault(
    "remote_block_route_missing_not_learned.soft",
    number="F23",
    breaks="route.block.missing",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=WITHOUT_REFLECTOR,
)
def not_announced_again(lab: Lab) -> Iterator[None]:
    """BIRD of k8s02 announced nothing for a while. Its configuration is right again, but was read softly: what it held back it announces only if asked."""
    folder = "/etc/calico/confd/config"
    text = lab.run("k8s02", "cat", f"{folder}/bird.cfg")
    silent = text.replace("    calico_export_to_bgp_peers(", "    reject; calico_export_to_bgp_peers(")
    lab.run("k8s02", "sh", "-c", 'printf %s "$0" > "$1"', silent, f"{folder}/silent.cfg")
    lab.bird("k8s02", f'configure "{folder}/silent.cfg"')
    block, others = lab.node("k8s02").block, [node.name for node in lab.nodes if node.name != "k8s02"]
    wait_for(lambda: not any(route["dst"] == block for other in others for route in lab.routes(other)), "the others have no route to the block", 20)
    lab.bird("k8s02", f'configure soft "{folder}/bird.cfg"')
    lab.run("k8s02", "rm", f"{folder}/silent.cfg")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    for session in lab.sessions("k8s02"):
        lab.bird("k8s02", f"reload out {session.name}")


@fault(
    "remote_block_route_missing_not_learned.router",
    number="F23",
    breaks="route.block.missing",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=WITHOUT_REFLECTOR,
)
def router_took_nothing(lab: Lab) -> Iterator[None]:
    """The router before the nodes reflects their routes, and there is no mesh. It took nothing of k8s02 for a while, and does not ask for it again."""
    with outside_reflector(lab) as router:
        deaf = lab.node("k8s02").address
        router.configure(deaf=deaf)
        block, others = lab.node("k8s02").block, [node.name for node in lab.nodes if node.name != "k8s02"]
        wait_for(lambda: not any(route["dst"] == block for other in others for route in lab.routes(other)), "the others have no route to the block", 20)
        router.configure(soft=True)
        cut_off(lab, "shop/web-0", "shop/web-1")
        yield


@fault(
    "alien_policy_rule_shadows_main",
    number="F32",
    breaks="fib.different",
    question=("shop/web-1", "shop/web-0", 8080),
)
def policy_rule(lab: Lab) -> Iterator[None]:
    """A rule on k8s02 (a VPN's, say) sends what goes to the pods of k8s01 to a table of its own, with only a default route."""
    rule = ["to", lab.node("k8s01").block, "priority", "1000", "lookup", "77"]
    lab.run("k8s02", "ip", "route", "add", "default", "via", GATEWAY, "dev", "eth0", "table", "77")
    lab.run("k8s02", "ip", "rule", "add", *rule)
    cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.run("k8s02", "ip", "rule", "del", *rule, check=False)
    lab.run("k8s02", "ip", "route", "flush", "table", "77", check=False)


@fault(
    "nm_cloud_setup_rules",
    number="F10",
    breaks="fib.different",
    node="k8s01",
    objects=("ip rule 30400 (from 10.2.7.201/32 lookup 30400)",),
    question=("node/k8s01", "shop/web-0", 8080),
    modes=FELIX,
)
def cloud_rule(lab: Lab) -> Iterator[None]:
    """nm-cloud-setup gave k8s01 a rule and a table for its own address, which knows the network and the gateway, and none of its pods."""
    address = lab.node("k8s01").address
    rule, table = ["from", address, "priority", "30400", "lookup", "30400"], ["table", "30400"]
    lab.run("k8s01", "ip", "route", "add", "10.2.7.0/24", "dev", "eth0", *table)
    lab.run("k8s01", "ip", "route", "add", "default", "via", GATEWAY, "dev", "eth0", *table)
    lab.run("k8s01", "ip", "rule", "add", *rule)
    cut_off(lab, "node/k8s01", "shop/web-0")
    yield
    lab.run("k8s01", "ip", "rule", "del", *rule, check=False)
    lab.run("k8s01", "ip", "route", "flush", *table, check=False)


@fault(
    "route_wrong_encap",
    number="F25",
    breaks="route.block.different",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
    modes=Modes(tuple(name for name in BIRD_ROUTES.names if name in TUNNEL.names), "no tunnel has routes of BIRD's"),
)
def around_the_tunnel(lab: Lab) -> Iterator[None]:
    """A static route on k8s01 leads to the block of k8s02 around the tunnel; the way back uses it."""
    there = lab.node("k8s02")
    route = [there.block, "via", there.address, "dev", "eth0", "proto", "static", "metric", "100"]
    lab.run("k8s01", "ip", "route", "add", *route)
    wait_for(lambda: lab.answers("shop/web-0", "shop/web-1"), "traffic still flows", 20)
    yield
    lab.run("k8s01", "ip", "route", "del", *route, check=False)


@fault(
    "programclusterroutes_mismatch",
    number="F31",
    breaks="routes.programming.both",
    node="",
    objects=("FelixConfiguration default",),
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
    modes=BIRD_ROUTES,
)
def both_program(lab: Lab) -> Iterator[None]:
    """FelixConfiguration tells Felix to write the routes that BIRD writes. The lab's Felix does not listen to it: the contradiction alone is there."""
    lab.client.patch("felixconfigurations", "default", {"spec": {"programClusterRoutes": "Enabled"}})
    yield
    lab.client.patch("felixconfigurations", "default", {"spec": {"programClusterRoutes": None}})


@fault(
    "nexthop_gateway_not_node",
    number="F27",
    breaks="route.block.different",
    objects=("10.253.8.0/26",),
    modes=Modes(tuple(name for name in DIRECT.names if MODES[name].bird), "a tunnel carries the packets, or BIRD does not run"),
    question=("shop/web-1", "shop/web-0", 8080),
)
def through_the_gateway(lab: Lab) -> Iterator[None]:
    """Somebody gave k8s02 a route to k8s01 by way of the gateway; BIRD looks up its next hop there, and the gateway knows no pods."""
    route = [f"{lab.node('k8s01').address}/32", "via", GATEWAY, "dev", "eth0"]
    lab.run("k8s02", "ip", "route", "add", *route)
    cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.run("k8s02", "ip", "route", "del", *route, check=False)
