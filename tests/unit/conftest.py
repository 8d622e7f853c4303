# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes ``ansible_collections.podnet.doctor`` importable under plain pytest.

Under ``ansible-test units`` the collection loader is there already. Otherwise the repository is reached through
``build/collections/ansible_collections/podnet/doctor``, a link to its root that is made here when it is missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _collections_path() -> Path:
    if ROOT.parent.parent.name == "ansible_collections":
        return ROOT.parents[2]
    path = ROOT / "build" / "collections"
    link = path / "ansible_collections" / "podnet" / "doctor"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(os.path.relpath(ROOT, link.parent), target_is_directory=True)
        except FileExistsError:
            pass
    return path


def _install_loader() -> None:
    if any(type(finder).__name__ == "_AnsibleCollectionFinder" for finder in sys.meta_path):
        return
    from ansible.utils.collection_loader import _collection_finder

    _collection_finder._AnsibleCollectionFinder(paths=[str(_collections_path())])._install()  # pylint: disable=protected-access


_install_loader()


def _property_tests() -> None:
    """The same examples in every run, so that a red run is a change's fault; `make property` looks for new ones."""
    from hypothesis import settings

    settings.register_profile("podnet", deadline=None, derandomize="PODNET_EXPLORE" not in os.environ)
    settings.load_profile("podnet")


_property_tests()
