"""A router before the nodes that speaks BGP with them: BIRD in the fabric, which reflects the routes of each to all others."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.api.client import CALICO
from lab.cluster import Lab
from lab.errors import LabError
from lab.plan import GATEWAY
from lab.processes import wait_for

PEER = "router"
CONFIGURATION = """router id {router};
protocol device {{ }}
protocol direct {{ }}
{sessions}
"""
SESSION = """protocol bgp {name} {{
  local {router} as 64512;
  neighbor {address} as 64512;
  passive on;
  rr client;
  import {taken};
  export where source = RTS_BGP;
}}
"""


class Router:
    """BIRD of the router; it writes no routes, so no packet goes through it that did not before."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.folder / "faults"
        self.file, self.socket = (self.folder / f"router.{ending}" for ending in ("cfg", "ctl"))

    def write(self, deaf: str = "") -> None:
        sessions = [
            SESSION.format(name=node.name, router=GATEWAY, address=node.address, taken="none" if node.address == deaf else "all") for node in self.lab.nodes
        ]
        self.file.write_text(CONFIGURATION.format(router=GATEWAY, sessions="".join(sessions)), encoding="ascii")

    def configure(self, deaf: str = "", soft: bool = False) -> None:
        """Take nothing of one node, or of all everything. soft: without asking again for what it did not take before."""
        self.write(deaf)
        done = subprocess.run(["birdc", "-s", self.socket, "configure", *(["soft"] if soft else [])], capture_output=True, text=True, check=False)
        if "Reconfigur" not in done.stdout:
            raise LabError(f"the router's BIRD: {done.stdout}{done.stderr}")

    def run(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        self.write()
        return subprocess.Popen(["ip", "netns", "exec", self.lab.description.fabric, "bird", "-f", "-c", self.file, "-s", self.socket],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip


@contextmanager
def outside_reflector(lab: Lab) -> Iterator[Router]:
    """While it lasts, the nodes have their routes by way of the router, and the mesh is off."""
    router = Router(lab)
    process = router.run()
    try:
        peer = {"peerIP": GATEWAY, "asNumber": 64512}
        lab.client.create("bgppeers", {"apiVersion": CALICO, "kind": "BGPPeer", "metadata": {"name": PEER}, "spec": peer})
        name = f"Global_{GATEWAY.replace('.', '_')}"

        def with_router_alone() -> bool:
            found = [lab.sessions(node.name) for node in lab.nodes]
            return all([session.name for session in sessions if session.established] == [name] for sessions in found)

        lab.client.patch("bgpconfigurations", "default", {"spec": {"nodeToNodeMeshEnabled": False}})
        wait_for(with_router_alone, "the nodes have sessions with the router alone", 30)
        blocks = {node.block for node in lab.nodes}
        wait_for(lambda: all(blocks <= {route["dst"] for route in lab.routes(node.name)} for node in lab.nodes), "each node has a route to each block", 30)
        yield router
    finally:
        lab.client.patch("bgpconfigurations", "default", {"spec": {"nodeToNodeMeshEnabled": None}})
        lab.client.delete("bgppeers", PEER)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
