# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import ApiError
from ansible_collections.podnet.doctor.plugins.plugin_utils import _lock

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.timezone.utc)


class Leases:
    """One lease as the API server keeps it: an update of an older version is a conflict."""

    def __init__(self, refuse: int = 0) -> None:
        self.lease, self.version, self.refuse = None, 0, refuse

    def get_json(self, _path):
        if self.refuse:
            raise ApiError("no", self.refuse)
        if self.lease is None:
            raise ApiError("none", 404)
        return {**self.lease, "metadata": {"resourceVersion": str(self.version)}}

    def request(self, method, _path, body):
        if method == "POST" and self.lease is not None:
            raise ApiError("there is one", 409)
        if method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError("changed", 409)
        self.lease, self.version = body, self.version + 1
        return body


def test_a_second_one_waits_until_the_first_gives_it_back():
    api = Leases()
    _lock.take(api, "ann", 60, NOW)
    with pytest.raises(_lock.Held, match="ann repairs this cluster now"):
        _lock.take(api, "bob", 60, NOW)
    _lock.take(api, "ann", 60, NOW)
    assert not _lock.give_back(api, "bob") and _lock.give_back(api, "ann")
    _lock.take(api, "bob", 60, NOW)
    assert api.lease["spec"]["holderIdentity"] == "bob"


def test_a_lock_ends_by_itself():
    api = Leases()
    _lock.take(api, "ann", 60, NOW)
    _lock.take(api, "bob", 60, NOW + datetime.timedelta(seconds=61))
    assert api.lease["spec"]["holderIdentity"] == "bob"


def test_whoever_is_slower_is_refused():
    api = Leases()
    _lock.take(api, "ann", 1, NOW)
    real = api.get_json

    def quicker(path):
        seen = real(path)
        api.version += 1
        return seen

    api.get_json = quicker
    with pytest.raises(_lock.Held, match="just now"):
        _lock.take(api, "bob", 60, NOW + datetime.timedelta(seconds=5))


@pytest.mark.parametrize("status", [403, 405])
def test_without_the_right_to_leases_it_is_said(status):
    with pytest.raises(_lock.Unlocked, match="leases in kube-system"):
        _lock.take(Leases(status), "ann", 60, NOW)


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": "x"}, {"holderIdentity": "x", "leaseDurationSeconds": 9, "renewTime": "soon"}, None])
def test_a_lease_that_makes_no_sense_locks_nobody_out(spec):
    api = Leases()
    api.lease = {"spec": spec}
    _lock.take(api, "ann", 60, NOW)
    assert api.lease["spec"]["holderIdentity"] == "ann"
