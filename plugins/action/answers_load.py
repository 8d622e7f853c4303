# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import tempfile
import typing as t

from ansible import constants

from ansible_collections.podnet.doctor.plugins.plugin_utils import _store
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused

ARGUMENTS: dict[str, t.Any] = {**_store.OPTIONS, "question": {"type": "dict", "required": True}, "max_age": {"type": "float", "default": 3600.0}}


class ActionModule(ControllerAction):
    """Take the answers that other runs have kept."""

    SPEC = ARGUMENTS
    READS_OTHER_HOSTS = True

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        asked = arguments["question"]
        if not asked.get("audit") or asked.get("api"):
            raise Refused("kept answers are judged against the Kubernetes API, as an audit: question is not what that returned")
        since = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=arguments["max_age"])).replace(microsecond=0).isoformat()
        try:
            store = _store.store_of(arguments)
            if isinstance(store, _store.Folder):
                folder = str(store.path)
            else:
                folder = tempfile.mkdtemp(prefix="podnet-stored-", dir=constants.DEFAULT_LOCAL_TMP)
                _store.fetch(store, [str(node) for node in asked["nodes"]], folder)
        except (_store.StoreError, OSError) as exc:
            raise Refused(f"kept answers cannot be read: {exc}") from exc
        stored = _store.Stored(folder, since)
        lost = [node for node in asked["nodes"] if stored.answer(str(node))[0].get("stored") is False]
        if len(lost) == len(asked["nodes"]):
            why = stored.answer(str(lost[0]))[0]["why"] if lost else "the inventory has no node of the cluster"
            raise Refused(f"no node's answer is in the store; {lost[0] if lost else ''} {why}")
        told = {"stored": {"folder": folder, "since": since}, "answers": len(asked["nodes"]) - len(lost), "lost": len(lost)}
        return {**asked, **result, **told}
