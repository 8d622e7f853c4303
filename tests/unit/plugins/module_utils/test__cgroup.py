# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _cgroup

ID = "0069d5849019e69994ef604b982c6761d2825d2ef2fec68031d058dbade2792b"
UID = "fe9689c8-cb5c-4f39-9f1b-6c68482c7ed3"
UNDERSCORED = UID.replace("-", "_")


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/burstable/pod{UID}/{ID}",
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/docker-{ID}.scope",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/crio-{ID}.scope/container",
        f"/kubelet/kubepods/pod{UID}/{ID}",
        f"/system.slice/containerd.service/kubepods-besteffort-pod{UNDERSCORED}.slice:cri-containerd:{ID}",
        f"/k8s.io/kubepods/besteffort/pod{UID}/{ID}/init.scope",
    ],
)
def test_pod(path: str) -> None:
    assert _cgroup.container(f"0::{path}\n") == (ID, UID)
    assert _cgroup.container(f"12:pids:/\n3:cpu,cpuacct:{path}\n1:name=systemd:{path}\n") == (ID, UID)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None)),
        ("0::/\n", (None, None)),
        ("0::/user.slice/user-0.slice/session-2.scope\n", (None, None)),
        (f"0::/system.slice/docker-{ID}.scope\n", (ID, None)),
        (f"4:memory:/docker/{ID}\n", (ID, None)),
        (f"0::/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-conmon-{ID}.scope\n", (None, UID)),
        ("0::/kubepods/pod0123456789abcdef0123456789abcdef/" + ID, (ID, "0123456789abcdef0123456789abcdef")),
        (f"not a cgroup file /kubepods/pod{UID}/{ID}", (None, None)),
    ],
)
def test_other(text: str, expected: tuple[str | None, str | None]) -> None:
    assert _cgroup.container(text) == expected


@given(st.text() | st.lists(st.sampled_from(["0::", "/", ":", "pod", UID, ID, ".slice", "\n", "crio-"])).map("".join))
def test_property_total(text: str) -> None:
    container_id, pod_uid = _cgroup.container(text)
    assert container_id is None or _cgroup.is_container_id(container_id)
    assert pod_uid is None or "_" not in pod_uid
