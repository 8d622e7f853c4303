# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import sys
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _netfilter
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.tests.unit.plugins import support


def read(space: t.Any) -> dict[str, t.Any]:
    return inside(space.path, lambda: _netfilter.read(Deadline(20)), Deadline(30))


def tools() -> None:
    if os.geteuid() != 0 or not (shutil.which("iptables-nft-save") and shutil.which("nft")):
        pytest.skip("needs root, iptables and nft")


def text(found: dict[str, t.Any], backend: str, family: str) -> str:
    return "".join(entry["text"] for entry in found["iptables"] if (entry["backend"], entry["family"]) == (backend, family))


def test_both_backends_and_foreign_tables(namespaces: t.Any) -> None:
    tools()
    space = namespaces()
    space.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "179", "-j", "DROP")
    space.run("nft", "add table inet firewall; add chain inet firewall in { type filter hook input priority 0; policy drop; }")
    space.run("nft", "add rule inet firewall in tcp dport 179 counter reject")
    found = read(space)
    document = {"schema": "podnet.doctor/node/1", "collected_at": "2026-11-21T09:28:23Z", "seconds": 1, "host": None, "node": None}
    support.valid("node", {**document, "netfilter": found})
    assert "[0:0] -A INPUT -p tcp -m tcp --dport 179 -j DROP" in text(found, "nft", "inet")
    assert text(found, "nft", "inet6").count("-A") == 0 and not [entry for entry in found["iptables"] if entry["backend"] == "legacy"]
    (foreign,) = found["nft"]
    assert (foreign["family"], foreign["name"]) == ("inet", "firewall") and '"reject"' in foreign["json"]
    space.run("ip6tables-legacy", "-A", "OUTPUT", "-p", "tcp", "--sport", "179", "-j", "DROP")
    if (space.run("cat", "/proc/net/ip6_tables_names").stdout).split():
        assert "-A OUTPUT -p tcp -m tcp --sport 179 -j DROP" in text(read(space), "legacy", "inet6")


def test_reading_leaves_nothing(namespaces: t.Any) -> None:
    tools()
    space = namespaces()
    before = [space.run(*command).stdout for command in (("nft", "list", "ruleset"), ("cat", "/proc/net/ip_tables_names"))]
    assert read(space)["nft"] == []
    assert [space.run(*command).stdout for command in (("nft", "list", "ruleset"), ("cat", "/proc/net/ip_tables_names"))] == before


def test_a_table_of_iptables_that_could_not_be_saved_is_nobody_elses() -> None:
    item = {"table": {"family": "ip", "name": "filter"}}
    foreign = {"table": {"family": "ip", "name": "mine"}}
    saved: list[dict[str, t.Any]] = [{"backend": "nft", "family": "inet", "error": "Permission denied"}]
    assert [table["name"] for table in _netfilter.by_table({"nftables": [item, foreign]}, saved)] == ["mine"]
    assert [table["name"] for table in _netfilter.by_table({"nftables": [item, foreign]}, [])] == ["filter", "mine"], "where iptables is not installed"


def test_a_name_is_never_more_than_a_name(namespaces: t.Any) -> None:
    """Whoever can make tables can choose what they are called."""
    tools()
    space = namespaces()
    space.run("nft", "add table ip victim")
    shown: list[tuple[str, str]] = [("ip", "x; delete table ip victim"), ("ip", '"} delete')]
    path = shutil.which("nft")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_netfilter, "tables", lambda _deadline: shown)
        found = read(space)["nft"]
    assert path is not None and all("error" in entry for entry in found) and len(found) == 2
    assert "victim" in space.run("nft", "list", "tables").stdout


def test_programs_by_backend(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("xtables-nft-multi", "xtables-legacy-multi"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(_netfilter, "PATH", str(tmp_path))
    assert _netfilter.program("iptables", "nft") is None
    (tmp_path / "iptables-save").symlink_to("xtables-legacy-multi")
    assert _netfilter.program("iptables", "nft") is None and str(_netfilter.program("iptables", "legacy")).endswith("/iptables-save")
    (tmp_path / "iptables-nft-save").symlink_to("xtables-nft-multi")
    assert str(_netfilter.program("iptables", "nft")).endswith("/iptables-nft-save")


def test_nothing_is_loaded(tmp_path: t.Any) -> None:
    assert _netfilter.has_module("nf_tables", str(tmp_path)) is True  # no /proc/modules: nothing can be loaded
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "modules").write_text("veth 1 0 - Live\n")
    assert _netfilter.has_module("nf_tables", str(tmp_path)) is None
    folder = tmp_path / "lib" / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/veth.ko\n")
    assert _netfilter.has_module("nf_tables", str(tmp_path)) is False
    (tmp_path / "sys" / "module" / "nf_tables").mkdir(parents=True)
    assert _netfilter.has_module("nf_tables", str(tmp_path)) is True


def test_kernel_without_nf_tables_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: t.Any, **_options: t.Any) -> str:
        raise AssertionError("a program was started")

    monkeypatch.setattr(_netfilter, "has_module", lambda name: False)
    monkeypatch.setattr(_netfilter, "read_file", lambda _path: None)
    monkeypatch.setattr(_netfilter, "output", never)
    assert _netfilter.read(Deadline(5)) == {"iptables": [], "nft": [], "ipsets": [], "ipvs": None}
    monkeypatch.setattr(_netfilter, "has_module", lambda name: None)
    assert "could load it" in _netfilter.read(Deadline(5))["nft"]["error"]


def test_output_is_bounded() -> None:
    python = sys.executable
    assert _netfilter.output([python, "-c", "print(input())"], Deadline(20), "hello\n") == "hello\n"
    with pytest.raises(_netfilter.Failed, match="more than 1 MB"):
        _netfilter.output([python, "-c", "while True: print('x' * 9999)"], Deadline(20), largest=1 << 20)
    with pytest.raises(_netfilter.Failed, match="no good"):
        _netfilter.output([python, "-c", "import sys; sys.exit('no good')"], Deadline(20))
    with pytest.raises(Expired):
        _netfilter.output([python, "-c", "import time; time.sleep(60)"], Deadline(0.3))
    with pytest.raises(Expired):
        _netfilter.output([python, "-c", "import os, time; os.close(1); os.close(2); time.sleep(60)"], Deadline(1))


def test_tables_that_nobody_can_list(namespaces: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tools()
    space = namespaces()
    space.run("nft", "add table inet firewall; add table ip filter")
    monkeypatch.setattr(_netfilter, "PATH", "/nowhere")
    names = (("inet", "firewall"), ("ip", "filter"))
    foreign = [{"family": family, "name": name, "error": "nft is not installed"} for family, name in names]
    assert read(space) == {"iptables": [], "nft": foreign, "ipsets": [], "ipvs": None}


def test_sets_that_rules_ask_for(namespaces: t.Any) -> None:
    tools()
    space = namespaces()
    saved = [{"text": '-A INPUT -m set --match-set peers src -j ACCEPT\n-A INPUT -m set ! --match-set "with space" src,dst -j DROP\n'}]
    names = {quoted or plain for entry in saved for quoted, plain in _netfilter.MATCHED_SET.findall(entry["text"])}
    assert names == {"peers", "with space"}
    assert read(space)["ipsets"] == []


def test_long_tables_are_cut() -> None:
    many = [f"10.{one}.{two}.1" for one in range(100) for two in range(100)]
    services = [[{"elem": {"val": {"concat": [address, "tcp", 80]}, "comment": "x" * 40}}, {"drop": None}] for address in many]
    networks = [{"prefix": {"addr": f"10.{one}.{two}.0", "len": 24}} for one in range(50) for two in range(50)]
    items = [
        {"set": {"name": "pods", "type": "ipv4_addr", "elem": many}},
        {"set": {"name": "few", "type": "ipv4_addr", "elem": many[:9]}},
        {"set": {"name": "nets", "type": "ipv4_addr", "elem": [*networks, {"range": ["10.200.0.0", "10.200.0.9"]}]}},
        {"map": {"name": "services", "type": ["ipv4_addr", "inet_proto", "inet_service"], "elem": services}},
        {"map": {"name": "ports", "type": "inet_service", "elem": [[port, {"drop": None}] for port in range(2000)]}},
    ]
    text = json.dumps({"nftables": items})
    assert len(text) > _netfilter.LARGE_TABLE
    asked = ["10.7.9.1", "10.200.0.5"]
    found = {value["name"]: value for item in json.loads(_netfilter.cut_sets(text, asked))["nftables"] for value in item.values()}
    assert (found["pods"]["elem"], found["pods"]["cut"]) == (["10.7.9.1"], asked)
    assert found["nets"]["elem"] == [{"prefix": {"addr": "10.7.9.0", "len": 24}}, {"range": ["10.200.0.0", "10.200.0.9"]}]
    assert len(found["services"]["elem"]) == 1 and found["services"]["cut"] == asked
    assert found["few"] == items[1]["set"] and found["ports"] == items[4]["map"]
    assert _netfilter.cut_sets("{" * (2 << 20), asked) == "{" * (2 << 20)


def test_the_language_of_the_node_reaches_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    seen = _netfilter.output(["/usr/bin/env"], Deadline(5)).splitlines()
    assert "LC_ALL=C" in seen and not any("de_DE" in line for line in seen)
