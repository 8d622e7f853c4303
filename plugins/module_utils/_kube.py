# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes API in one place: what actions, plugin_utils and the module cluster_info use.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api, ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._kube_cluster import SECTIONS, read_cluster, sections_of
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import (
    ARGUMENT_SPEC,
    KubeError,
    Options,
    options_of,
    secrets,
)

__all__ = [
    "ARGUMENT_SPEC",
    "SECTIONS",
    "Api",
    "ApiError",
    "KubeError",
    "Options",
    "options_of",
    "read_cluster",
    "secrets",
    "sections_of",
]
