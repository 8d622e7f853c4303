"""The whole way once: a cluster, a real incident, its diagnosis, its repair, and the proof.

As root it happens for real. Without root, two bundles that were recorded from this same lab are judged again.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

from lab import cli
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import find
from lab.lifecycle import catch_signals, down

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECORDED = pathlib.Path(__file__).parent / "recorded"
NAME = "demo"
FAULT = "node_ip_wrong_nic"


class DemoError(LabError):
    """A step of the demo that did not do what it must."""


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def playbook(name: str, *variables: str, inventory: pathlib.Path | None = None, kubeconfig: pathlib.Path | None = None) -> int:
    """Run one of the collection's playbooks with its own screen; its exit code."""
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), f"podnet.doctor.{name}"]
    command += ["-i", str(inventory)] if inventory else ["-i", "localhost,"]
    for variable in variables:
        command += ["-e", variable]
    print("$ ansible-playbook " + " ".join(command[1:]).replace(str(ROOT) + "/", ""), flush=True)
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    if kubeconfig:
        environment["KUBECONFIG"] = str(kubeconfig)
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def newest(folder: pathlib.Path, pattern: str) -> dict[str, object]:
    """The document that was written last."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DemoError(f"no {pattern} in {folder}")
    document: dict[str, object] = json.loads(found[-1].read_text())
    return document


def outcome(folder: pathlib.Path) -> tuple[str, list[str]]:
    """The newest report's outcome and the names of its causes."""
    reports = [p for p in folder.glob("*.json") if not p.name.startswith("plan-")]
    verdict = json.loads(max(reports, key=lambda path: path.stat().st_mtime).read_text())["verdict"]
    return verdict["outcome"], [cause["id"] for cause in verdict["causes"]]


def must(condition: bool, text: str) -> None:
    if not condition:
        raise DemoError(text)


def live(record: bool) -> None:
    """The real thing."""
    reports = ROOT / "build" / "demo"
    reports.mkdir(parents=True, exist_ok=True)
    for old in reports.glob("*.json"):
        old.unlink()
    say("1 of 6: a cluster of three nodes on this machine: kernel, BIRD, sshd, Kubernetes API; BGP mesh, IPIP")
    must(cli.main(["up", "--name", NAME, "--mode", "ipip", "--nodes", "3"]) == 0, "the lab did not come up")
    lab = Lab.load(NAME)
    state = lab.folder
    access = {"inventory": state / "inventory.yml", "kubeconfig": state / "kubeconfig"}
    dns = next(pod for pod in lab.pods if pod.name.startswith("coredns") and pod.node == "k8s01")
    ends = ["source=shop/web-1", f"destination={dns.namespace}/{dns.name}:53", f"podnet_report_dir={reports}"]
    say("2 of 6: the incident: br0 with 192.188.1.1/24 comes up on k8s02, calico-node restarts and takes that address")
    find(FAULT).inject(lab)
    say("3 of 6: pods on k8s02 reach no CoreDNS. Why?")
    bundle = [f"podnet_bundle={RECORDED / 'incident.zip'}"] if record else []
    must(playbook("diagnose", *ends, *bundle, **access) == 0, "the diagnosis did not end well")
    named = outcome(reports)
    must(named == ("broken", [FAULT]), f"the diagnosis said {named}, not broken by {FAULT}")
    say("4 of 6: the repair, without approval: it shows its plan and leaves everything as it is")
    must(playbook("remediate", *ends, **access) != 0, "a repair without approval ended as if it had been done")
    plan = newest(reports, "plan-*.json")["id"]
    say(f"5 of 6: plan {plan} is approved")
    must(playbook("remediate", *ends, f"podnet_approve={plan}", **access) == 0, "the repair failed")
    must(outcome(reports) == ("healthy", []), f"after the repair the verdict is {outcome(reports)}")
    say("6 of 6: a second run changes nothing")
    bundle = [f"podnet_bundle={RECORDED / 'repaired.zip'}"] if record else []
    must(playbook("remediate", *ends, f"podnet_approve={plan}", *bundle, **access) == 0, "the second run failed")
    must(outcome(reports) == ("healthy", []), f"after the second run the verdict is {outcome(reports)}")


def replay() -> None:
    """Without root: the recorded documents of the same incident."""
    reports = ROOT / "build" / "demo"
    say("not root: no network namespaces can be made, so documents recorded from this lab are judged again")
    for number, (name, text, expected) in enumerate(story(), 1):
        say(f"{number} of 2: {text}")
        must(playbook("replay", f"bundle={RECORDED / name}", f"podnet_report_dir={reports}") == 0, "the replay did not end well")
        must(outcome(reports) == expected, f"the replay said {outcome(reports)}, not {expected}")


def story() -> Iterator[tuple[str, str, tuple[str, list[str]]]]:
    yield "incident.zip", "pods on k8s02 reach no CoreDNS. Why?", ("broken", [FAULT])
    yield "repaired.zip", "the same question after the repair", ("healthy", [])


def main() -> int:
    started = time.monotonic()
    catch_signals()
    try:
        if os.geteuid() != 0:
            replay()
        else:
            try:
                live("--record" in sys.argv[1:])
            finally:
                say("tear-down")
                down(NAME, cli.say)
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    say(f"done in {time.monotonic() - started:.0f} s: named, repaired, proven" if os.geteuid() == 0 else "done: the same verdicts as live")
    return 0


if __name__ == "__main__":
    sys.exit(main())
