"""What the parts of the stand-in share: settings, logs, the way to the API."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.api.client import Client, Json
from lab.kernel import ip_json
from lab.modes import MODES, Mode

LOGS = Path("/var/log/calico")
SERVICES = Path("/etc/service/enabled")  # of runit; one folder each
PREFIX = "projectcalico.org/"
TUNNEL_ANNOTATION = {"ipip": PREFIX + "IPv4IPIPTunnelAddr", "vxlan": PREFIX + "IPv4VXLANTunnelAddr"}


@dataclass(frozen=True)
class Settings:
    """One node's stand-in."""

    lab: str
    node: str
    mode: str
    kubeconfig: str
    server: str
    monitor_interval: float
    felix_refresh: float
    mtu: int
    dataplane: str = ""  # what policies are enforced with; "" where they are not
    operator: bool = False  # is calico-node made by the operator?

    @property
    def calico(self) -> Mode:
        return replace(MODES[self.mode], operator=self.operator)

    @classmethod
    def read(cls, text: str) -> Settings:
        return cls(**json.loads(text))

    def client(self) -> Client:
        return Client(Path(self.kubeconfig), self.server)


def log(part: str, source: str, text: str, level: str = "INFO") -> None:
    """A line in Calico's form, in the file of its part."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}"
    with (LOGS / f"{part}.log").open("a", encoding="utf-8") as file:
        file.write(f"{stamp} [{level}][{os.getpid()}] {part}/{source}: {text}\n")


def container_environment(client: Client, settings: Settings) -> dict[str, str]:
    """The plain values of the container's environment, as the DaemonSet has it now."""
    template = client.get("daemonsets", settings.calico.agent.name, settings.calico.agent.namespace)["spec"]["template"]["spec"]
    values = {item["name"]: item.get("value", "") for item in template["containers"][0].get("env", [])}
    return values


def annotations_of(node: Json) -> dict[str, str]:
    found: dict[str, str] = node["metadata"].get("annotations") or {}
    return found


def internal_ip(node: Json) -> str:
    for item in node.get("status", {}).get("addresses", []):
        if item["type"] == "InternalIP" and ":" not in item["address"]:
            address: str = item["address"]
            return address
    return ""


def local_links() -> list[dict[str, Any]]:
    """`ip -j addr` of this network namespace."""
    return ip_json(["addr"])
