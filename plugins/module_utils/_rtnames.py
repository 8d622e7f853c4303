# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers of rtnetlink and the words that ``ip`` prints for them.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

FAMILIES = {2: "inet", 10: "inet6"}
NUMBERS = {"inet": 2, "inet6": 10}
AF_BRIDGE = 7
ROUTE_TYPES = {
    0: "none",
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
    10: "nat",
    11: "xresolve",
}
PROTOCOLS = {  # iproute2's etc/iproute2/rt_protos
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    18: "keepalived",
    42: "babel",
    99: "openr",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
ROUTE_FLAGS = {
    0x1: "dead",
    0x4: "onlink",
    0x2: "pervasive",
    0x8: "offload",
    0x40: "trap",
    0x100: "notify",
    0x10: "linkdown",
    0x20: "unresolved",
    0x4000: "rt_offload",
    0x8000: "rt_trap",
    0x20000000: "rt_offload_failed",
}
NEIGHBOUR_STATES = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
NEIGHBOUR_FLAGS = {0x80: "router", 0x08: "proxy", 0x10: "extern_learn", 0x20: "offload"}
FDB_FLAGS = {0x02: "self", 0x80: "router", 0x10: "extern_learn", 0x20: "offload", 0x04: "master", 0x40: "sticky"}
LINK_FLAGS = {
    0x8: "LOOPBACK",
    0x2: "BROADCAST",
    0x10: "POINTOPOINT",
    0x1000: "MULTICAST",
    0x80: "NOARP",
    0x200: "ALLMULTI",
    0x100: "PROMISC",
    0x400: "MASTER",
    0x800: "SLAVE",
    0x4: "DEBUG",
    0x4000: "DYNAMIC",
    0x2000: "AUTOMEDIA",
    0x8000: "PORTSEL",
    0x20: "NOTRAILERS",
    0x1: "UP",
    0x10000: "LOWER_UP",
    0x20000: "DORMANT",
    0x40000: "ECHO",
}
LINK_TYPES = {
    1: "ether",
    32: "infiniband",
    512: "ppp",
    768: "ipip",
    769: "tunnel6",
    772: "loopback",
    776: "sit",
    778: "gre",
    823: "gre6",
    519: "rawip",
    65534: "none",
}
OPERSTATES = {0: "UNKNOWN", 1: "NOTPRESENT", 2: "DOWN", 3: "LOWERLAYERDOWN", 4: "TESTING", 5: "DORMANT", 6: "UP"}
ADDRESS_FLAGS = {
    0x01: "secondary",
    0x02: "nodad",
    0x04: "optimistic",
    0x08: "dadfailed",
    0x10: "home",
    0x20: "deprecated",
    0x40: "tentative",
    0x80: "dynamic",  # the inverted IFA_F_PERMANENT
    0x100: "mngtmpaddr",
    0x200: "noprefixroute",
    0x400: "autojoin",
    0x800: "stable-privacy",
}
RULE_ACTIONS = {0: "unspec", 1: "to_tbl", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}


def name(names: dict[int, str], number: int) -> str:
    """The word for a number, or the number itself as text."""
    return names.get(number) or str(number)


def words(names: dict[int, str], mask: int) -> list[str]:
    """The words for the bits that are set."""
    return [word for bit, word in names.items() if mask & bit]
