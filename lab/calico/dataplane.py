"""Brings Felix's rules and sets into the kernel: through iptables and ipset, or through nft. What differs from them is written again."""

from __future__ import annotations

import re
import subprocess

from lab.calico.policy import World, rules_of
from lab.calico.rules import TABLES, AddressSet, Ruleset, iptables_lines, nft_lines, nft_set_name

TEMPORARY = "cali4t0"
HOOKS = {  # nft's base chains: type, hook and priority
    "raw-PREROUTING": "filter hook prerouting priority raw",
    "raw-OUTPUT": "filter hook output priority raw",
    "mangle-PREROUTING": "filter hook prerouting priority mangle",
    "mangle-INPUT": "filter hook input priority mangle",
    "mangle-FORWARD": "filter hook forward priority mangle",
    "mangle-OUTPUT": "route hook output priority mangle",
    "mangle-POSTROUTING": "filter hook postrouting priority mangle",
    "nat-PREROUTING": "nat hook prerouting priority dstnat",
    "nat-INPUT": "nat hook input priority -100",
    "nat-OUTPUT": "nat hook output priority 110",
    "nat-POSTROUTING": "nat hook postrouting priority srcnat + 10",
    "filter-INPUT": "filter hook input priority filter",
    "filter-FORWARD": "filter hook forward priority filter",
    "filter-OUTPUT": "filter hook output priority filter",
}


def _run(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
    return done.stdout


# ---- iptables
def kernel_lines(rules: Ruleset, table: str) -> dict[str, tuple[list[str], list[str]]]:
    """By chain of the kernel: Felix's rules at its beginning, and at its end."""
    found = {}
    for (where, kernel), first in rules.first.items():
        if where == table:
            lines = iptables_lines(kernel, [*first, *rules.last.get((table, kernel), [])])
            found[kernel] = (lines[: len(first)], lines[len(first) :])
    return found


def _saved(program: str, table: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Felix's chains as they are, and all rules of the kernel's chains."""
    own: dict[str, list[str]] = {}
    kernel: dict[str, list[str]] = {}
    for line in _run([f"{program}-save", "-t", table]).splitlines():
        if line.startswith(":"):
            name = line[1:].split()[0]
            (own if name.startswith("cali-") else kernel)[name] = []
        elif line.startswith("-A "):
            _word, name, rule = [*line.split(" ", 2), ""][:3]
            (own if name in own else kernel).setdefault(name, []).append(rule)
    return own, kernel


def _in_place(have: list[str], first: list[str], last: list[str]) -> bool:
    ours = [rule for rule in have if '"cali:' in rule]
    return ours == [*first, *last] and have[: len(first)] == first and all(rule in have[len(first) :] for rule in last)


def _table_text(rules: Ruleset, table: str, program: str) -> str:
    """What iptables-restore must be told; "" where nothing differs."""
    own, kernel = _saved(program, table)
    wanted = {name: iptables_lines(name, given) for name, given in rules.chains[table].items()}
    jumps = kernel_lines(rules, table)
    if own == wanted and all(_in_place(kernel.get(name, []), *both) for name, both in jumps.items()):
        return ""
    lines = [f"*{table}", *(f":{name} - [0:0]" for name in {**own, **wanted})]
    for name, have in kernel.items():
        lines += [f"-D {name} {rule}" for rule in have if '"cali:' in rule]
    for name, (first, last) in jumps.items():
        lines += [f"-I {name} {rule}" for rule in reversed(first)] + [f"-A {name} {rule}" for rule in last]
    lines += [f"-A {name} {rule}" for name, given in wanted.items() for rule in given]
    lines += [f"-X {name}" for name in own if name not in wanted]
    return "\n".join([*lines, "COMMIT", ""])


def _sets_text(sets: dict[str, AddressSet]) -> str:
    lines = []
    for name, one in sets.items():
        lines += [f"create {name} {one.kind} family inet maxelem 1048576 -exist", f"create {TEMPORARY} {one.kind} family inet maxelem 1048576"]
        lines += [f"add {TEMPORARY} {member}" for member in sorted(one.members)]
        lines += [f"swap {TEMPORARY} {name}", f"destroy {TEMPORARY}"]
    return "\n".join([*lines, ""])


def _apply_iptables(rules: Ruleset, program: str) -> bool:
    have: dict[str, set[str]] = {}
    for line in _run(["ipset", "save"]).splitlines():
        word, name, *rest = line.split()
        if word == "create":
            have[name] = set()
        else:
            have[name].add(rest[0])
    differing = {name: one for name, one in rules.sets.items() if name not in have or have[name] != set(one.members)}
    if differing:
        _run(["ipset", "restore"], _sets_text(differing))
    text = "".join(_table_text(rules, table, program) for table in TABLES)
    if text:
        _run([f"{program}-restore", "--noflush", "--wait"], text)
    for name in have:
        if name.startswith("cali4") and name not in rules.sets:
            subprocess.run(["ipset", "-q", "destroy", name], capture_output=True, check=False)  # another backend's rules may still ask it
    return bool(differing or text)


# ---- nft
def _nft_member(member: str) -> str:
    return " . ".join(re.split("[,:]", member))


def _nft_sets(rules: Ruleset) -> list[str]:
    kinds = {
        "hash:ip": "type ipv4_addr;",
        "hash:net": "type ipv4_addr; flags interval;",
        "hash:ip,port": "type ipv4_addr . inet_proto . inet_service;",
    }
    lines = []
    for name, one in rules.sets.items():
        elements = f" elements = {{ {', '.join(map(_nft_member, sorted(one.members)))} }}" if one.members else ""
        lines.append(f"set {nft_set_name(name)} {{ {kinds[one.kind]}{elements} }}")
    for table, chains in rules.chains.items():
        for chain, given in chains.items():
            for rule in given:
                if rule.dispatch is not None:
                    ends = ", ".join(f'"{device}" : goto {table}-{target}' for device, target in rule.dispatch)
                    lines.append(f"map {table}-{chain} {{ type ifname : verdict;{f' elements = {{ {ends} }}' if ends else ''} }}")
    return lines


def nft_chains(rules: Ruleset) -> dict[str, list[str]]:
    """All chains of Calico's table and their rules."""
    found = {f"{table}-{chain}": nft_lines(table, chain, given) for table, chains in rules.chains.items() for chain, given in chains.items()}
    for name in HOOKS:
        table, _dash, kernel = name.partition("-")
        both = [*rules.first.get((table, kernel), []), *rules.last.get((table, kernel), [])]
        found[name] = nft_lines(table, kernel, both)
    return found


def nft_text(rules: Ruleset) -> str:
    """Calico's table anew, in one transaction."""
    chains = nft_chains(rules)
    lines = ["table ip calico {}", "delete table ip calico", "table ip calico {"]
    lines += [f"chain {name} {{ {f'type {HOOKS[name]}; policy accept;' if name in HOOKS else ''} }}" for name in chains]
    lines += [*_nft_sets(rules), "}", "table ip calico {"]
    for name, given in chains.items():
        lines += [f"chain {name} {{", *given, "}"]
    return "\n".join([*lines, "}", ""])


def _listed() -> str:
    done = subprocess.run(["nft", "-s", "list", "table", "ip", "calico"], capture_output=True, text=True, check=False)
    return done.stdout


# ---- both
class Dataplane:
    """What the kernel of a node has of Felix."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.told = ""  # which policies are in it
        self._given = ""
        self._listed = ""

    def apply(self, world: World) -> bool:
        """Write what is missing. True if something was."""
        rules = rules_of(world, nft=self.kind == "nftables")
        if self.kind != "nftables":
            return _apply_iptables(rules, self.kind)
        text = nft_text(rules)
        if text == self._given and self._listed == _listed():
            return False
        _run(["nft", "-f", "-"], text)
        self._given, self._listed = text, _listed()
        return True

    def remove(self) -> None:
        """Nothing of it is left."""
        if self.kind == "nftables":
            _run(["nft", "-f", "-"], "table ip calico {}\ndelete table ip calico\n")
        else:
            _apply_iptables(Ruleset(), self.kind)
