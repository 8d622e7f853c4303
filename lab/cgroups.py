"""The cgroups that pods' processes live in, named as kubelet and containerd name them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from lab.plan import Description, Pod, mark

MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu", "systemd")


def unified() -> Path | None:
    """Where the version 2 hierarchy is mounted."""
    for place in (MOUNT, MOUNT / "unified"):
        if (place / "cgroup.controllers").exists():
            return place
    return None


def legacy() -> list[Path]:
    """The version 1 hierarchies that a container runtime would use."""
    return [MOUNT / name for name in CONTROLLERS if (MOUNT / name / "cgroup.procs").exists() and not (MOUNT / "cgroup.controllers").exists()]


def paths(pod: Pod, container: str) -> list[Path]:
    """The folders of one container, in each hierarchy that it has one in."""
    if pod.cgroups == "systemd":
        uid = pod.uid.replace("-", "_")
        name = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{container}.scope"
        new = unified()
        return [new / name] if new else [place / name for place in legacy()]
    name = f"kubepods/burstable/pod{pod.uid}/{container}"
    old = legacy()
    new = unified()
    return [place / name for place in old] if old else [new / name] if new else []


def join(pod: Pod, container: str) -> None:
    """Move this process into the container's cgroups."""
    for path in paths(pod, container):
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").write_text("0", encoding="ascii")


def pids(pod: Pod, container: str) -> list[int]:
    """The container's processes, as this PID namespace numbers them."""
    for path in paths(pod, container)[:1]:
        try:
            return [int(line) for line in (path / "cgroup.procs").read_text(encoding="ascii").split()]
        except OSError:
            break
    return []


def _remove(path: Path) -> None:
    for _turn in range(50):
        try:
            path.rmdir()
        except FileNotFoundError:
            break
        except OSError:
            time.sleep(0.02)  # the last process is just leaving
        else:
            break
    for parent in path.parents:
        if not parent.name.startswith(("kubepods", "burstable", "pod")):
            break
        try:
            parent.rmdir()
        except OSError:
            break


def remove(pod: Pod) -> None:
    """Remove a pod's cgroups; its processes must be gone."""
    for container in (pod.sandbox, pod.container):
        for path in paths(pod, container):
            _remove(path)


def leftovers(name: str) -> Iterator[Path]:
    """Every cgroup of a lab, found by its containers' ids."""
    ending = mark(name)
    new = unified()
    for place in [*legacy(), *([new] if new else [])]:
        for pattern in (f"kubepods/burstable/pod*/*{ending}", f"kubepods.slice/kubepods-burstable.slice/*/cri-containerd-*{ending}.scope"):
            yield from map(Path, glob(f"{place}/{pattern}"))  # pathlib's fails where another lab goes at the same moment


def remove_all(lab: Description | str) -> None:
    """Remove every cgroup of a lab."""
    for path in list(leftovers(lab if isinstance(lab, str) else lab.name)):
        _remove(path)
