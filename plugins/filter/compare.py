# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.podnet.doctor.plugins.plugin_utils import _compare
from ansible_collections.podnet.doctor.plugins.plugin_utils._plain import plain


def _guarded(name: str, call: Callable[..., t.Any], *arguments: t.Any) -> t.Any:
    try:
        return call(*(plain(argument) for argument in arguments))
    except ValueError as exc:
        raise AnsibleFilterError(f"podnet.doctor.{name}: {exc}") from exc


def routes_diff(first: t.Any, second: t.Any) -> t.Any:
    """Routes of two nodes, or of one node at two times."""
    return _guarded("routes_diff", _compare.compare, first, second, "routes")


def neighbors_diff(first: t.Any, second: t.Any) -> t.Any:
    """Neighbour tables."""
    return _guarded("neighbors_diff", _compare.compare, first, second, "neighbours")


def peers_diff(first: t.Any, second: t.Any) -> t.Any:
    """BGP peers, as BIRD has them."""
    return _guarded("peers_diff", _compare.compare, first, second, "peers")


def links_diff(first: t.Any, second: t.Any) -> t.Any:
    """Links."""
    return _guarded("links_diff", _compare.compare, first, second, "links")


def expected_facts(cluster: t.Any, node: str) -> t.Any:
    """What must be true on a node."""
    return _guarded("expected_facts", _compare.expected, cluster, _name("expected_facts", node))


def unexpected(node: t.Any, cluster: t.Any, name: str) -> t.Any:
    """Where a node is not as it must be."""
    return _guarded("unexpected", _compare.differences, node, cluster, _name("unexpected", name))


def _name(filter_name: str, name: t.Any) -> str:
    if not isinstance(name, str) or not name:
        raise AnsibleFilterError(f"podnet.doctor.{filter_name}: give the Kubernetes name of the node, not {name!r}")
    return str(name)


class FilterModule:
    """The comparisons."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {
            "routes_diff": routes_diff,
            "neighbors_diff": neighbors_diff,
            "peers_diff": peers_diff,
            "links_diff": links_diff,
            "expected_facts": expected_facts,
            "unexpected": unexpected,
        }
