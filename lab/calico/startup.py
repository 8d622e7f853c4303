"""calico-node's start and its address monitor: the node's annotations."""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from pathlib import Path

from lab.api.client import ApiError, Client
from lab.calico import autodetect
from lab.calico.common import PREFIX, TUNNEL_ANNOTATION, Settings, annotations_of, container_environment, internal_ip, local_links, log


class AddressTaken(Exception):
    """Another node announces the same address; calico-node ends."""


def update_address(client: Client, settings: Settings, part: str, environment: dict[str, str]) -> bool:
    """Choose the addresses anew and write what changed. True if one of them changed."""
    node = client.get("nodes", settings.node)
    current = annotations_of(node)
    links = local_links()
    found = {family: autodetect.interfaces(links, family) for family in settings.calico.families}
    wanted = {PREFIX + "Interfaces": json.dumps(autodetect.published(found.get(4, ()), found.get(6, ())), separators=(",", ":"))}
    changed = False
    for family, interfaces in found.items():
        key = f"{PREFIX}IPv{family}Address"
        old = current.get(key, "")
        address = _choose(settings, part, environment, family, interfaces, old, internal_ip(node))
        if address != old:
            log(part, "startup.go 727", f"Node IPv{family} changed, will check for conflicts")
            if old:
                log(part, "startup.go 1195", f"IPv{family} address has changed. This could happen if there are multiple nodes with "
                    f'the same name. node="{settings.node}" original="{old}" updated="{address}"', "WARNING")
            _check_conflict(client, settings, address, part)
            wanted[key] = address
            changed = True
    changes = {key: value for key, value in wanted.items() if current.get(key) != value}
    if changes:
        client.patch("nodes", settings.node, {"metadata": {"annotations": changes}})
    return changed


def _choose(
    settings: Settings, part: str, environment: dict[str, str], family: int, found: list[autodetect.Interface], old: str, internal: str
) -> str:
    """The address of one family, by the container's environment."""
    name = {4: "IP", 6: "IP6"}[family]
    setting = environment.get(name, "")
    if setting == "autodetect":
        chosen = autodetect.autodetect(environment.get(f"{name}_AUTODETECTION_METHOD", "first-found"), found, internal)
        if chosen is None:
            log(part, "startup.go 1021", f"Couldn't autodetect an IPv{family} address. If auto-detecting, choose a different "
                "autodetection method. Otherwise provide an explicit address.", "WARNING")
            return old
        if chosen.cidr != old or part == "startup":
            where = f"on interface {chosen.interface}" if chosen.interface else "from the Kubernetes Node"
            log(part, "autodetection_methods.go 103", f"Using autodetected IPv{family} address {where}: {chosen.cidr}")
        return chosen.cidr
    if setting and setting != "none":
        return setting if "/" in setting else f"{setting}/{32 if family == 4 else 128}"
    return old


def _check_conflict(client: Client, settings: Settings, address: str, part: str) -> None:
    ip = address.partition("/")[0]
    version = 6 if ":" in ip else 4
    for other in client.list("nodes"):
        name = other["metadata"]["name"]
        if name != settings.node and annotations_of(other).get(f"{PREFIX}IPv{version}Address", "").partition("/")[0] == ip:
            text = f"Calico node '{name}' is already using the IPv{version} address {ip}."
            log(part, "startup.go 1223", text, "WARNING")
            raise AddressTaken(text)


def assign_tunnel(client: Client, settings: Settings) -> None:
    """The address of the tunnel's device, from the allocation in the node's IPAM block."""
    kind = settings.calico.tunnel
    if not kind:
        return
    key = TUNNEL_ANNOTATION[kind]
    wanted = None
    handle = f"{kind}-tunnel-addr-{settings.node}"
    for block in client.list("ipamblocks"):
        spec = block["spec"]
        for ordinal, index in enumerate(spec["allocations"]):
            if index is not None and spec["attributes"][index]["handle_id"] == handle:
                wanted = str(ipaddress.ip_network(spec["cidr"])[ordinal])
    node = client.get("nodes", settings.node)
    if annotations_of(node).get(key) != wanted:
        client.patch("nodes", settings.node, {"metadata": {"annotations": {key: wanted}}})
        text = f'Assigned tunnel address to node IP="{wanted}" type="{kind}TunnelAddress"'
        log("allocate-tunnel-addrs", "allocateip.go 395", text)


def start(client: Client, settings: Settings) -> dict[str, str]:
    """All that happens once, before the daemons."""
    while True:
        try:
            environment = container_environment(client, settings)
            break
        except (ApiError, OSError) as error:
            log("startup", "startup.go 572", f"Hit error connecting to datastore - retry error={error}")
            time.sleep(1)
    log("startup", "startup.go 581", "Datastore connection verified")
    Path("/var/lib/calico/nodename").write_text(settings.node, encoding="ascii")
    if settings.calico.backend != "none":
        update_address(client, settings, "startup", environment)
        assign_tunnel(client, settings)
    log("startup", "startup.go 241", f"Using node name: {settings.node}")
    return environment


def node_services(settings: Settings, environment: dict[str, str]) -> None:
    """The process that looks at the addresses again and again."""
    client = settings.client()
    condition = {
        "type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp",
        "message": "Calico is running on this node",
    }
    if settings.calico.backend == "none":  # flannel reports the condition, and Calico announces no address
        threading.Event().wait()
    reported = False
    while True:
        if not reported:
            try:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                fresh = {**condition, "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
                conditions = client.get("nodes", settings.node)["status"].get("conditions", [])
                kept = [item for item in conditions if item["type"] != "NetworkUnavailable"]
                client.patch("nodes", settings.node, {"status": {"conditions": [fresh, *kept]}}, part="status")
                log("node-services", "startup.go 346", "Calico started successfully")
                reported = True
            except (ApiError, OSError):
                pass
        time.sleep(settings.monitor_interval)
        try:
            update_address(client, settings, "node-services", environment)
        except (ApiError, OSError, AddressTaken) as error:
            log("node-services", "startup.go 572", f"Hit error - retry error={error}", "WARNING")
