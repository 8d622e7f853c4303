# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: whether a diagnosis would find its way to the nodes and the API, with the fix for what is missing.
# Pure: from what the tasks of the playbook preflight brought back to lines and problems.

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ._cluster import Cluster, Node
from ._flannel import bridged
from ._inventory import identified
from ._json import Json, NotCollected, as_mapping, section_of

WIDTH = 80
WORD = 8
OLDEST_PYTHON = (3, 9)

# What a message of SSH or become says, and what helps. The first pattern that fits counts.
SSH_FIXES = (
    (r"permission denied|authentication fail", "let this user's key in on the node, or set ansible_user and ansible_ssh_private_key_file"),
    (r"host key verification|host identification", "check the node's host key and put it into known_hosts (ssh-keyscan)"),
    (r"could not resolve|name or service not known", "set ansible_host to an address that this machine can reach"),
    (r"refused", "check ansible_host and ansible_port, and that sshd runs there"),
    (r"timed out|no route|unreachable|connection (?:closed|reset)", "check ansible_host, the way to it and its firewall (TCP 22)"),
)
BECOME_FIXES = (
    (r"password", "allow sudo without a password, or run with --ask-become-pass"),
    (r"not in the sudoers|not allowed", "allow this user to become root (sudoers)"),
    (r"not found|no such file", "install sudo, or log in as root and set ansible_become to false"),
)
PYTHON_MISSING = re.compile(r"python\S*: (?:command )?not found|no such file or directory.*python|interpreter.*not found|python.*no such file", re.I | re.S)
RIGHTS_FIX = "apply docs/clusterrole.yml of this collection, and bind it to this user"


@dataclass
class Host:
    """What the tasks brought back from one inventory host. Absent results are empty."""

    name: str
    ssh: Mapping[str, Json] = field(default_factory=dict)
    become: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)  # the result of node_info
    document: Mapping[str, Json] | None = None  # its node document
    node: str | None = None  # the node that the inventory makes of it
    asked: bool = True  # False: outside of --limit, or of this batch of hosts (serial)


@dataclass
class Line:
    """One host or the API: what is well, and what is not, with its fix."""

    name: str
    well: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    node: str | None = None
    asked: bool = True

    def wrong(self, what: str, fix: str) -> Line:
        self.problems.append((what, fix))
        return self

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "node": self.node, "ok": self.well, "problems": [{"problem": p, "fix": f} for p, f in self.problems]}


def _said(result: Mapping[str, Json]) -> str:
    """The last line of a failure's message that says something, without what Ansible puts before it."""
    for key in ("module_stderr", "stderr", "msg", "module_stdout", "stdout"):
        lines = [line.strip() for line in str(result.get(key) or "").splitlines() if line.strip()]
        if lines:
            return re.sub(r"^(?:Task failed: )?(?:Failed to connect to the host via \w+: )?(?:ssh: )?", "", lines[-1])[:160]
    return "no answer"


def _fix(said: str, fixes: Sequence[tuple[str, str]], otherwise: str) -> str:
    return next((fix for pattern, fix in fixes if re.search(pattern, said, re.IGNORECASE)), otherwise)


def _version(text: Json) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", str(text or ""))
    return (int(found[1]), int(found[2])) if found else ()


def name_it(line: Line, host: Host, nodes: Mapping[str, Node]) -> None:
    """Whether the node that the inventory makes of a host is that machine."""
    same = identified(host.document, nodes)
    declared = "set podnet_node_name={} on this host of the inventory"
    if host.node in nodes:
        line.node = host.node
        if same is None:
            line.well.append(f"node {host.node} (by name only)")
        elif host.node in same:
            line.well.append(f"node {host.node}")
        elif same:
            line.wrong(f"name: taken for node {host.node}, but its machine-id is that of {' and '.join(same)}", declared.format(same[0]))
        else:
            line.wrong(f"name: taken for node {host.node}, which is another machine by its machine-id", "check ansible_host of this host")
    elif same and len(same) == 1:
        line.node = same[0]
        line.wrong(f"name: this is node {same[0]}, and nothing in the inventory says so", declared.format(same[0]))
    else:
        line.wrong("name: no node of the API is this host", "set podnet_node_name, or leave the host out with --limit")


def host_line(host: Host, nodes: Mapping[str, Node] | None, bird_expected: bool) -> Line:
    line = Line(host.name, asked=host.asked)
    if not host.asked:
        line.node = host.node
        return line
    if not host.ssh or host.ssh.get("unreachable") or host.ssh.get("failed"):
        said = _said(host.ssh) if host.ssh else "was not asked"
        return line.wrong(f"ssh: {said}", _fix(said, SSH_FIXES, f"try by hand: ansible {host.name} -m ansible.builtin.ping -vvv"))
    line.well.append("ssh")

    uid = str(host.become.get("stdout") or "").strip().splitlines()
    if host.become.get("failed") or host.become.get("unreachable") or not uid:
        said = _said(host.become)
        return line.wrong(f"become: {said}", _fix(said, BECOME_FIXES, "set ansible_become and ansible_become_method so that tasks run as root"))
    if uid[-1] != "0":
        return line.wrong(f"become: tasks run as uid {uid[-1]}, not as root", "set ansible_become: true for this host, or ansible_user: root")
    line.well.append("root")

    if host.document is None:
        said = _said(host.facts)
        text = " ".join(str(host.facts.get(key) or "") for key in ("msg", "module_stderr", "module_stdout"))
        if PYTHON_MISSING.search(text):
            return line.wrong("python: there is none", "install Python 3.9 or newer, or point ansible_python_interpreter at one")
        return line.wrong(f"node_info: {said}", f"try by hand: ansible {host.name} -m podnet.doctor.node_info -vvv")
    _python(line, host.document)
    _bird(line, host.document, bird_expected)
    if nodes is None:
        line.well.append("name not checked")
        return line
    name_it(line, host, nodes)
    return line


def _python(line: Line, document: Mapping[str, Json]) -> None:
    try:
        python = str(as_mapping(section_of(document, "identity", line.name)).get("python") or "")
    except NotCollected as exc:
        line.wrong(f"python: {exc.reason}", "run again with -v")
        return
    if _version(python) < OLDEST_PYTHON:
        line.wrong(f"python: {python or 'version unknown'}", "install Python 3.9 or newer, or point ansible_python_interpreter at one")
    else:
        line.well.append(f"python {python.split()[0]}")


def _bird(line: Line, document: Mapping[str, Json], expected: bool) -> None:
    try:
        daemon = as_mapping(section_of(as_mapping(section_of(document, "bird", line.name)), "ipv4", line.name))
    except NotCollected as exc:
        if expected:
            said = re.sub(r"^(?:(?:bird|ipv4): )+", "", exc.reason.rpartition(f"{line.name}: ")[2])
            line.wrong(f"bird: {said}", "see whether calico-node runs there: kubectl get pods -A -o wide -l k8s-app=calico-node")
        else:
            line.well.append("no bird needed")
        return
    line.well.append(f"bird {daemon.get('version') or 'answers'}")


def api_line(cluster: Mapping[str, Json] | None, failure: Mapping[str, Json], rights: Sequence[Mapping[str, Json]]) -> Line:
    """The API: reached, its version, Calico's group, and what this user may not do."""
    line = Line("API")
    if cluster is None:
        said = _said(failure) if failure else "was not asked"
        return line.wrong(said, "set kubeconfig (or K8S_AUTH_KUBECONFIG) to a file that reaches the API server from here")
    version = as_mapping(cluster.get("version")).get("gitVersion")
    line.well.append(f"{cluster.get('server')} {version or ''}".strip())
    line.well.append(str(cluster["calico_api"]) if cluster.get("calico_api") else "flannel" if bridged(Cluster(cluster)) else "NO Calico resources")
    optional = [right for right in rights if right.get("optional")]
    rights = [right for right in rights if not right.get("optional")]
    missing = [right for right in rights if right.get("allowed") is False]
    unknown = [right for right in rights if right.get("allowed") is None]
    if missing:
        line.wrong("MISSING rights: " + ", ".join(_right(right) for right in missing), RIGHTS_FIX)
    if unknown:
        line.wrong(f"rights not checked: {unknown[0].get('error') or 'the API would not say'}", "allow selfsubjectaccessreviews (system:basic-user has it)")
    if rights and not missing and not unknown:
        line.well.append(f"all {len(rights)} rights that a diagnosis needs")
    line.well += [("may " if right.get("allowed") else "may not ") + str(right["optional"]) for right in optional]
    known = {str(right.get("resource")) for right in missing}
    for name, value in sorted(cluster.items()):
        error = as_mapping(value).get("error")
        if isinstance(error, str) and name not in known and "not asked for" not in error and as_mapping(value).get("reason") != "absent":
            line.wrong(f"{name}: {error}", RIGHTS_FIX if "forbidden" in error.lower() else "see the API server's log")
    return line


def _right(right: Mapping[str, Json]) -> str:
    group = f".{right['group']}" if right.get("group") else ""
    return f"{right.get('verb')} {right.get('resource')}{group}"


@dataclass
class Result:
    lines: list[Line]
    screen: list[str]
    ready: bool


def check(
    hosts: Sequence[Host],
    cluster: Mapping[str, Json] | None,
    failure: Mapping[str, Json],
    rights: Sequence[Mapping[str, Json]],
) -> Result:
    """The whole answer. Nodes that no inventory host stands for are problems too: nobody could ask them."""
    nodes: Mapping[str, Node] | None = None
    bird_expected = True
    api = api_line(cluster, failure, rights)
    if cluster is not None:
        view = Cluster(cluster)
        try:
            nodes = view.nodes
            bird_expected = view.backend == "bird"
        except NotCollected:
            pass
    lines = [host_line(host, nodes, bird_expected) for host in sorted(hosts, key=lambda host: host.name)]
    owners: dict[str, list[Line]] = {}
    for line in lines:
        if line.node:
            owners.setdefault(line.node, []).append(line)
    for node, claimed in owners.items():
        if len(claimed) > 1:
            names = " and ".join(line.name for line in claimed)
            for line in claimed:
                if line.problems:
                    continue
                line.wrong(f"name: {names} are the same node {node}", "keep one of them in the inventory")
    mapped = {host.node for host in hosts} | {host.name for host in hosts}
    for name in sorted(set(nodes or {}) - set(owners) - mapped):
        lines.append(Line(name).wrong("node of the API that no inventory host stands for", "add it to the inventory"))
    ready = not any(line.problems for line in [api, *lines])
    return Result([api, *lines], screen(api, lines, ready), ready)


def screen(api: Line, lines: Sequence[Line], ready: bool) -> list[str]:
    """One line for the API and each node; below it the fix of what is missing."""
    everything = [api, *lines]
    bad = [line.name for line in everything if line.problems]
    left_out = [line.name for line in lines if not line.asked]
    title = f"PREFLIGHT: {_count(len(lines) - len(left_out), 'node')} and the API"
    word = "READY" if ready else "NOT READY"
    shown = [title.ljust(WIDTH - len(word)) + word]
    room = min(max(len(line.name) for line in everything) + 2, 32)
    for line in everything:
        texts = [("FAILED", problem, fix) for problem, fix in line.problems]
        if line.asked and not texts:
            texts = [("ok", ", ".join(line.well), "")]
        for number, (outcome, text, fix) in enumerate(texts):
            shown += _wrapped(line.name if number == 0 else "", room, outcome, text)
            if fix:
                shown += _wrapped("", room, "fix", fix)
    if left_out:
        shown.append(f"NOT CHECKED, outside of --limit or of this batch: {', '.join(left_out)}")
    if bad:
        shown.append(f"{len(bad)} of {len(everything) - len(left_out)} not ready: {', '.join(bad)}")
    return shown


def _wrapped(name: str, room: int, word: str, text: str) -> list[str]:
    head = f"{name.ljust(room - 1)} {word.ljust(WORD)}"
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
