"""felix: the routes of local pods, tunnels, and the health endpoints. Like the real one it never repairs sysctls."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.api.client import ApiError, Client, Json
from lab.calico import cluster_routes, policy
from lab.calico.common import TUNNEL_ANNOTATION, Settings, annotations_of, log
from lab.calico.dataplane import Dataplane
from lab.kernel import ip_batch, ip_json, sysctl
from lab.pod import ipv6_sysctls

RETRY = 10.0  # seconds until Felix tries again to make a device
BACKENDS = {"NFT": "iptables-nft", "Legacy": "iptables-legacy"}
CONFIGURED_ANEW = 129  # how the real one ends when its configuration has changed
REPORT = """+---------------------------+---------+----------------+-----------------+--------+
|         COMPONENT         | TIMEOUT |    LIVENESS    |    READINESS    | DETAIL |
+---------------------------+---------+----------------+-----------------+--------+
| CalculationGraph          | 30s     | reporting live | reporting ready |        |
| FelixStartup              | -       | reporting live | reporting ready |        |
| InternalDataplaneMainLoop | 1m30s   | reporting live | reporting ready |        |
+---------------------------+---------+----------------+-----------------+--------+
"""


class Health(BaseHTTPRequestHandler):
    """localhost:9099."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        good = self.path in ("/liveness", "/readiness")
        body = REPORT.encode() if good else b"404 page not found\n"
        self.send_response(200 if good else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def endpoints(pods: list[Json]) -> dict[str, list[str]]:
    """Addresses by interface, of the pods that have a sandbox of their own."""
    found = {}
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status", {})
        if pod["spec"].get("hostNetwork") or not status.get("podIP") or meta.get("deletionTimestamp"):
            continue
        digest = hashlib.sha1(f"{meta['namespace']}.{meta['name']}".encode()).hexdigest()
        found["cali" + digest[:11]] = [item["ip"] for item in status.get("podIPs") or [{"ip": status["podIP"]}]]
    return found


def apply_endpoints(wanted: dict[str, list[str]], families: tuple[int, ...]) -> None:
    """Bring the routes to what the endpoints need; the CNI plugin's own (metric 0) are taken over."""
    present = {link["ifname"] for link in ip_json(["link"])}
    lines = []
    for family in families:
        routes = ip_json([f"-{family}", "route", "show", "table", "main"])
        bits, scope = (32, " scope link") if family == 4 else (128, "")
        for interface, addresses in wanted.items():
            for address in addresses:
                if interface not in present or (":" in address) != (family == 6):
                    continue
                same = [route for route in routes if route["dst"] in (address, f"{address}/{bits}")]
                if not any(r.get("dev") == interface and r.get("metric") == 1024 for r in same):
                    lines.append(f"route replace {address}/{bits} dev {interface}{scope} metric 1024")
                for route in same:
                    if route.get("metric", 0) == 0 and route.get("dev", "").startswith("cali"):
                        lines.append(f"route del {address}/{bits} dev {route['dev']} metric 0")
        for route in routes:  # foreign routes to a pod's interface
            device = route.get("dev", "")
            if device.startswith("cali") and route.get("metric") == 1024 and route["dst"] not in wanted.get(device, []):
                lines.append(f"route del {route['dst']} dev {device} metric 1024")
    if lines:
        ip_batch(lines, force=True)
        log("felix", "route_table.go 1100", f"Programmed routes count={len(lines)}")


def configure(interface: str, ipv6: bool) -> None:
    """The sysctls of an endpoint, when Felix sees it for the first time and never again."""
    for name in ("conf/{}/route_localnet", "conf/{}/proxy_arp", "conf/{}/forwarding"):
        (Path("/proc/sys/net/ipv4") / name.format(interface)).write_text("1", encoding="ascii")
    (Path("/proc/sys/net/ipv4/neigh") / interface / "proxy_delay").write_text("0", encoding="ascii")
    if ipv6:
        sysctl(ipv6_sysctls(interface))


def apply_tunnel(address: str) -> None:
    """tunl0: MTU, one /32, up."""
    links = ip_json(["addr", "show", "dev", "tunl0"])
    if not links:
        return
    link = links[0]
    lines = []
    if link["mtu"] != 1480:
        lines.append("link set tunl0 mtu 1480")
    if "UP" not in link["flags"]:
        lines.append("link set tunl0 up")
    have = [item["local"] for item in link["addr_info"] if item["family"] == "inet"]
    lines += [f"addr del {old}/32 dev tunl0" for old in have if old != address]
    if address not in have:
        lines.append(f"addr add {address}/32 dev tunl0")
    if lines:
        ip_batch(lines, force=True)
        log("felix", "ipip_mgr.go 520", f"Configured IPIP tunnel device tunl0 address={address}")


def apply_cluster_routes(client: Client, settings: Settings) -> bool:
    """The routes to other nodes that are Felix's. False if something must be tried again soon."""
    mode, nodes = settings.calico, client.list("nodes")
    own = cluster_routes.hosts_of(nodes, mode).get(settings.node)
    parent = cluster_routes.parent_of(own.address) if own else ""
    wanted = cluster_routes.calculate(settings.node, mode, nodes, client.list("ipamblocks"), parent)
    done = mode.tunnel != "vxlan" or cluster_routes.apply_vxlan(wanted, mode, parent)
    cluster_routes.apply_routes(wanted, mode)
    return done


def apply_policy(client: Client, settings: Settings, dataplane: Dataplane) -> None:
    """The rules of policies. What they follow from is told by name, so that a reader of the log knows what is enforced."""
    lists = policy.read(client)
    wrote = dataplane.apply(policy.world_of(settings.node, lists, settings.calico.tunnel))
    told = policy.told(lists)
    if wrote or told != dataplane.told:
        dataplane.told = told
        log("felix", "int_dataplane.go 2305", f"Finished applying updates to dataplane. policies={told}")


def backend_of(client: Client, settings: Settings) -> str:
    """What Felix writes its rules with: what the FelixConfiguration of the node says, or the default one, or else what the lab was made with."""
    if settings.dataplane not in BACKENDS.values():
        return settings.dataplane
    named = {item["metadata"]["name"]: item.get("spec", {}).get("iptablesBackend") for item in client.list("felixconfigurations")}
    return BACKENDS.get(named.get(f"node.{settings.node}") or named.get("default") or "", settings.dataplane)


def follow_links(woken: threading.Event) -> None:
    """Wake up whenever an interface appears or changes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as monitor:
        monitor.bind((0, 1))  # RTMGRP_LINK
        while True:
            try:
                monitor.recv(1 << 16)
            except OSError:  # overrun: something changed
                pass
            woken.set()


def felix(settings: Settings) -> None:
    """For ever: at every change, and at random times in between."""
    health = ThreadingHTTPServer(("127.0.0.1", 9099), Health)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    Path("/var/lib/calico/mtu").write_text(str(settings.mtu), encoding="ascii")
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", *(["net.ipv6.conf.all.forwarding=1"] if settings.calico.ipv6 else [])], check=False)
    client = settings.client()
    woken = threading.Event()
    selector = f"spec.nodeName={settings.node}"
    threading.Thread(target=follow_links, args=(woken,), daemon=True).start()
    client.follow("pods", lambda event: woken.set(), fieldSelector=selector)
    if settings.calico.felix_routes:
        client.follow("nodes", lambda event: woken.set())
        client.follow("ipamblocks", lambda event: woken.set())
    else:
        client.follow("nodes", lambda event: woken.set(), fieldSelector=f"metadata.name={settings.node}")
    dataplane = None
    if settings.dataplane:
        dataplane = Dataplane(backend_of(client, settings))
        for resource in (*policy.POLICED, "felixconfigurations"):
            client.follow(resource, lambda event: woken.set())
    patience = settings.felix_refresh
    log("felix", "daemon.go 358", f'Felix starting up hostname="{settings.node}"')
    seen: set[str] = set()
    while True:
        try:
            wanted = endpoints(client.list("pods", fieldSelector=selector))
            for interface in set(wanted) - seen:
                if Path("/sys/class/net", interface).exists():
                    configure(interface, settings.calico.ipv6)
                    seen.add(interface)
            seen &= set(wanted)
            apply_endpoints(wanted, settings.calico.families)
            patience = settings.felix_refresh * random.uniform(0.6, 1.4)
            if settings.calico.tunnel == "ipip":
                tunnel = annotations_of(client.get("nodes", settings.node)).get(TUNNEL_ANNOTATION["ipip"])
                if tunnel:
                    apply_tunnel(tunnel)
            if settings.calico.felix_routes and not apply_cluster_routes(client, settings):
                patience = RETRY
            if dataplane:
                if backend_of(client, settings) != dataplane.kind:
                    log("felix", "daemon.go 669", 'Felix is shutting down reason="config changed"', "WARNING")
                    os._exit(CONFIGURED_ANEW)  # it is started again, and leaves the rules that it has written
                apply_policy(client, settings, dataplane)
        except (ApiError, OSError, RuntimeError) as error:
            log("felix", "watchercache.go 190", f"Failed to reach the datastore: {error}", "WARNING")
            time.sleep(0.5)
            woken.set()
        woken.wait(patience)
        time.sleep(0.05)
        woken.clear()
