# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each change of settings and daemons, and how changes are carried out and taken back."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _netfilter, _repairs, _steps
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused
from ansible_collections.podnet.doctor.tests.unit.small_node import NOTHING, Node

FORWARDING = {"path": "net/ipv4/ip_forward", "value": "1", "persistent": True}


@pytest.fixture
def node(namespaces: t.Any) -> Node:
    return Node(namespaces())


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("x", "the parameter steps is missing"),
        (["x"], "the parameter steps is missing"),
        ([{"sysctl": "kernel/panic", "value": "1"}], "kernel/panic=1 is not a setting that a repair changes"),
        ([{"netlink": 36, "flags": 0, "body": ""}], "36 is not a change that a repair makes"),
        ([{"netlink": 16, "flags": 0, "body": "xx"}], "a step of the way back cannot be read"),
        ([{"bird": "/run/x", "command": "down"}], "None is not a change that a repair makes"),
    ],
)
def test_what_is_no_way_back(node: Node, steps: t.Any, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        node.take_back(steps)


def test_sysctls(node: Node) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "0")
    node.twice("set_sysctl", "net.ipv4.ip_forward = 0", "net.ipv4.ip_forward = 1", path="net/ipv4/ip_forward", value="1")
    node.space.sysctl("net/ipv4/conf/br0/proxy_arp", "0")
    node.twice("set_sysctl", "net.ipv4.conf.br0.proxy_arp = 0", "net.ipv4.conf.br0.proxy_arp = 1", path="net/ipv4/conf/br0/proxy_arp", value="1")
    assert "cannot be read: No such file" in node.refused("set_sysctl", path="net/ipv4/conf/nowhere/proxy_arp", value="1")


@pytest.fixture
def kept_file(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    path = tmp_path / "99-podnet-doctor.conf"
    for module in (_repairs, _steps):
        monkeypatch.setattr(module, "KEPT_SETTINGS", str(path))
    return path


def test_a_setting_outlives_a_boot_where_that_was_asked_for(node: Node, kept_file: t.Any) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "0")
    assert node.do("set_sysctl", check=True, **FORWARDING)["changed"] and not kept_file.exists()
    done = node.do("set_sysctl", **FORWARDING)
    assert done["before"] == f"net.ipv4.ip_forward = 0; net.ipv4.ip_forward not in {kept_file}"
    assert done["after"] == f"net.ipv4.ip_forward = 1; net.ipv4.ip_forward = 1 in {kept_file}"
    assert kept_file.read_text() == f"{_steps.HEADER}net.ipv4.ip_forward = 1\n" and kept_file.stat().st_mode & 0o777 == 0o644
    assert node.do("set_sysctl", **FORWARDING) == NOTHING
    assert node.take_back(json.loads(json.dumps(done["back"])))["changed"] and not kept_file.exists()
    assert node.space.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "0"


def test_what_was_kept_before_stays(node: Node, kept_file: t.Any) -> None:
    node.space.sysctl("net/ipv4/ip_forward", "1")
    kept_file.write_text("net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 0\n")
    done = node.do("set_sysctl", **FORWARDING)
    assert kept_file.read_text() == "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 1\n"
    node.take_back(done["back"])
    assert kept_file.read_text() == "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.ip_forward = 0\n"


def test_what_is_made_anew_with_its_interface_cannot_be_kept(node: Node, kept_file: t.Any) -> None:
    assert "no file can keep it" in node.refused("set_sysctl", path="net/ipv4/conf/br0/proxy_arp", value="1", persistent=True)
    node.space.sysctl("net/ipv4/conf/all/rp_filter", "1")
    assert node.do("set_sysctl", path="net/ipv4/conf/all/rp_filter", value="0", persistent=True)["changed"]


@pytest.mark.parametrize("text", ["kernel.panic = 1\n", "net.ipv4.ip_forward = 1 # and\n", "net.ipv4.conf.br0.proxy_arp = 1\n", 7, None])
def test_a_way_back_writes_only_settings_into_the_file(node: Node, kept_file: t.Any, text: t.Any) -> None:
    with pytest.raises(Refused, match="is not a setting that a repair keeps"):
        node.take_back([{"kept": text}])
    assert not kept_file.exists()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kernel/panic", "1"),
        ("net/ipv4/ip_forward/../../../kernel/panic", "1"),
        ("net/ipv4/conf/../../../kernel/proxy_arp", "1"),
        ("net/ipv4/conf/eth0/accept_local", "1"),
        ("net/ipv4/ip_forward", "3"),
        ("net/netfilter/nf_conntrack_max", "0"),
        ("net/netfilter/nf_conntrack_max", "99999999"),
        ("net/ipv4/neigh/default/gc_thresh4", "4096"),
        ("net/ipv4/ip_forward", "1\n"),
        ("net/ipv4/ip_forward\n", "1"),
        ("/etc/passwd", "1"),
    ],
)
def test_other_settings_are_none_of_its_business(path: str, value: str) -> None:
    with pytest.raises(Refused, match="is not a setting that a repair changes"):
        _repairs.set_sysctl(t.cast("t.Any", None), {"path": path, "value": value})


@pytest.mark.parametrize(
    ("remedy", "parameters", "sentence"),
    [
        ("delete_address", {"ifname": "br0"}, "the parameter address is missing"),
        ("delete_address", {"ifname": "br0", "address": "junk"}, "junk is no address with a prefix length"),
        ("delete_link", {"ifname": ""}, "the parameter ifname is missing"),
        ("delete_route", {"route": "default"}, "the parameter route is missing"),
        ("delete_neighbour", {"dst": "10.0.0.1"}, "the parameter dev is missing"),
        ("set_sysctl", {"path": "net/ipv4/ip_forward", "value": 1}, "the parameter value is missing"),
    ],
)
def test_what_must_be_given(remedy: str, parameters: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        _repairs.REMEDIES[remedy](t.cast("t.Any", None), parameters)


def test_limits_are_only_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_repairs, "read_setting", lambda _path: "262144")
    wanted = {"path": "net/netfilter/nf_conntrack_max", "value": "524288"}
    state = _repairs.set_sysctl(t.cast("t.Any", None), wanted)
    assert (state.before, state.after) == ("net.netfilter.nf_conntrack_max = 262144", "net.netfilter.nf_conntrack_max = 524288")
    assert state.back == [{"sysctl": wanted["path"], "value": "262144"}]
    assert _repairs.set_sysctl(t.cast("t.Any", None), {**wanted, "value": "131072"}) == _repairs.AS_IT_MUST_BE


@pytest.mark.parametrize("path", ["net/netfilter/nf_conntrack_max", "net/ipv4/neigh/default/gc_thresh3"])
def test_a_limit_of_the_whole_kernel(path: str) -> None:
    """No namespace has one of its own, so this machine's is raised by one, and taken back."""
    file, name = pathlib.Path("/proc/sys", path), path.replace("/", ".")
    if not os.access(file, os.W_OK):
        pytest.skip(f"{file} cannot be written here")
    was = file.read_text(encoding="ascii")
    wanted = {"path": path, "value": str(int(was) + 1)}
    shown = {"changed": True, "before": f"{name} = {was.strip()}", "after": f"{name} = {wanted['value']}"}
    try:
        assert _repairs.carry_out("set_sysctl", wanted, Deadline(10), True) == {**NOTHING, **shown}
        assert file.read_text(encoding="ascii") == was, "check mode only looks"
        done = _repairs.carry_out("set_sysctl", wanted, Deadline(10), False, 60)
        assert done["guard"] and shown.items() <= done.items() and file.read_text(encoding="ascii").strip() == wanted["value"]
        assert _repairs.carry_out("set_sysctl", wanted, Deadline(10), False, 60) == NOTHING
        assert _repairs.take_back({"steps": done["back"], "guard": done["guard"]}, Deadline(10), False)["changed"]
        assert file.read_text(encoding="ascii") == was
    finally:
        file.write_text(was, encoding="ascii")


def test_one_tracked_flow(node: Node) -> None:
    node.space.run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    for port in ("40053", "40054"):
        flow = ["-p", "udp", "-s", "10.253.1.5", "-d", "10.96.0.10", "--sport", port, "--dport", "53"]
        reply = ["-r", "10.253.9.9", "-q", "10.253.1.5", "--reply-port-src", "53", "--reply-port-dst", port]
        done = node.space.run("conntrack", "-I", *flow, *reply, "-t", "600")
        if done.returncode:
            pytest.skip(f"no entry can be made here: {done.stderr}")
    mine = {"src": "10.253.1.5", "dst": "10.96.0.10", "sport": 40053, "dport": 53, "gone": "10.253.9.9"}
    assert node.do("delete_connection", **{**mine, "gone": "10.253.9.8"}) == NOTHING, "it leads elsewhere by now"
    node.twice("delete_connection", "udp 10.253.1.5:40053 to 10.96.0.10:53 answered by 10.253.9.9", back=False, **mine)
    left = node.space.run("conntrack", "-L", "-p", "udp").stdout
    assert "sport=40054" in left and "sport=40053" not in left
    assert "sport and dport must be ports" in node.refused("delete_connection", **{**mine, "sport": "40053"})
    assert "x is no address" in node.refused("delete_connection", **{**mine, "gone": "x"})


@pytest.fixture
def taken_from_network_manager(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """The file, and an nmcli that counts how often it was called."""
    path, bin_folder = tmp_path / "conf.d" / "99-podnet-doctor.conf", tmp_path / "bin"
    path.parent.mkdir()
    bin_folder.mkdir()
    (bin_folder / "nmcli").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
    (bin_folder / "nmcli").chmod(0o755)
    monkeypatch.setattr(_netfilter, "PATH", f"{bin_folder}:/usr/bin:/bin")
    for module in (_steps, _repairs):
        monkeypatch.setattr(module, "UNMANAGED_FILE", str(path))
    return path


def test_interfaces_are_taken_from_network_manager(node: Node, taken_from_network_manager: t.Any, tmp_path: t.Any) -> None:
    path = taken_from_network_manager
    assert node.do("leave_unmanaged", check=True, interfaces=["cali*"])["changed"] and not path.exists()
    done = node.do("leave_unmanaged", interfaces=["cali*", "tunl*"])
    assert path.read_text().endswith("[keyfile]\nunmanaged-devices+=interface-name:cali*;interface-name:tunl*\n")
    assert "general reload" in (tmp_path / "asked").read_text()
    assert not node.do("leave_unmanaged", interfaces=["cali*", "tunl*"])["changed"]
    assert node.take_back(json.loads(json.dumps(done["back"])))["changed"] and not path.exists()


def test_a_network_manager_that_does_not_let_go(node: Node, taken_from_network_manager: t.Any, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another of its files has the last word: ours goes again."""
    (tmp_path / "bin" / "nmcli").write_text("#!/bin/sh\nprintf 'GENERAL.DEVICE:cali1\\nGENERAL.NM-MANAGED:yes\\n'\n")
    monkeypatch.setattr(_steps, "LETS_GO", 0.3)
    with pytest.raises(OSError, match="does not let go"):
        node.do("leave_unmanaged", interfaces=["cali*"])
    assert not taken_from_network_manager.exists()


@pytest.mark.parametrize("names", [[], ["eth0"], ["cali*", "*"], ["cali*;interface-name:eth0"]])
def test_nothing_else_is_taken_from_it(node: Node, taken_from_network_manager: t.Any, names: t.Any) -> None:
    assert "not interfaces of a pod network" in node.refused("leave_unmanaged", interfaces=names)
    text = _steps.UNMANAGED_HEADER + ";".join(f"interface-name:{name}" for name in names) + "\n"
    with pytest.raises(_steps.Refused):
        node.take_back([{"unmanaged": text}])
    assert not taken_from_network_manager.exists()
