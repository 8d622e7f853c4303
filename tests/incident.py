# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The incident of the stray interface in a cluster of some size, whole: diagnosed, planned, refused without approval, repaired, verified by packets of the
diagnosis and of the lab, and in the end every node is configured as it was before.

make incident [NODES=10]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.cluster import Lab  # noqa: E402
from lab.faults import find  # noqa: E402
from tests.matrix import broken, down  # noqa: E402
from tests.remedies import Wrong, fault_is_gone, remediate, same, state  # noqa: E402

FAULT = "node_ip_wrong_nic"


class Clock:
    """Says what took how long."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()

    def done(self, text: str) -> None:
        now = time.monotonic()
        print(f"{now - self.last:6.1f} s  {text}", flush=True)
        self.last = now


def up(name: str, nodes: int) -> Lab:
    done = subprocess.run([sys.executable, "-m", "lab", "up", "--name", name, "--mode", "ipip", "--nodes", str(nodes)], cwd=ROOT, check=False,
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise Wrong(f"the lab did not come up: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return Lab.load(name)


def incident(lab: Lab, folder: pathlib.Path, clock: Clock) -> None:
    fault, before = find(FAULT), state(lab)
    with broken(lab, [fault]):
        clock.done(f"the incident: {fault.text}")
        damaged, calico_nodes = state(lab), {node.name: lab.calico_pod(node.name) for node in lab.nodes}
        code, screen, plan = remediate(lab, fault, folder)
        steps = [(action["cause"], action["remedy"], action["node"]) for action in plan["actions"]]
        if steps != [(FAULT, "delete_address", fault.node), (FAULT, "restart_calico_node", fault.node)]:
            raise Wrong(f"planned: {steps}\n{screen[-2000:]}")
        if code != 2 or "NOT APPROVED" not in screen or same(lab, damaged, 5):
            raise Wrong(f"without approval it ended with {code}; changed: {same(lab, damaged, 5)}")
        if f"-e podnet_approve={plan['id']}" not in screen:
            raise Wrong(f"it does not say how to approve: {screen[-1000:]}")
        clock.done(f"diagnosed, planned ({plan['id']}), and refused without approval: nothing was changed")
        code, screen, _plan = remediate(lab, fault, folder, podnet_approve=plan["id"])
        if code != 0 or "OUTCOME  REPAIRED" not in screen or not fault_is_gone(lab, fault):
            raise Wrong(f"ended with {code}: {screen[-3000:]}")
        if calico_nodes != {node.name: lab.calico_pod(node.name) for node in lab.nodes}:
            raise Wrong("the monitor corrects the address, so no calico-node had to be restarted")
        trail = max(folder.glob("trail-*.jsonl"), key=lambda path: path.stat().st_mtime_ns).read_text()
        events = [json.loads(line) for line in trail.splitlines()]
        told = [event["event"] for event in events], events[1]["by"]["how"], events[2]["results"]["change"]["changed"], events[-1]["outcome"]
        if told != (["plan", "approval", "step", "step", "outcome"], "id", True, "repaired") or str(lab.kubeconfig) in trail:
            raise Wrong(f"written down: {told}")
        clock.done("repaired, and verified")
        left = lab.run(fault.node, "ip", "-br", "link", "show", "br0")
        lab.run(fault.node, "ip", "link", "del", "br0")  # the repair takes its address and leaves the interface
        different = same(lab, before)
        if different or not left:
            raise Wrong(f"not as before: {different}")
        code, screen, plan = remediate(lab, fault, folder)
        if code != 0 or plan["actions"]:
            raise Wrong(f"at the second run there were still {plan['actions']}: {screen[-1000:]}")
        clock.done("every node is as it was before; a second run finds nothing to do")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10)
    options = parser.parse_args()
    name, folder = f"i{os.getpid() % 100000}", ROOT / "build" / "incident"
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    try:
        lab = up(name, options.nodes)
        clock.done(f"a cluster of {options.nodes} nodes")
        incident(lab, folder, clock)
    except Wrong as wrong:
        print(f"incident: {wrong}", file=sys.stderr)
        return 1
    finally:
        down(name)
    print(f"{clock.last - clock.started:6.1f} s  in all: right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
