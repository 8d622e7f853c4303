"""A stand-in for the calico-node container: startup, confd, felix and node-services, around the real BIRD."""

from __future__ import annotations
