# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in of the operator: one setting, which it carries over and defends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lab.errors import LabError
from lab.plan import plan
from lab.tigera_operator import Operator, detection_of, method_of

METHODS = ["first-found", "kubernetes-internal-ip", "interface=eth.*", "skip-interface=br0", "can-reach=10.2.7.1", "cidr=10.2.7.0/24,10.2.8.0/24"]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_place_in_the_installation(method):
    assert method_of(detection_of(method)) == method


class Api:
    """What the operator needs of the API: an Installation, and a DaemonSet with another method and a variable of somebody's."""

    def __init__(self):
        self.env = [{"name": "IP", "value": "autodetect"}, {"name": "IP_AUTODETECTION_METHOD", "value": "can-reach=10.2.7.1"}]
        self.updated = []

    def get(self, resource, name, namespace="", group=""):
        if resource == "installations":
            return {"spec": {"calicoNetwork": {"nodeAddressAutodetectionV4": {"kubernetes": "NodeInternalIP"}}}, "status": {}}
        return {"spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": self.env}]}}}}

    def update(self, resource, body):
        self.updated.append(resource)

    def patch(self, resource, name, body, group="", part=""):
        assert (resource, part) == ("installations", "status")


def test_what_others_write_is_written_over():
    api = Api()
    operator = Operator(SimpleNamespace(client=api, description=plan("lab", "ipip", 3, operator=True)))
    operator.reconcile()
    wanted = {"name": "IP_AUTODETECTION_METHOD", "value": "kubernetes-internal-ip"}
    assert operator.agent.namespace == "calico-system" and api.updated == ["daemonsets"] and api.env == [{"name": "IP", "value": "autodetect"}, wanted]
    operator.reconcile()
    assert api.updated == ["daemonsets"], "it is as it must be"


@pytest.mark.parametrize("mode", ["flannel", "canal"])
def test_where_there_is_no_calico_node_there_is_no_operator(mode):
    with pytest.raises(LabError, match="there is no calico-node"):
        plan("lab", mode, 3, operator=True)
