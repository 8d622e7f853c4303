# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remedies in the modes of the lab. For each: the fault is put in, the plan is refused without approval and nothing changes, the change is made and taken
back and the state is as before, then the approved plan repairs it, the diagnosis and the lab's own traffic say so, and there is nothing left to do.

make remedies [REMEDY=set_sysctl] [MODE=ipip]     writes build/remedies.json: a row for each remedy, fault and mode; see Row
make remedies-cover                               every remedy once, as in `make test`
"""

from __future__ import annotations

import argparse
import concurrent.futures
import errno
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import asdict, dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import dns, kernel  # noqa: E402
from lab.calico.common import annotations_of  # noqa: E402
from lab.cluster import Lab  # noqa: E402
from lab.faults import Fault, find  # noqa: E402
from lab.faults.connection_tracking import CLIENT, PORT  # noqa: E402
from lab.faults.dns import CONTROL  # noqa: E402
from lab.plan import DNS_ADDRESS, GATEWAY  # noqa: E402
from tests.matrix import BY_PACKETS, MODES, POLICED, broken, down, possible, up  # noqa: E402
from tests.remedy_cases import CASES  # noqa: E402

DISCARD = 9  # its port (RFC 863)
BIN = pathlib.Path(sys.executable).parent
# not proven here: printed
NOWHERE = {
    "set_sysctl of nf_conntrack_max and gc_thresh3": "one limit for the whole kernel; test__repairs.py raises this machine's by one, and takes it back",
}
# a restart mends them where the lab's Felix writes rules, and not where the fault itself did
RENDERED = ("dataplane_lags_intent", "unknown_interface_drop", "policy_not_enforced", "nat_outgoing_missing")
STATE = {
    "addresses": ["ip", "-o", "addr"],
    "routes": ["ip", "-4", "route", "show", "table", "all"],
    "rules": ["ip", "rule"],
    "neighbours": ["ip", "-o", "neigh", "show", "nud", "permanent"],
    "fdb": ["bridge", "fdb", "show"],
    "sysctls": ["sysctl", "-a", "--pattern", r"^net\.ipv4\.(conf|ip_forward)"],
    "guards": ["grep", "@podnet-doctor-", "/proc/net/unix"],
}
MOVING = re.compile(r"\b(expires|valid_lft|preferred_lft) \S+|^[0-9]+: | linkdown\b|\S*fe80\S*.*")


@dataclass
class Row:
    remedy: str
    fault: str
    mode: str
    injected: bool = False  # the fault showed
    planned: list[str] = field(default_factory=list)
    refused: bool = False  # without approval: exit code 2, and nothing changed
    applied: bool | None = None  # by its module alone; None: only the playbook makes it, as a restart
    back: bool | None = None  # and taken back, the state as before; None: it has no way back, or what belongs there is put in its place at once
    repaired: bool = False  # by the approved plan; the diagnosis says so
    packets: bool = False  # the lab's own traffic says so
    again: bool = False  # at the second time there was nothing to change
    right: bool = False
    seconds: float = 0.0
    note: str = ""


class Wrong(Exception):
    """The row is wrong; the text says why."""


def state(lab: Lab) -> dict[str, list[str]]:
    """What is configured on all nodes, links with whether they are up."""
    found: dict[str, list[str]] = {}
    if lab.description.calico.backend not in ("", "none"):
        found["affinities"] = sorted(item["metadata"]["name"] for item in lab.client.list("blockaffinities"))
        found["nodes"] = sorted(f"{item['metadata']['name']} {annotations_of(item).get('projectcalico.org/IPv4Address')}" for item in lab.client.list("nodes"))
        found["felix"] = sorted(f"{item['metadata']['name']} {item.get('spec')}" for item in lab.client.list("felixconfigurations"))
        found["pools"] = sorted(item["metadata"]["name"] for item in lab.client.list("ippools"))
        agent = lab.description.calico.agent
        template = lab.client.get("daemonsets", agent.name, agent.namespace)["spec"]["template"]
        found["environment"] = sorted(json.dumps(container.get("env")) for container in template["spec"]["containers"])
    for node in lab.nodes:
        for name, command in STATE.items():
            lines = {MOVING.sub("", line).strip() for line in lab.run(node.name, *command, check=False).splitlines()}
            found[f"{node.name} {name}"] = sorted(line for line in lines if line)
        found[f"{node.name} announces"] = [lab.address(node.name), *sorted(f"{key}={value}" for key, value in flannels(lab, node.name).items())]
        links = json.loads(lab.run(node.name, "ip", "-j", "link"))
        found[f"{node.name} links"] = sorted(f"{link['ifname']} {'UP' in link['flags']} {link.get('master')}" for link in links)
    return found


def flannels(lab: Lab, node: str) -> dict[str, str]:
    """The annotations of flannel."""
    known = annotations_of(lab.client.get("nodes", node))
    return {key: value for key, value in known.items() if key.startswith("flannel.")}


def same(lab: Lab, before: dict[str, list[str]], patience: float = 40) -> str:
    """What differs, once what moves by itself has come to rest."""
    end = time.monotonic() + patience
    while True:
        now = state(lab)
        different = [f"{name}: {sorted(set(before[name]) ^ set(now.get(name, [])))[:4]}" for name in before if before[name] != now.get(name)]
        if not different or time.monotonic() > end:
            return "; ".join(different)
        time.sleep(0.5)


def at_rest(lab: Lab) -> dict[str, list[str]]:
    """The state, once it is the same three times in a row: what a fault moved may still be told from node to node."""
    end, seen = time.monotonic() + 30, [state(lab)]
    while len(seen) < 3 or any(one != seen[-1] for one in seen[-3:]):
        if time.monotonic() > end:
            raise Wrong("the lab does not come to rest")
        seen.append(state(lab))
    return seen[-1]


def environment(lab: Lab) -> dict[str, str]:
    return {
        **os.environ, "KUBECONFIG": str(lab.kubeconfig), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
    }  # fmt: skip


def asked(lab: Lab, fault: Fault) -> tuple[str, str, int]:
    """The fault's question, about the successor of a pod that is not there any more."""
    there = {f"{pod.namespace}/{pod.name}" for pod in lab.pods}

    def now(name: str) -> str:
        heirs = [other for other in there if name not in there and other.rpartition("-")[0] == name.rpartition("-")[0]]
        return heirs[0] if heirs else name

    source, destination, port = fault.question
    return now(source), now(destination), port


def remediate(lab: Lab, fault: Fault, folder: pathlib.Path, **variables: t.Any) -> tuple[int, str, dict[str, t.Any]]:
    """One run of the playbook: its exit code, its screen, its plan."""
    for old in folder.glob("plan-*.json"):
        old.unlink()
    source, destination, port = asked(lab, fault)
    given = {"source": source, "destination": f"{destination}:{port}", "podnet_report_dir": str(folder), **variables}
    command = [str(BIN / "ansible-playbook"), "podnet.doctor.remediate", "-i", str(lab.inventory), "-e", json.dumps(given)]
    done = subprocess.run(command, env=environment(lab), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False)
    plans = list(folder.glob("plan-*.json"))
    if len(plans) != 1:
        raise Wrong(f"{len(plans)} plans:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
    return done.returncode, done.stdout, json.loads(plans[0].read_text())


def object_repair(lab: Lab, remedy: str, parameters: dict[str, t.Any], fails: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """One call of the module, as the role makes it."""
    words = ["-i", str(lab.inventory), "-m", "podnet.doctor.object_repair", "-a", json.dumps({"remedy": remedy, "parameters": parameters, **options})]
    done = subprocess.run(
        [str(BIN / "ansible"), "localhost", *words], env={**environment(lab), "ANSIBLE_STDOUT_CALLBACK": "minimal"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if (done.returncode != 0) is not fails or "=> {" not in done.stdout:
        raise Wrong(f"{remedy}: {done.stdout[-800:]}{done.stderr[-300:]}")
    return t.cast("dict[str, t.Any]", json.loads(done.stdout[done.stdout.index("=> {") + 3 :]))


def there_and_back(lab: Lab, action: dict[str, t.Any], folder: pathlib.Path) -> tuple[bool, bool]:
    """Apply a change, apply it again, take it back, in one playbook: whether the first changed something, and the second nothing."""
    host, name = ("localhost", "object_repair") if action["by"] == "object" else (action["host"], "node_repair")
    change = {"remedy": action["remedy"], "parameters": action["parameters"]}
    tasks: list[dict[str, t.Any]] = [
        {f"podnet.doctor.{name}": change, "register": "done"},
        {f"podnet.doctor.{name}": change, "register": "again"},
        {f"podnet.doctor.{name}": {"remedy": "take_back", "parameters": {"steps": "{{ done.back }}"}}},
        {"ansible.builtin.debug": {"msg": "changed: {{ done.changed }} {{ again.changed }}"}},
    ]
    play = folder / "there_and_back.yml"
    play.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), str(play), "-i", str(lab.inventory)], env={**environment(lab), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said = re.search(r"changed: (True|False) (True|False)", done.stdout)
    if done.returncode != 0 or said is None:
        raise Wrong(f"{action['remedy']} on {host}: {done.stdout[-1500:]}{done.stderr[-300:]}")
    return said[1] == "True", said[2] == "False"


def prove(lab: Lab, row: Row, fault: Fault, variables: dict[str, t.Any], folder: pathlib.Path, brief: bool) -> None:
    if not fault.shows(lab):
        raise Wrong("the fault does not show")
    row.injected = True
    before = at_rest(lab)
    code, screen, plan = remediate(lab, fault, folder, probe=fault.name in BY_PACKETS, **variables)  # else what the nodes say is enough to plan
    row.planned = [action["remedy"] for action in plan["actions"]]
    if (row.remedy, fault.cause) not in [(action["remedy"], action["cause"]) for action in plan["actions"]]:
        raise Wrong(f"not planned: {screen[-1500:]}")
    changed = same(lab, before)
    row.refused = code == 2 and "NOT APPROVED" in screen and not changed
    if not row.refused:
        raise Wrong(f"without an approval it ended with {code}; changed: {changed}")
    action = next(action for action in plan["actions"] if action["remedy"] == row.remedy)
    if action["class"] in ("R1", "R3") and row.fault not in HEALS_AT_ONCE:
        row.applied, row.again = there_and_back(lab, action, folder)
        different = same(lab, before)
        row.back = not different
        if not (row.applied and row.back and row.again):
            raise Wrong(f"applied: {row.applied}, nothing to change again: {row.again}, taken back: {row.back}; {different}")
    if row.fault in OF_WRITTEN_RULES and row.back:
        fault.heal(lab)
        fault.inject(lab)
    approval = {"podnet_approve": plan["id"]} if action["class"] == "R3" else {"podnet_auto_approve": ["R1", "R2"]}  # R3 is approved by nobody beforehand
    code, screen, _plan = remediate(lab, fault, folder, **approval, **variables)
    seen_to_cross = asked(lab, fault)[1] != GATEWAY  # nobody listens outside of the cluster, so only the lab's own packets can prove that way
    row.repaired = code == 0 and ("OUTCOME  REPAIRED" if seen_to_cross else "OUTCOME  PARTLY: the cause of the plan is gone; that") in screen
    row.packets = fault_is_gone(lab, fault)
    if not (row.repaired and row.packets):
        raise Wrong(f"ended with {code}, packets {'arrive' if row.packets else 'do not arrive'}: {screen[-2500:]}")
    if asked(lab, fault) != fault.question and "BECAME" not in screen:
        raise Wrong(f"it does not say which pod took the place of the one that was asked about: {screen[-1500:]}")
    if brief and row.again:
        return
    code, screen, later = remediate(lab, fault, folder, podnet_auto_approve=["R1", "R2"], **variables)
    left = [other["remedy"] for other in later["actions"] if other["cause"] == action["cause"]]
    if code != 0 or left:
        raise Wrong(f"at the second run there were still {left} ({code})")
    row.again = True


# As soon as it is gone the address monitor, or BIRD, puts what belongs there in its place, and the way back leaves that alone; or there is no way back.
HEALS_AT_ONCE = (
    "node_ip_wrong_nic", "remote_block_route_missing_bird_has_it.alien", "remote_block_route_missing_bird_has_it.host_route",
    "remote_block_route_missing_bird_has_it.unlearned", "route_wrong_encap", "remote_block_route_missing_not_learned.soft",
    "remote_block_route_missing_not_learned.router", "bgp_session_one_sided", "stale_conntrack_udp",
)  # fmt: skip


# Felix's own rules move: only where the lab's Felix writes any. They stay where they were written to, so that the fault is put in anew after the way back.
OF_WRITTEN_RULES = ("iptables_backend_split.elsewhere",)


def fault_is_gone(lab: Lab, fault: Fault) -> bool:
    """Real packets of the lab's own."""
    source, destination, _port = asked(lab, fault)
    if fault.cause == "stale_conntrack_udp":
        return soon(lambda: dns.ask(lab.pod_pid(CLIENT), DNS_ADDRESS, CONTROL, port=PORT) is not None)
    if destination == "svc/kube-system/kube-dns":
        name = "kubernetes.default.svc.cluster.local"
        return all(dns.ask(lab.pod_pid(source), pod.address, name) == 0 for pod in lab.pods if pod.app == "coredns")
    if fault.cause == "cni_unauthorized":
        return soon(lambda: lab.answers(source, fault.objects[0], 3.0), 30)
    if destination == GATEWAY:
        return refused(lab, source, destination)  # it has no route to pods
    return lab.answers(source, destination, 3.0)


def refused(lab: Lab, source: str, address: str) -> bool:
    """Nobody listens there, and that answer comes back only to a source that the other side has a route to."""
    with kernel.in_netns(f"/proc/{lab.pod_pid(source)}/ns/net"):
        asking = socket.socket(socket.AF_INET)
    with asking:
        asking.settimeout(3.0)
        return asking.connect_ex((address, DISCARD)) == errno.ECONNREFUSED


def soon(condition: t.Callable[[], bool], patience: float = 10) -> bool:
    """The client of the fault uses its port itself now and then."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def run_mode(mode: str, cases: list[tuple[str, str, dict[str, t.Any]]], keep: bool, brief: bool) -> list[Row]:
    name = f"r{os.getpid() % 10000}n{list(MODES).index(mode)}"
    folder = ROOT / "build" / "remedies" / mode
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Row] = []
    try:
        lab = up(name, mode)
        for remedy, fault_name, variables in cases:
            for _attempt in (1, 2):  # a machine that stood still for seconds is no wrong repair
                row, started = Row(remedy, fault_name, mode), time.monotonic()
                try:
                    fault = find(fault_name)
                    with broken(lab, [fault]):
                        prove(lab, row, fault, variables, folder, brief)
                    row.right = True
                except Exception as error:  # noqa: BLE001 - one row's trouble is that row's
                    row.note = f"{type(error).__name__}: {error}"
                row.seconds = round(time.monotonic() - started, 1)
                show(row)
                if row.right or keep:
                    break
                down(name)
                lab = up(name, mode)
            results.append(row)
    finally:
        if not keep:
            down(name)
    return results


def show(row: Row) -> None:
    word = "right" if row.right else "WRONG"
    print(f"{row.remedy:22} {row.fault:48} {row.mode:10} {word}  {row.seconds:5.1f} s", flush=True)
    if row.note:
        print("    " + row.note.replace("\n", "\n    "), flush=True)


def chosen(remedy: str | None, mode: str | None, cover: bool) -> dict[str, list[tuple[str, str, dict[str, t.Any]]]]:
    """Each remedy in the mode that CASES names, or in every mode in which its fault can be put in."""
    found: dict[str, list[tuple[str, str, dict[str, t.Any]]]] = {}
    for name, fault, first, variables in CASES:
        if remedy is not None and name != remedy:
            continue
        if cover and first == "operator":  # tests/integration/test_operator.py
            continue
        everywhere = [place for place in (POLICED if fault in RENDERED else MODES) if not possible(find(fault), place)]
        only = first is not None and (cover or first not in everywhere or fault in OF_WRITTEN_RULES)
        for place in [str(first)] if only else [] if cover else everywhere:
            if mode in (None, place):
                found.setdefault(place, []).append((name, fault, variables))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remedy", choices=sorted({case[0] for case in CASES}))
    parser.add_argument("--mode", choices=sorted(MODES))
    parser.add_argument("--cover", action="store_true", help="every remedy once")
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    options = parser.parse_args()
    wanted = chosen(options.remedy, options.mode, options.cover)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run_mode, mode, cases, options.keep, options.cover) for mode, cases in wanted.items()]
        rows = [row for future in running for row in future.result()]
    target = ROOT / "build" / "remedies.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for name, reason in NOWHERE.items():
        print(f"{name}: not proven here, {reason}")
    wrong = [row for row in rows if not row.right]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right; {target.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
