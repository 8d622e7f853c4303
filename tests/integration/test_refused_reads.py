# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EACCES and ENOSYS at each read of the collectors on a real node, one at a time: what could not be read is an error, never another fact."""

from __future__ import annotations

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the document may simply lack: then a check that needs it is not checked.
LACKING = re.compile(
    r"sysctls\S* is gone"
    r"|\S*\.sysctls\S* is gone"
    r"|calico\.\w+\.started_at is gone"
    r"|(identity\.(machine_id|system_uuid|boot_id)|calico\.(nodename|mtu)): .* became null"
    r'|netfilter\.iptables: .* became .*\{"error": true\}.*'
)


def test_a_refused_read_is_never_another_fact(lab):
    pod = lab.pod("shop/web-0")
    question = {"pods": [{"uid": pod.uid}], "flows": [{"dst": lab.pod("shop/api-0").address}, {"dst": "169.254.1.1", "netns_of": pod.uid}]}
    script = ROOT / "tests" / "integration" / "refused_reads.py"
    lab.run(pod.node, "iptables-nft", "-P", "FORWARD", "ACCEPT")  # makes the table that any iptables on a node leaves
    told = json.loads(lab.run(pod.node, "/usr/bin/python3", str(script), str(ROOT / "build" / "collections"), json.dumps(question)))
    reads = {entry["read"] for entry in told}
    assert len(reads) > 50 and {"list /proc", "link /proc/N/ns/net"} < reads, "the refusals stand before the reads"
    wrong = {f"{entry['read']} {entry['errno']}": bad for entry in told if (bad := [d for d in entry["differences"] if not LACKING.fullmatch(d)])}
    assert wrong == {}
    assert any(entry["differences"] for entry in told), "a refusal is felt"
