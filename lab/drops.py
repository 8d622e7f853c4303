"""Packets of one flow between two pods thrown away at a chosen place: the requests, their answers, or everything.

The rules match bytes of the inner packet, so that they work on what a tunnel carries, too: in every table the header of the outermost packet
is where counting begins.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import Lab
from lab.errors import LabError
from lab.modes import MODES

TABLE = "lab_hop"
IPV4, OUTER = 20, {"": 0, "ipip": 20, "vxlan": 20 + 8 + 8 + 14}  # bytes before the inner header
PLACES = ("source pod", "source node", "source tunnel", "wire", "destination tunnel", "destination node", "destination pod")
IN_TUNNEL = ("source tunnel", "wire", "destination tunnel")  # packets are carried there, where there is a tunnel
WHAT = ("requests", "replies", "both")


def carried(lab: Lab, source: str, destination: str) -> str:
    """In what packets of the nodes the packets between two pods travel: "", ipip or vxlan."""
    mode = MODES[lab.mode]
    one, other = (lab.node(lab.pod(pod).node) for pod in (source, destination))
    if mode.cross_subnet and one.address.rpartition(".")[0] == other.address.rpartition(".")[0]:
        return ""
    return "vxlan" if mode.flannel == "vxlan" else mode.tunnel


def _bytes(begin: int, size: int, value: int, mask: int | None = None) -> str:
    return f"@nh,{begin * 8},{size * 8} " + (f"& {mask:#x} == " if mask is not None else "") + f"{value:#x}"


def _number(address: str) -> int:
    return int.from_bytes(bytes(map(int, address.split("."))), "big")


def _matches(begin: int, source: str, destination: str, answers: bool | None) -> list[str]:
    """Rules for what goes from one address to the other. answers: True: answers alone, False: requests alone, None: everything."""
    ends = f"{_bytes(begin + 12, 4, _number(source))} {_bytes(begin + 16, 4, _number(destination))}"
    if answers is None:
        return [ends]
    icmp = f"{ends} {_bytes(begin + 9, 1, 1)} {_bytes(begin + IPV4, 1, 0 if answers else 8)}"
    tcp = f"{ends} {_bytes(begin + 9, 1, 6)} {_bytes(begin + IPV4 + 13, 1, 0x10 if answers else 0, 0x10)}"  # ACK
    return [icmp, tcp]


def _rules(begin: int, what: str, source: str, destination: str) -> dict[bool, list[str]]:
    """True: rules for what goes there; False: for what comes back."""
    there = _matches(begin, source, destination, None if what == "both" else False) if what != "replies" else []
    back = _matches(begin, destination, source, None if what == "both" else True) if what != "requests" else []
    return {True: there, False: back}


def _nft(enter: list[str], text: str) -> None:
    done = subprocess.run([*enter, "nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"nft: {done.stderr.strip()}\n{text}")


@contextmanager
def dropped(lab: Lab, place: str, what: str, source: str, destination: str, chance: str = "") -> Iterator[None]:
    """While it lasts, what of the flow from one pod to the other comes to the place does not leave it. chance: a match of nft that says which of it."""
    one, other = lab.pod(source), lab.pod(destination)
    begin = OUTER[carried(lab, source, destination)] if place in IN_TUNNEL else 0
    rules = _rules(begin, what, one.address, other.address)
    near = place.startswith("source")
    families: tuple[str, ...] = ("ip",)
    if place == "wire":
        enter, families = ["ip", "netns", "exec", lab.description.fabric], ("bridge", "ip")
        hooks = {"forward": [*rules[True], *rules[False]]}
    elif place.endswith("pod"):
        enter = ["nsenter", f"--net=/proc/{lab.pod_pid(source if near else destination)}/ns/net", "--"]
        hooks = {"output": rules[near], "input": rules[not near]}
    else:
        enter = lab.enter((one if near else other).node)
        hooks = {"output": rules[near], "input": rules[not near]} if place.endswith("tunnel") else {"forward": [*rules[True], *rules[False]]}
    for family in families:
        chains = [
            f"chain {hook} {{ type filter hook {hook} priority 0; " + " ".join(f"{match} {chance} drop;" for match in matches) + " }"
            for hook, matches in hooks.items() if matches
        ]  # fmt: skip
        _nft(enter, f"table {family} {TABLE} {{\n" + "\n".join(chains) + "\n}\n")
    try:
        yield
    finally:
        for family in families:
            _nft(enter, f"delete table {family} {TABLE}\n")
