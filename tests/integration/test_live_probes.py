# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What else a run with packets tells: the grid, a connection that is there already, a file for Wireshark, a watch."""

from __future__ import annotations

import shutil
import socket
import subprocess
import zipfile

import pytest

from lab import kernel

SOURCE, DESTINATION, PORT = "shop/web-2", "shop/web-0", 8080


@pytest.fixture
def tracking(lab):
    """Rules that count, so that the kernels of both nodes track connections."""
    rule = ["FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED"]
    nodes = [lab.pod(pod).node for pod in (SOURCE, DESTINATION)]
    for node in nodes:
        lab.run(node, "iptables", "-I", *rule)
    yield
    for node in nodes:
        lab.run(node, "iptables", "-D", *rule)


@pytest.fixture
def connection(lab, tracking):
    """A connection from one pod to the other, of which both nodes have seen packets both ways."""
    with kernel.in_netns(f"/proc/{lab.pod_pid(SOURCE)}/ns/net"):
        made = socket.socket(socket.AF_INET)
    with made:
        made.settimeout(5)
        made.connect((lab.pod(DESTINATION).address, PORT))
        (source, sport), (destination, dport) = made.getsockname(), made.getpeername()
        yield f"tcp/{source}:{sport}-{destination}:{dport}"


@pytest.fixture
def closed_to_new(lab):
    """The node of the destination drops what begins a connection, and lets pass what belongs to one."""
    node, rule = lab.pod(DESTINATION).node, ["FORWARD", "-p", "tcp", "--dport", str(PORT), "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP"]
    lab.run(node, "iptables", "-I", *rule)
    yield node
    lab.run(node, "iptables", "-D", *rule)


def test_an_old_flow_lives_and_a_new_one_would_not(site, connection, closed_to_new):
    bundle = site.folder / "bundle.zip"
    run = site.diagnose(flow=connection, source="", destination="", podnet_pcap=True, podnet_trace=True, podnet_bundle=str(bundle))
    report = run.report
    assert (report["question"]["flow"], report["verdict"]["outcome"]) == (connection, "broken")
    flow = report["flow"]
    assert (flow["established"], flow["new"]) == ("works", "timeout")
    assert {entry["entry"]["state"] for entry in flow["nodes"]} == {"ESTABLISHED"}
    assert "It lives, and a new one is dropped" in " ".join(run.screen.split())

    cells = {cell["cell"]: cell for cell in report["grid"]["cells"]}
    assert {name: cells[name]["outcome"] for name in ("pod-pod", "near-pod", "far-pod", "pod-near", "near-far")} == {
        "pod-pod": "silent", "near-pod": "silent", "far-pod": "answered", "pod-near": "answered", "near-far": "answered"
    }  # fmt: skip
    assert report["grid"]["nodes"] == ["k8s03", "k8s01"]
    assert any(rule["node"] == closed_to_new and "--ctstate NEW -j DROP" in rule["rule"] and rule["packets"] >= 3 for rule in report["rules"])

    traced = {entry["node"]: entry for entry in report["trace"]}
    ended = [rule for rule in traced[closed_to_new]["rules"] if rule["verdict"] == "drop"]
    assert [(rule["direction"], rule["protocol"], rule["kind"], rule["chain"]) for rule in ended] == [("forward", "tcp", "request", "FORWARD")]
    assert ended[0]["packets"] >= 3 and f"dport {PORT}" in ended[0]["rule"]  # with those that the kernel sends again
    assert f"dropped {ended[0]['packets']} tcp requests (forward)" in " ".join(run.screen.split())
    assert "podnet_doctor_trace" not in site.lab.run(closed_to_new, "nft", "list", "tables")

    (packets,) = (site.folder / "reports").glob("*.pcapng")
    with zipfile.ZipFile(bundle) as archive:
        assert archive.read("packets.pcapng") == packets.read_bytes()
    if shutil.which("tcpdump"):
        done = subprocess.run(["tcpdump", "-nr", str(packets), "icmp"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{site.lab.pod(SOURCE).address} > {site.lab.pod(DESTINATION).address}: ICMP echo request" in done.stdout


def test_a_watch_of_a_healthy_path_is_silent(site):
    run = site.diagnose(SOURCE, f"{DESTINATION}:{PORT}", watch=11, grid="false")
    watch = run.report["watch"]
    assert (watch["echoes"]["sent"], watch["echoes"]["replied"], watch["echoes"]["lost"]) == (55, 55, [])
    assert watch["flows"]["failing"] == [] and "grid" not in run.report
    assert run.screen.count("WATCHING") == 2
    assert run.report["verdict"]["outcome"] == "healthy" and run.report["findings"] == []
