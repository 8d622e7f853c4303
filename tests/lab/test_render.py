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

CASES = [("ipip-healthy", "ip-a"), ("ipip-healthy", "ip-c"), ("bgp-noencap-healthy", "node-b"), ("ipip-f01-stray-nic", "ip-c")]


def _objects(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: json.loads((folder / "api" / f"{name}.json").read_text())["items"] for name in confd.FOLLOWED}


def _recorded(folder: Path, name: str) -> str:
    text = (folder / name).read_text(encoding="utf-8")
    return re.sub(r' krt_tunnel="tunl0";', "", text)  # Debian's BIRD has no such attribute; the lab puts it on tunl0


@pytest.mark.parametrize(("name", "node"), CASES)
def test_same_text_as_confd(capture: Callable[[str], Path], name: str, node: str) -> None:
    folder = capture(name)
    config = confd.build(node, _objects(folder))
    assert config is not None
    for file, text in render.files(config).items():
        recorded = _recorded(folder / "nodes" / node / "bird-config", file)
        assert [line for line in text.splitlines() if line] == [line for line in recorded.splitlines() if line]


def test_interface_names(capture: Callable[[str], Path]) -> None:
    folder = capture("ipip-healthy")
    pods = json.loads((folder / "api" / "pods.json").read_text())["items"]
    for node in ("ip-a", "ip-b", "ip-c"):
        expected = set(endpoints([pod for pod in pods if pod["spec"].get("nodeName") == node]))
        links = json.loads((folder / "nodes" / node / "ip-link.json").read_text())
        assert expected == {link["ifname"] for link in links if link["ifname"].startswith("cali")}
