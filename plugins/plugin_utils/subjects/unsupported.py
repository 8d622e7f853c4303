# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What this version has no model of: it is told, and neither called right nor wrong.

from __future__ import annotations

import typing as t

from .._catalogue import check, expects
from .._cluster import Cluster
from .._dataplane import unmodelled
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@expects("dataplane")
def dataplanes(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for node in scope.core:
        yield Fact("dataplane", node, value="Linux, forwarding by the kernel's routes")


@check("dataplane.unmodelled", fact="dataplane")
def dataplane_is_modelled(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    found = unmodelled(documents.cluster, fact.node)
    if found:
        raise NotCollected(f"{fact.node}: {'; '.join(one.reason for one in found)}")
    raise NotApplicable("neither Windows, nor eBPF, nor WireGuard")
