# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: routes as an operator would see them.

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ._fib import MAIN_TABLE
from ._json import IPNetwork, Json, objects, parse_network

if t.TYPE_CHECKING:
    from ._documents import NodeFacts

# rtnetlink protocols that routes of Calico carry: BIRD's and Felix's (dataplane_defs.go)
OWN_PROTOCOLS = ("bird", "80")
CALICO_DEVICES = ("tunl0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali", "lo")


def hops(route: Mapping[str, Json]) -> list[tuple[str | None, str | None]]:
    """(gateway, device) of each next hop."""
    listed = objects(route.get("nexthops")) or [route]
    return [(hop.get("gateway"), hop.get("dev")) for hop in listed]


def prefix_text(prefix: Json) -> str:
    """A prefix as `ip route` prints it."""
    text = str(prefix)
    if text in ("0.0.0.0/0", "::/0"):
        return "default"
    for full in ("/32", "/128"):
        if text.endswith(full) and (":" in text) == (full == "/128"):
            return text[: -len(full)]
    return text


def route_line(route: Mapping[str, Json]) -> str:
    """One route as `ip route` prints it."""
    words = [] if route.get("type") in (None, "unicast") else [str(route["type"])]
    words.append(prefix_text(route.get("dst")))
    for gateway, device in hops(route) if not route.get("nexthops") else []:
        words += ["via", str(gateway)] if gateway else []
        words += ["dev", str(device)] if device else []
    if route.get("table") not in (None, MAIN_TABLE):
        words += ["table", str(route["table"])]
    if route.get("protocol") not in (None, "boot"):
        words += ["proto", str(route["protocol"])]
    if route.get("scope") not in (None, "global"):
        words += ["scope", str(route["scope"])]
    if route.get("prefsrc"):
        words += ["src", str(route["prefsrc"])]
    if route.get("metric"):
        words += ["metric", str(route["metric"])]
    words += [str(flag) for flag in route.get("flags") or [] if flag == "onlink"]
    for hop in objects(route.get("nexthops")):
        words += ["nexthop"] + (["via", str(hop["gateway"])] if hop.get("gateway") else []) + ["dev", str(hop.get("dev"))]
    return " ".join(words)


def foreign_routes(facts: NodeFacts) -> list[tuple[IPNetwork, Mapping[str, Json]]]:
    """Routes of table main that neither BIRD, nor Felix, nor the CNI plugin wrote; connected networks are among them."""
    result: list[tuple[IPNetwork, Mapping[str, Json]]] = []
    for route in facts.main_routes.having(("protocol",), lambda writer: writer not in OWN_PROTOCOLS):
        network = parse_network(route.get("dst"))
        if network is not None and network.prefixlen:
            devices = [str(device) for _gateway, device in hops(route)]
            if not any(device.startswith("cali") or (device in CALICO_DEVICES and route.get("type") == "unicast") for device in devices):
                result.append((network, route))
    return result
