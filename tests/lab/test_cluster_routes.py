"""What Felix writes for other nodes, held against what a real one wrote, from the same objects in the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.calico.cluster_routes import FELIX, VXLAN, Route, calculate, vtep_mac
from lab.modes import MODES

CASES = [
    ("vxlan-healthy", "vxlan"),
    ("vxlan-borrowed-healthy", "vxlan"),
    ("vxlan-f35-wrong-tunnel-address", "vxlan"),
    ("crosssubnet-healthy", "vxlan-crosssubnet"),
    ("crosssubnet-f26-mask-32", "vxlan-crosssubnet"),
    ("v333-ipip-healthy", "felixroutes"),
    ("v333-ipip-f01-stray-nic", "felixroutes"),
    ("vxlan-f40-duplicate-vtep-mac", "vxlan"),
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def route_of(found: dict[str, Any]) -> Route:
    dst = found["dst"] if "/" in found["dst"] else f"{found['dst']}/32"
    mtu = next((metric["mtu"] for metric in found.get("metrics", []) if "mtu" in metric), 0)
    onlink = "onlink" in found["flags"] or found["type"] == "blackhole"
    return Route(dst, found.get("gateway", ""), found.get("dev", ""), found["protocol"], mtu, onlink)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_same_as_felix(capture: Callable[[str], Path], name: str, mode: str) -> None:
    folder = capture(name)
    nodes, blocks = (read(folder / "api" / f"{kind}.json")["items"] for kind in ("nodes", "ipamblocks"))
    for place in sorted((folder / "nodes").iterdir()):
        routes = [route for route in read(place / "ip-route.json") if route["table"] == "main"]
        parent = next(route["dev"] for route in routes if route["dst"] == "default")
        wanted = calculate(place.name, MODES[mode], nodes, blocks, parent)
        recorded = {route_of(route) for route in routes if route["protocol"] == FELIX or route.get("dev") == VXLAN}
        assert wanted.routes == recorded
        if MODES[mode].tunnel != "vxlan":
            continue
        neighbours = {item["dst"]: item["lladdr"] for item in read(place / "ip-neigh.json") if item["dev"] == VXLAN}
        assert {host.tunnel: host.mac for host in wanted.hosts} == neighbours
        fdb = {item["mac"] for item in read(place / "bridge-fdb.json") if "dst" in item}
        assert {host.mac for host in wanted.hosts} == fdb


def test_vtep_mac() -> None:
    assert vtep_mac("remotehostname") == "66:3e:ca:a4:db:65"
