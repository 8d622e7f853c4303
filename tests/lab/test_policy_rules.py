"""What the lab's Felix writes for NetworkPolicies is what a real one wrote: same chains, same order, same matches, same sets for the same objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.calico import dataplane, felix, policy
from lab.calico.common import Settings
from lab.calico.rules import AddressSet, iptables_lines, nft_lines, nft_set_name
from lab.errors import LabError
from lab.plan import plan

Json = dict[str, Any]
Chains = dict[str, list[str]]
SETS = (
    "np-none", "np-union", "np-or-peers", "np-expr-combined", "np-ipblock-except", "np-endport", "np-port-named", "np-port-named-egress", "np-both-sides",
    "np-allow-all-rule", "np-egress-dns-like", "np-types-default-with-egress", "np-udp-only", "np-peer-fits-nobody",
    "nft-np-none", "nft-np-or-peers", "nft-np-ipblock-except", "nft-np-endport", "nft-np-port-named", "nft-np-both-sides",
)  # fmt: skip
TUNNELS = {"ipip-healthy": "ipip", "vxlan-healthy": "vxlan", "bgp-noencap-healthy": ""}


def clean(rule: str) -> str:
    """Without counters and without the hash, which covers what does not show."""
    return re.sub(r"cali:[\w-]{16}", "cali:", re.sub(r"counter packets \d+ bytes \d+", "counter", rule))


def named(rules: Chains, sets: dict[str, set[str]]) -> Chains:
    """The names of sets are hashes: their members instead."""

    def told(rule: str) -> str:
        return re.sub(r"cali40[sn][:-][\w-]+", lambda found: f"{{{' '.join(sorted(sets[found.group()]))}}}", rule)

    return {chain: [told(rule) for rule in given] for chain, given in rules.items()}


def recorded_iptables(where: Path) -> tuple[Chains, dict[str, set[str]]]:
    chains: Chains = {}
    table = ""
    for line in (where / "iptables-save.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":cali-"):
            chains[f"{table} {line[1:].split()[0]}"] = []
        elif found := re.match(r"(?:\[\d+:\d+\] )?-A (\S+) ?(.*)", line):
            if found[1].startswith("cali-"):
                chains[f"{table} {found[1]}"].append(clean(found[2]))
            elif '"cali:' in line:
                chains.setdefault(f"{table} {found[1]}", []).append(clean(found[2]))
    sets: dict[str, set[str]] = {}
    for line in (where / "ipset-save.txt").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] == ["create"]:
            sets[words[1]] = set()
        elif words[:1] == ["add"]:
            sets[words[1]].add(words[2])
    return chains, sets


def recorded_nft(where: Path) -> tuple[Chains, dict[str, set[str]]]:
    text = (where / "nft-ruleset.txt").read_text(encoding="utf-8")
    begin = text.index("table ip calico {")
    text = text[begin : text.index("\n}", begin)]
    chains: Chains = {}
    for name, body in re.findall(r"\n\tchain (\S+) \{\n(.*?)\t\}", text, re.S):
        lines = [clean(line.strip()) for line in body.splitlines()]
        head = lines.pop(0) if lines and lines[0].startswith("type ") else ""
        if head:
            assert head == f"type {dataplane.HOOKS[name]}; policy accept;"
        chains[name] = lines
    sets: dict[str, set[str]] = {}
    for name, body in re.findall(r"\n\tset (\S+) \{(.*?)\n\t\}", text, re.S):
        elements = re.search(r"elements = \{(.*?)\}", body, re.S)
        sets[name] = {re.sub(r"\s+", " ", member).strip() for member in elements[1].split(",")} if elements else set()
    return chains, sets


def world(base: Path, node: str, tunnel: str = "") -> policy.World:
    lists = {name: json.loads((base / "api" / f"{name}.json").read_text(encoding="utf-8"))["items"] for name in policy.POLICED}
    return policy.world_of(node, lists, tunnel)


def written_iptables(given: policy.World) -> tuple[Chains, dict[str, set[str]]]:
    rules = policy.rules_of(given)
    chains = {f"{table} {name}": [clean(line) for line in iptables_lines(name, own)] for table, found in rules.chains.items() for name, own in found.items()}
    for table in rules.chains:
        for kernel, (first, last) in dataplane.kernel_lines(rules, table).items():
            chains[f"{table} {kernel}"] = [clean(line) for line in (*first, *last)]
    return chains, {name: set(one.members) for name, one in rules.sets.items()}


def written_nft(given: policy.World) -> tuple[Chains, dict[str, set[str]]]:
    rules = policy.rules_of(given, nft=True)
    chains = {name: [clean(line) for line in lines] for name, lines in dataplane.nft_chains(rules).items()}
    return chains, {nft_set_name(name): {" . ".join(re.split("[,:]", member)) for member in one.members} for name, one in rules.sets.items()}


@pytest.mark.parametrize("name", SETS)
def test_policies(capture: Callable[[str], Path], name: str) -> None:
    base = capture(f"policy/{name}")
    compared = 0
    for where in sorted((base / "nodes").iterdir()):
        nft = name.startswith("nft-")
        chains, sets = recorded_nft(where) if nft else recorded_iptables(where)
        mine, my_sets = (written_nft if nft else written_iptables)(world(base, where.name))
        assert named(mine, my_sets) == named(chains, sets), where.name
        compared += sum(map(len, chains.values()))
    assert compared > 100


@pytest.mark.parametrize("name", TUNNELS)
def test_what_does_not_depend_on_policies(capture: Callable[[str], Path], name: str) -> None:
    """Chains and sets of a mode; the policies of these recordings are partly Calico's own, so their chains are left out."""
    base = capture(name)
    fixed = re.compile(r"(cali-)?(INPUT|OUTPUT|FORWARD|PREROUTING|POSTROUTING)|cali-(rpf-skip|nat-outgoing|fip-.nat|wl-to-host|cidr-block|egress-dscp)")
    for where in sorted((base / "nodes").iterdir()):
        chains, sets = recorded_iptables(where)
        mine, my_sets = written_iptables(world(base, where.name, TUNNELS[name]))
        kept = {chain for chain in {*chains, *mine} if fixed.fullmatch(chain.split()[1])}
        assert len(kept) > 20
        for chain in sorted(kept):
            assert mine.get(chain) == chains.get(chain), (where.name, chain)
        for one in sorted(name for name in {*sets, *my_sets} if not re.match("cali40[sn]:", name) and name.startswith("cali40")):
            assert my_sets.get(one) == sets.get(one), (where.name, one)


def test_a_group_of_policies_has_a_chain_of_its_own() -> None:
    spec: Json = {"podSelector": {}, "policyTypes": ["Ingress"]}
    policies = [{"metadata": {"name": f"p{number}", "namespace": "shop"}, "spec": spec} for number in range(7)]
    pod = policy.Endpoint("shop", "web", "a", "default", ("10.0.0.1",), (), ())
    rules = policy.rules_of(policy.World("a", [pod], {"shop": {}}, policies, [], [])).chains["filter"]
    group = next(name for name in rules if name.startswith("cali-gi-"))
    marks = [(rule.action.chain or rule.action.kind, rule.marked, rule.any_mark) for rule in rules[group]]
    clear = (0, 0x30000)
    assert marks == [
        ("cali-pi-knp/shop/p0", None, 0), ("cali-pi-knp/shop/p1", clear, 0), ("cali-pi-knp/shop/p2", clear, 0), ("cali-pi-knp/shop/p3", clear, 0),
        ("cali-pi-knp/shop/p4", clear, 0), ("return", None, 0x30000), ("cali-pi-knp/shop/p5", None, 0), ("cali-pi-knp/shop/p6", clear, 0),
    ]  # fmt: skip
    assert next(rule.action.chain for rule in rules[f"cali-tw-{pod.interface}"] if rule.action.kind == "jump") == group


def test_many_ports_and_names_go_by_blocks() -> None:
    ports = [{"port": 100 + 2 * number} for number in range(16)] + [{"port": "http"}]
    spec = {"podSelector": {}, "ingress": [{"ports": ports}]}
    pod = policy.Endpoint("shop", "web", "a", "default", ("10.0.0.1",), (), (("http", "tcp", 80),))
    given = [{"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}]
    rules = policy.rules_of(policy.World("a", [pod], {"shop": {}}, given, [], []))
    lines = [clean(line) for line in iptables_lines("x", rules.chains["filter"]["cali-pi-knp/shop/p"])]
    assert [line.rpartition("-j ")[2] for line in lines] == [
        "MARK --set-xmark 0x0/0x180000", *["MARK --set-xmark 0x80000/0x80000"] * 3, "MARK --set-xmark 0x10000/0x10000",
    ]  # fmt: skip
    assert rules.sets[next(name for name in rules.sets if name.startswith("cali40n:"))] == AddressSet("hash:ip,port", frozenset({"10.0.0.1,tcp:80"}))
    assert "{ 100, 102, " in nft_lines("filter", "x", rules.chains["filter"]["cali-pi-knp/shop/p"])[1]


@pytest.mark.parametrize("mode", ["flannel", "dualstack"])
def test_where_nothing_enforces_policies_nothing_is_promised(mode: str) -> None:
    with pytest.raises(LabError, match="nothing enforces policies"):
        plan("lab", mode, 3, dataplane="nftables")


class Told:
    """An API with FelixConfigurations."""

    def __init__(self, **specs: Json) -> None:
        self.items = [{"metadata": {"name": name.replace("_", ".")}, "spec": spec} for name, spec in specs.items()]

    def list(self, resource: str) -> list[Json]:
        assert resource == "felixconfigurations"
        return self.items


@pytest.mark.parametrize(
    ("made", "specs", "writes"),
    [
        ("iptables-nft", {"default": {}}, "iptables-nft"),
        ("iptables-nft", {}, "iptables-nft"),
        ("iptables-nft", {"default": {"iptablesBackend": "Legacy"}}, "iptables-legacy"),
        ("iptables-legacy", {"default": {"iptablesBackend": "Auto"}}, "iptables-legacy"),
        ("iptables-nft", {"default": {"iptablesBackend": "Legacy"}, "node_k8s01": {"iptablesBackend": "NFT"}}, "iptables-nft"),
        ("nftables", {"default": {"iptablesBackend": "Legacy"}}, "nftables"),
        ("", {"default": {"iptablesBackend": "Legacy"}}, ""),
    ],
)
def test_felix_writes_into_the_backend_that_its_configuration_names(made: str, specs: Json, writes: str) -> None:
    settings = Settings("lab", "k8s01", "noencap", "", "", 10, 30, 1500, made)
    assert felix.backend_of(Told(**specs), settings) == writes  # type: ignore[arg-type]
