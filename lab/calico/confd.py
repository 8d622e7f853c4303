"""confd: follows the API and writes BIRD's configuration."""

from __future__ import annotations

import os
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
FOLLOWED = ("nodes", "blockaffinities", "ippools", "bgpconfigurations", "bgppeers")


def build(node: str, objects: dict[str, list[Json]]) -> render.Config | None:
    """What the templates need, or None as long as this node has no address."""
    nodes = {item["metadata"]["name"]: annotations_of(item) for item in objects["nodes"]}

    def address(name: str) -> str:
        return nodes.get(name, {}).get(PREFIX + "IPv4Address", "").partition("/")[0]

    own = address(node)
    if not own:
        return None
    settings: Json = {}
    for item in objects["bgpconfigurations"]:
        if item["metadata"]["name"] == "default":
            settings = item["spec"]
    common = int(settings.get("asNumber", render.AS_NUMBER))
    config = render.Config(own, int(nodes[node].get(PREFIX + "ASNumber", common)))
    if settings.get("nodeToNodeMeshEnabled", True):
        for name in sorted(nodes):
            peer = address(name)
            if name != node and peer and peer != own:
                number = int(nodes[name].get(PREFIX + "ASNumber", config.as_number))
                config.peers.append(render.Peer(peer, number))
    for item in objects["bgppeers"]:
        spec = item["spec"]
        if spec.get("peerIP") and spec.get("node", node) == node:
            kind = "Node" if spec.get("node") else "Global"
            config.peers.append(render.Peer(spec["peerIP"], int(spec.get("asNumber", common)), kind))
    for item in objects["blockaffinities"]:
        spec = item["spec"]
        if spec["node"] == node and spec["state"] == "confirmed" and str(spec.get("deleted", "false")) != "true":
            config.blocks.append(spec["cidr"])
    config.blocks.sort()
    pools = [item["spec"]["cidr"] for item in objects["ippools"] if not item["spec"].get("disableBGPExport")]
    config.pools = sorted(pools)
    return config


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
        ["bird", "-p", "-c", str(CONFIG / "bird.cfg")], cwd=CONFIG, capture_output=True, text=True, check=False
    )
    if check.returncode:
        log("confd", "resource.go 250", f'Config check failed: "{check.stderr.strip()}"', "ERROR")
        for name, text in before.items():
            (CONFIG / name).write_text(text, encoding="utf-8")
        return False
    for name in changed:
        log("confd", "resource.go 293", f"Target config {CONFIG / name} has been updated due to change in API")
    return True


def reload_bird() -> None:
    """What `sv hup bird` does, but a BIRD that has just been started survives it."""
    limit = time.monotonic() + 5
    while time.monotonic() < limit and any(p.arguments[0] == "bird" for p in processes.all_processes()):
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect("/var/run/calico/bird.ctl")
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
            config = build(settings.node, {name: list(found.values()) for name, found in objects.items()})
        if config and write(config):
            reload_bird()
