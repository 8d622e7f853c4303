"""confd: follows the API and writes BIRD's configuration."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

from lab import processes
from lab.api.client import CALICO, Client, Json
from lab.calico import render
from lab.calico.common import PREFIX, Settings, annotations_of, log

CONFIG = Path("/etc/calico/confd/config")
REFLECTOR = PREFIX + "RouteReflectorClusterID"
FOLLOWED = ("nodes", "blockaffinities", "ippools", "bgpconfigurations", "bgppeers")


def selected(selector: str, labels: dict[str, str]) -> bool:
    """Calico's selectors, as far as the lab uses them: all(), has(KEY), KEY == 'VALUE'."""
    if selector in ("", "all()"):
        return True
    if found := re.fullmatch(r"has\(([^)]+)\)", selector):
        return found[1] in labels
    if found := re.fullmatch(r"(\S+) == '([^']*)'", selector):
        return labels.get(found[1]) == found[2]
    raise ValueError(f"unknown selector {selector}")


def build(node: str, objects: dict[str, list[Json]], templates: str = "v3.32", family: int = 4) -> render.Config | None:
    """What the templates need, or None as long as this node has no address of the family."""
    nodes = {item["metadata"]["name"]: annotations_of(item) for item in objects["nodes"]}
    labels: dict[str, dict[str, str]] = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in objects["nodes"]}
    addresses = {name: annotations.get(f"{PREFIX}IPv{family}Address", "").partition("/")[0] for name, annotations in nodes.items()}
    own = addresses.get(node, "")
    if not own:
        return None
    settings: Json = {}
    for item in objects["bgpconfigurations"]:
        if item["metadata"]["name"] == "default":
            settings = item["spec"]
    common = int(settings.get("asNumber", render.AS_NUMBER))
    router = addresses[node] if family == 4 else router_id(node, nodes[node])
    config = render.Config(own, int(nodes[node].get(PREFIX + "ASNumber", common)), router, family, templates)
    reflects = nodes[node].get(REFLECTOR, "")
    peers: dict[str, render.Peer] = {}

    def add(name: str, kind: str) -> None:
        address = addresses[name]
        if name != node and address and address != own:
            number = int(nodes[name].get(PREFIX + "ASNumber", config.as_number))
            cluster_id = reflects if kind == "Node" and nodes[name].get(REFLECTOR) != reflects else ""
            peers[name] = render.Peer(address, number, kind, cluster_id=cluster_id)

    if settings.get("nodeToNodeMeshEnabled", True):
        for name in nodes:
            add(name, "Mesh")
    for item in objects["bgppeers"]:
        spec = item["spec"]
        chooses = spec.get("node") == node if spec.get("node") else selected(spec.get("nodeSelector", ""), labels[node])
        if spec.get("peerIP") and chooses and (":" in spec["peerIP"]) == (family == 6):
            kind = "Node" if spec.get("node") or spec.get("nodeSelector") else "Global"
            inside = spec["peerIP"] in addresses.values()
            peers[spec["peerIP"]] = render.Peer(spec["peerIP"], int(spec.get("asNumber", common)), kind, inside)
        elif spec.get("peerSelector"):
            is_peer = selected(spec["peerSelector"], labels[node])
            for name in nodes:
                if (chooses and selected(spec["peerSelector"], labels[name])) or (is_peer and selected(spec.get("nodeSelector", ""), labels[name])):
                    add(name, "Node")
    config.peers = sorted(peers.values(), key=lambda peer: (peer.kind, peer.address))
    for item in objects["blockaffinities"]:
        spec = item["spec"]
        if spec["node"] == node and spec["state"] == "confirmed" and str(spec.get("deleted", "false")) != "true":
            config.blocks.append(spec["cidr"])
    config.blocks = sorted(block for block in config.blocks if (":" in block) == (family == 6))
    for item in objects["ippools"]:
        spec = item["spec"]
        if (":" in spec["cidr"]) == (family == 6) and not spec.get("disableBGPExport"):
            felix = templates != "v3.32" and spec.get("ipipMode", "Never") != "Never"
            config.pools.append(render.Pool(spec["cidr"], felix))
    config.pools.sort(key=lambda pool: pool.cidr)
    return config


def router_id(node: str, annotations: dict[str, str]) -> str:
    """The IPv4 address, or (CALICO_ROUTER_ID=hash) one that is made from the node's name."""
    address = annotations.get(PREFIX + "IPv4Address", "").partition("/")[0]
    return address or str(ipaddress.IPv4Address(hashlib.sha256(node.encode()).digest()[:4]))


def write(config: render.Config) -> bool:
    """Write what changed; BIRD checks it first. True if BIRD must read it again."""
    changed = {
        name: text
        for name, text in render.files(config).items()
        if not (CONFIG / name).exists() or (CONFIG / name).read_text(encoding="utf-8") != text
    }
    if not changed:
        return False
    before = {name: (CONFIG / name).read_text(encoding="utf-8") for name in changed if (CONFIG / name).exists()}
    for name, text in changed.items():
        (CONFIG / name).write_text(text, encoding="utf-8")
    check = subprocess.run(
        [config.program, "-p", "-c", str(CONFIG / f"{config.program}.cfg")], cwd=CONFIG, capture_output=True, text=True, check=False
    )
    if check.returncode:
        log("confd", "resource.go 250", f'Config check failed: "{check.stderr.strip()}"', "ERROR")
        for name, text in before.items():
            (CONFIG / name).write_text(text, encoding="utf-8")
        return False
    for name in changed:
        log("confd", "resource.go 293", f"Target config {CONFIG / name} has been updated due to change in API")
    return True


def reload_bird(program: str) -> None:
    """What `sv hup bird` does, but a BIRD that has just been started survives it."""
    limit = time.monotonic() + 5
    while time.monotonic() < limit and any(p.arguments[0] == program for p in processes.all_processes()):
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(f"/var/run/calico/{program}.ctl")
                connection.recv(1024)
                connection.sendall(b"configure\n")
                connection.recv(1024)
                return
        except OSError:
            time.sleep(0.05)


def confd(settings: Settings) -> None:
    """For ever: any change in the API leads to a new look at everything."""
    client: Client = settings.client()
    woken = threading.Event()
    objects: dict[str, dict[str, Json]] = {resource: {} for resource in FOLLOWED}
    listed: set[str] = set()
    lock = threading.Lock()

    def follow(resource: str) -> None:
        def changed(event: Json) -> None:
            with lock:
                if event["type"] == "LISTED":
                    names = {item["metadata"]["name"]: item for item in event["object"]["items"]}
                    objects[resource] = names
                    listed.add(resource)
                elif event["type"] == "DELETED":
                    objects[resource].pop(event["object"]["metadata"]["name"], None)
                elif event["type"] in ("ADDED", "MODIFIED"):
                    objects[resource][event["object"]["metadata"]["name"]] = event["object"]
            woken.set()

        client.follow(resource, changed, "" if resource == "nodes" else CALICO)

    for resource in FOLLOWED:
        follow(resource)
    log("confd", "client.go 472", "Data is now syncd, can start rendering templates")
    parent = os.getppid()
    while os.getppid() == parent:
        woken.wait(1.0)
        if not woken.is_set():
            continue
        time.sleep(0.05)
        woken.clear()
        with lock:
            if len(listed) < len(FOLLOWED):
                continue
            known = {name: list(found.values()) for name, found in objects.items()}
        for family in settings.calico.families:
            config = build(settings.node, known, settings.calico.templates, family)
            if config and write(config):
                reload_bird(config.program)
