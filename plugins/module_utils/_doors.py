# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The small modules over the same collectors, for other people's runbooks.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _iptables, _links, _lookups, _neighbours, _netfilter, _node, _routes, _sandboxes
from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical_prefix
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._node_common import COMMON, FLOWS, load_pyroute2, need_root
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

FAMILY: dict[str, t.Any] = {"type": "str", "choices": ["inet", "inet6"]}
NAMES: dict[str, t.Any] = {"type": "list", "elements": "str"}
ROUTE_SPEC: dict[str, t.Any] = {
    "family": FAMILY,
    "table": {"type": "int"},
    "dst": {"type": "str"},
    "dev": {"type": "str"},
    "protocol": {"type": "str"},
    "flows": {"type": "list", "elements": "dict", "default": [], "options": {name: spec for name, spec in FLOWS.items() if name != "netns_of"}},
    **COMMON,
}
NEIGHBOR_SPEC: dict[str, t.Any] = {
    "family": FAMILY,
    "dev": {"type": "str"},
    "state": NAMES,
    "fdb": {"type": "bool", "default": False},
    "timeout": COMMON["timeout"],
}
NETFILTER_SPEC: dict[str, t.Any] = {"family": FAMILY, "table": {"type": "str"}, "chain": NAMES, "timeout": COMMON["timeout"]}
VETH_SPEC: dict[str, t.Any] = {"names": NAMES, **COMMON}
CALICO_SPEC: dict[str, t.Any] = {"bird_socket": {"type": "path"}, "timeout": COMMON["timeout"]}


def _read(module: AnsibleModule, read: t.Callable[[Deadline], dict[str, t.Any]]) -> None:
    """One reading within the deadline; what goes wrong is one sentence."""
    deadline = Deadline(module.params["timeout"])
    running = Running("read", lambda: read(deadline))
    running.wait(deadline.remaining())
    found = running.result()
    if set(found) == {"error"}:
        module.fail_json(msg=found["error"])
    module.exit_json(changed=False, **found)


def route_info(module: AnsibleModule) -> None:
    """Routes, rules and the kernel's look-ups."""
    options = module.params
    load_pyroute2(module)
    wanted = {canonical_prefix(options["dst"], family) for family in ("inet", "inet6")} - {None} if options["dst"] else None
    if options["dst"] and not wanted:
        module.fail_json(msg=f"dst: {options['dst']} is not an address or a prefix")

    def fits(route: dict[str, t.Any]) -> bool:
        devices = [route.get("dev"), *(hop["dev"] for hop in route.get("nexthops", []))]
        return (
            (wanted is None or route["dst"] in wanted)
            and (options["dev"] is None or options["dev"] in devices)
            and (options["protocol"] is None or route["protocol"] == options["protocol"])
        )

    def read(deadline: Deadline) -> dict[str, t.Any]:
        with Rtnetlink(deadline) as kernel:
            index = _links.indexes(_links.dump(kernel))
            families = (options["family"],) if options["family"] else ("inet", "inet6")
            routes = [route for route in _routes.read(kernel, index, families, options["table"]) if fits(route)]
            rules = [rule for rule in _links.rules(kernel) if rule["family"] in families]
            lookups = [_lookups.lookup(kernel, flow, index) for flow in options["flows"]]
        return {"routes": routes, "rules": rules, "lookups": lookups}

    _read(module, read)


def neighbor_info(module: AnsibleModule) -> None:
    """Neighbours and forwarding database."""
    options = module.params

    def read(deadline: Deadline) -> dict[str, t.Any]:
        with Rtnetlink(deadline) as kernel:
            index = _links.indexes(_links.dump(kernel))
            neighbours = [
                neighbour
                for neighbour in _neighbours.read(kernel, index)
                if options["family"] in (None, neighbour["family"])
                and options["dev"] in (None, neighbour["dev"])
                and (not options["state"] or set(options["state"]) & set(neighbour["state"]))
            ]
            found: dict[str, t.Any] = {"neighbours": neighbours}
            if options["fdb"]:
                found["fdb"] = [row for row in _neighbours.read_fdb(kernel, index) if options["dev"] in (None, row["ifname"])]
        return found

    _read(module, read)


def _inside(deadline: Deadline) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    with Rtnetlink(deadline) as kernel:
        payloads = _links.dump(kernel)
        index = _links.indexes(payloads)
        return _links.links(payloads, index), _links.addresses(kernel, index)


def _peer(link: dict[str, t.Any], sandbox: dict[str, t.Any], deadline: Deadline) -> dict[str, t.Any]:
    try:
        links, addresses = inside(_sandboxes.path_of(sandbox), lambda: _inside(deadline), deadline)
    except Exception as error:  # noqa: BLE001 - one pod's trouble is that pod's answer
        return {"error": sentence(error)}
    peer = next((other for other in links if other["ifindex"] == link.get("link_index")), None)
    if peer is None:
        return {"error": f"no link with the index {link.get('link_index')} in the network namespace {sandbox['netns']}"}
    peer["addresses"] = [f"{address['local']}/{address['prefixlen']}" for address in addresses if address["ifname"] == peer["ifname"]]
    return peer


def veth_info(module: AnsibleModule) -> None:
    """Host ends of veth pairs with what is at their other end."""
    options = module.params
    need_root(module, "the inside of network namespaces")
    load_pyroute2(module)

    def read(deadline: Deadline) -> dict[str, t.Any]:
        with Rtnetlink(deadline) as kernel:
            payloads = _links.dump(kernel)
            links = _links.links(payloads, _links.indexes(payloads))
            sandboxes = _sandboxes.read(kernel, Processes(check=deadline.check), links, deadline.check)
        by_nsid = {sandbox["nsid"]: sandbox for sandbox in sandboxes if sandbox["nsid"] is not None}
        veths = []
        for link in links:
            if link.get("linkinfo", {}).get("info_kind") != "veth" or (options["names"] and link["ifname"] not in options["names"]):
                continue
            sandbox = by_nsid.get(link.get("link_netnsid"))
            if sandbox is not None:
                link["sandbox"] = {name: sandbox[name] for name in ("netns", "nsid", "pids", "container_ids", "pod_uid") if name in sandbox}
                link["peer"] = _peer(link, sandbox, deadline)
            veths.append(link)
        return {"veths": veths, "missing": sorted(set(options["names"] or ()) - {link["ifname"] for link in veths})}

    _read(module, read)


def netfilter_info(module: AnsibleModule) -> None:
    """Packet filters, the rules of iptables taken apart."""
    options = module.params
    need_root(module, "the packet filter")

    def read(deadline: Deadline) -> dict[str, t.Any]:
        section = _netfilter.read(deadline)
        tables = section["nft"] if isinstance(section["nft"], list) else [section["nft"]]
        found: dict[str, t.Any] = {"chains": [], "rules": [], "nft": [table for table in tables if "name" in table]}
        sets = section["ipsets"] if isinstance(section["ipsets"], list) else []
        found["ipsets"] = [entry for entry in sets if options["family"] in (None, entry["family"])]
        servers = section["ipvs"] or []
        told = servers if isinstance(servers, list) else []
        found["ipvs"] = [server for server in told if options["family"] in (None, "inet6" if ":" in server["address"] else "inet")]
        unread = [part for part in (section["ipsets"], servers) if isinstance(part, dict)]
        found["errors"] = [entry["error"] for entry in (*section["iptables"], *tables, *unread) if "error" in entry]
        for entry in section["iptables"]:
            for name, table in _iptables.parse(entry.get("text", "")).tables.items():
                if options["family"] in (None, entry["family"]) and options["table"] in (None, name):
                    where = {"backend": entry["backend"], "family": entry["family"], "table": name}
                    for chain_name, chain in table.chains.items():
                        if not options["chain"] or chain_name in options["chain"]:
                            place = {**where, "chain": chain_name}
                            found["chains"].append({**place, "policy": chain.policy, "packets": chain.packets})
                            found["rules"] += [_rule(rule, table, place) for rule in chain.rules]
        return found

    _read(module, read)


def _rule(rule: _iptables.Rule, table: _iptables.Table, place: dict[str, t.Any]) -> dict[str, t.Any]:
    told = {name: getattr(rule, name) for name in ("line", "target", "packets", "bytes")}
    return {**place, **told, "understood": _iptables.understood(rule, table)}


def calico_node_info(module: AnsibleModule) -> None:
    """BIRD and Calico's daemons."""
    need_root(module, "BIRD's control socket")
    question = _node.Question(sections=("bird", "calico"), bird_socket=module.params["bird_socket"], timeout=module.params["timeout"])
    document = _node.Collector(question).read()
    module.exit_json(changed=False, bird=document["bird"], calico=document["calico"])
