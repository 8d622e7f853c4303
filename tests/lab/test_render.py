"""BIRD's configuration, held against what Calico's own confd wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.calico import confd, render
from lab.calico.felix import endpoints

CASES = [
    ("ipip-healthy", "ip-a", "v3.32", 4),
    ("ipip-healthy", "ip-c", "v3.32", 4),
    ("bgp-noencap-healthy", "node-b", "v3.32", 4),
    ("ipip-f01-stray-nic", "ip-c", "v3.32", 4),
    ("routereflector-healthy", "rr-1", "v3.32", 4),
    ("routereflector-healthy", "n-3", "v3.32", 4),
    ("routereflector-f69-label-lost", "n-3", "v3.32", 4),
    ("v333-ipip-healthy", "m-1", "v3.33", 4),
    ("v333-ipip-healthy", "m-3", "v3.33", 4),
    ("dualstack-healthy", "ds-a", "v3.32", 4),
    ("dualstack-healthy", "ds-a", "v3.32", 6),
    ("dualstack-healthy", "ds-b", "v3.32", 6),
]


def _objects(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: json.loads((folder / "api" / f"{name}.json").read_text())["items"] for name in confd.FOLLOWED}


def _recorded(folder: Path, name: str) -> str:
    text = (folder / name).read_text(encoding="utf-8")
    text = re.sub(r"# v\d BGPFilter .*?(?=# BGP Protocol|# No BGP peers)", "# No v4 BGPFilters configured\n", text, flags=re.DOTALL)  # the lab has no filters
    return re.sub(r' krt_tunnel="tunl0";', "", text)  # Debian's BIRD has no such attribute; the lab puts it on tunl0


@pytest.mark.parametrize(("name", "node", "templates", "family"), CASES)
def test_same_text_as_confd(capture: Callable[[str], Path], name: str, node: str, templates: str, family: int) -> None:
    folder = capture(name)
    config = confd.build(node, _objects(folder), templates, family)
    assert config is not None
    for file, text in render.files(config).items():
        recorded = _recorded(folder / "nodes" / node / "bird-config", file)
        assert [line for line in text.splitlines() if line.strip()] == [line for line in recorded.splitlines() if line.strip()]


def test_interface_names(capture: Callable[[str], Path]) -> None:
    folder = capture("ipip-healthy")
    pods = json.loads((folder / "api" / "pods.json").read_text())["items"]
    for node in ("ip-a", "ip-b", "ip-c"):
        expected = set(endpoints([pod for pod in pods if pod["spec"].get("nodeName") == node]))
        links = json.loads((folder / "nodes" / node / "ip-link.json").read_text())
        assert expected == {link["ifname"] for link in links if link["ifname"].startswith("cali")}
