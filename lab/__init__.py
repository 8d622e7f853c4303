"""A small Calico-like cluster of real parts in network namespaces, and its faults."""

from __future__ import annotations
