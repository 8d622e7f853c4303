"""The command line: python -m lab COMMAND."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from lab import binaries, cluster, lifecycle, plan
from lab.cluster import Lab
from lab.errors import LabError
from lab.modes import MODES, POLICED


def say(text: str) -> None:
    print(text, flush=True)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, named: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        if named:
            made.add_argument("--name", default="lab", help="the lab's name (default: lab)")
        return made

    up = command("up", "make a lab")
    up.add_argument("--mode", default="ipip", choices=list(MODES), help="how packets travel between nodes (default: ipip)")
    up.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (default: 3)")
    api = os.environ.get("PODNET_LAB_API") or "auto"
    up.add_argument("--api", default=api, choices=["auto", "real", "emulator"], help="which API server (default: PODNET_LAB_API, or auto)")
    up.add_argument("--monitor-interval", type=float, default=10.0, metavar="SECONDS", help="of calico-node (real: 60)")
    up.add_argument("--felix-refresh", type=float, default=30.0, metavar="SECONDS", help="of Felix's routes (real: 90)")
    up.add_argument("--autodetection", default="", metavar="METHOD", help="IP_AUTODETECTION_METHOD")
    up.add_argument("--second-nic", action="store_true", help="Calico runs on eth1, on purpose")
    up.add_argument("--dataplane", default="", choices=["", *POLICED], help="policies are enforced, with this (default: they are not)")
    up.add_argument("--operator", action="store_true", help="calico-node is made from an Installation, by a stand-in of the operator")
    up.add_argument("--keep", action="store_true", help="keep what there is if it fails")
    command("down", "take a lab away")
    command("status", "what a lab consists of, and what is wrong in it")
    wait = command("wait", "wait until a lab is healthy")
    wait.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    run = command("exec", "run a command on a node")
    run.add_argument("node")
    run.epilog = "the command follows after --"
    for name, text in (("fault", "break something"), ("heal", "mend it again")):
        one = command(name, text)
        one.add_argument("fault", metavar="FAULT")
    command("faults", "the faults that there are", named=False)
    build = command("build", "build etcd, kube-apiserver and CoreDNS into the cache", named=False)
    build.add_argument("tools", nargs="*", choices=[*binaries.PACKAGES, []], default=[])
    return whole


def _up(arguments: argparse.Namespace) -> None:
    lifecycle.catch_signals()
    description = plan.plan(
        arguments.name,
        arguments.mode,
        arguments.nodes,
        autodetection=arguments.autodetection,
        second_nic=arguments.second_nic,
        monitor_interval=arguments.monitor_interval,
        felix_refresh=arguments.felix_refresh,
        dataplane=arguments.dataplane,
        operator=arguments.operator,
    )
    known = lifecycle.traces(arguments.name) or (plan.state_parent() / arguments.name / "lab.json").exists()
    try:
        made = lifecycle.up(description, arguments.api, say)
    except BaseException:
        if not known and not arguments.keep and os.geteuid() == 0:
            with contextlib.suppress(LabError):  # what went wrong first is what is told
                lifecycle.down(arguments.name, lambda text: None)
        raise
    say(f"inventory  {made.inventory}")
    say(f"kubeconfig {made.kubeconfig}")


def _status(name: str) -> int:
    lab = Lab.load(name)
    about = lab.description
    say(f"lab {about.name}: {about.mode}, {len(about.nodes)} nodes, autodetection {about.autodetection}")
    say(f"API        {about.api} on 127.0.0.1:{about.port} ({about.api_reason})")
    if about.api == "emulator":
        say("stand-in   the API is an emulator: no validation, no admission, no RBAC")
    if about.operator:
        say("stand-in   the operator: it carries the autodetection of the Installation into calico-node, and nothing else")
    if about.calico.tunnel == "ipip":
        if about.ipip == "stand-in":
            say("stand-in   tunl0 is a TUN device with a program behind it: this kernel has no ipip module")
        else:
            say("tunl0      the kernel's own")
        if not about.calico.felix_routes:
            say("stand-in   routes are put on tunl0 by the lab: Debian's BIRD has no krt_tunnel")
    if about.calico.backend:
        say("stand-in   calico-node (startup, confd, felix, monitor) is the lab's own" + ("; BIRD is Debian's 1.6" if about.calico.bird else ""))
    if about.calico.flannel:
        say("stand-in   flanneld and the CNI plugins are the lab's own")
    say("stand-in   no kube-proxy: service addresses do not work")
    say(f"policy     {about.dataplane or 'not enforced'}")
    say(f"DNS        {about.dns}")
    for node in about.nodes:
        up = sum(session.established for session in lab.sessions(node.name))
        sessions = f"  {up} BGP sessions up" if about.calico.bird else ""
        say(f"{node.name}  {node.address}  block {node.blocks[0]}  pid {node.pid}{sessions}")
    for pod in about.pods:
        say(f"  {pod.node}  {pod.addresses[0]:15}  {pod.interface}  {pod.namespace}/{pod.name}")
    problems = lab.problems()
    for problem in problems:
        say(f"WRONG      {problem}")
    say("healthy" if not problems else f"{len(problems)} things are wrong")
    return 0 if not problems else 3


def _exec(name: str, node: str, words: Sequence[str]) -> int:
    whole = [*Lab.load(name).enter(node), *(words or ["/bin/bash"])]
    sys.stdout.flush()
    os.execvp(whole[0], whole)


def run(arguments: argparse.Namespace) -> int:
    """Carry out a command."""
    if arguments.command == "up":
        _up(arguments)
    elif arguments.command == "down":
        lifecycle.down(arguments.name, say)
    elif arguments.command == "status":
        return _status(arguments.name)
    elif arguments.command == "wait":
        say(f"healthy after {Lab.load(arguments.name).wait_healthy(arguments.timeout):.1f} s")
    elif arguments.command == "exec":
        return _exec(arguments.name, arguments.node, arguments.words)
    elif arguments.command == "build":
        for tool in arguments.tools or binaries.PACKAGES:
            say(f"{tool}: {binaries.build(tool, say)}")
    else:
        from lab import faults

        if arguments.command == "faults":
            for fault in faults.catalogue():
                say(f"{fault.number:5} {fault.name:55} {','.join(fault.modes.names)}")
        elif arguments.command == "fault":
            found = faults.find(arguments.fault)
            found.inject(Lab.load(arguments.name))
            say(f"{found.name}: broken")
        else:
            found = faults.find(arguments.fault)
            found.heal(Lab.load(arguments.name))
            say(f"{found.name}: healed")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 an error in one sentence, 3 the lab is not healthy."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        words: list[str] = []
        if given[:1] == ["exec"] and "--" in given:
            split = given.index("--")
            given, words = given[:split], given[split + 1 :]
        known = parser().parse_args(given)
        known.words = words
        return run(known)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted, what was made is taken away again", file=sys.stderr)
        return 130


__all__ = ["cluster", "main"]
