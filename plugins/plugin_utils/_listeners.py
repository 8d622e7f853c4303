# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what listens inside of a pod.

from __future__ import annotations

from collections.abc import Iterable

from ._documents import Documents
from ._json import NotCollected, as_mapping, objects, parse_address
from ._question import Question


def listening(documents: Documents, pair: Question) -> set[tuple[str, int]] | None:
    """(address, port) of the asked protocol on which the far pod listens; None where that was not read."""
    end = pair.destination
    if end.kind != "pod" or end.node is None:
        return None
    try:
        network = as_mapping(documents.sandbox_of(end.node, end.label, end.ifname).get("network"))
    except NotCollected:
        return None
    if not isinstance(network.get("listeners"), list):
        return None
    found = objects(network["listeners"])
    return {(str(one.get("address")), int(one["port"])) for one in found if one.get("protocol") == pair.protocol and isinstance(one.get("port"), int)}


def served(found: Iterable[tuple[str, int]], address: str) -> set[int]:
    """The ports that a packet to the address meets: of sockets that take from everywhere, or at this address."""
    result = set()
    for held, port in found:
        parsed = parse_address(held)
        mapped = getattr(parsed, "ipv4_mapped", None)
        if parsed is not None and (parsed.is_unspecified or (mapped is not None and mapped.is_unspecified) or parsed == parse_address(address)):
            result.add(port)
    return result
