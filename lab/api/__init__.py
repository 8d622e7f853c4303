"""The lab's Kubernetes API: a real kube-apiserver, or an embedded emulator of it."""

from __future__ import annotations
