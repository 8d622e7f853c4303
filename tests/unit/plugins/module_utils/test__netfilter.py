# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

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
    assert _netfilter.has_nf_tables(str(tmp_path)) is True  # no /proc/modules: nothing can be loaded
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "modules").write_text("veth 1 0 - Live\n")
    assert _netfilter.has_nf_tables(str(tmp_path)) is None
    folder = tmp_path / "lib" / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/veth.ko\n")
    assert _netfilter.has_nf_tables(str(tmp_path)) is False
    (tmp_path / "sys" / "module" / "nf_tables").mkdir(parents=True)
    assert _netfilter.has_nf_tables(str(tmp_path)) is True


def test_kernel_without_nf_tables_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: t.Any, **_options: t.Any) -> str:
        raise AssertionError("a program was started")

    monkeypatch.setattr(_netfilter, "has_nf_tables", lambda: False)
    monkeypatch.setattr(_netfilter, "read_file", lambda _path: None)
    monkeypatch.setattr(_netfilter, "output", never)
    assert _netfilter.read(Deadline(5)) == {"iptables": [], "nft": []}
    monkeypatch.setattr(_netfilter, "has_nf_tables", lambda: None)
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
    assert read(space) == {"iptables": [], "nft": [{"family": family, "name": name, "error": "nft is not installed"} for family, name in names]}
