"""The faults that the lab can put in. A fault is one generator function: it breaks, yields, and heals.

A fault's generator lives in a process of its own between `fault` and `heal`, so its local variables are its memory.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.cluster import Lab
from lab.errors import LabError
from lab.faults.hold import heal as heal_held
from lab.faults.hold import inject as inject_held
from lab.modes import MODES
from lab.processes import wait_for

Generator = Callable[[Lab], Iterator[None]]
Question = tuple[str, str, int]


@dataclass(frozen=True)
class Modes:
    """The modes in which a fault can occur."""

    names: tuple[str, ...]
    otherwise: str  # why it cannot in the others


NO_IPV4 = "pods have no IPv4 addresses"
WITH_IPV4 = {name: mode for name, mode in MODES.items() if mode.ipv4}  # what does not say otherwise is about IPv4
EVERY = Modes(tuple(WITH_IPV4), NO_IPV4)
BGP = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.bird), "BIRD does not run")
BIRD_ROUTES = Modes(tuple(name for name in BGP.names if not MODES[name].felix_routes), "BIRD does not write the routes to other nodes")
FELIX_ROUTES = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.felix_routes), "Felix does not write the routes to other nodes")
MESH = Modes(tuple(name for name in BGP.names if not MODES[name].reflectors), "there is no mesh")
REFLECTORS = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.reflectors), "there is no route reflector")
IPV6 = Modes(tuple(name for name, mode in MODES.items() if mode.ipv6), "there is no IPv6")
TUNNEL = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.tunnel), "there is no tunnel")
IPIP = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.tunnel == "ipip"), "there is no tunl0")
CALICO = Modes(tuple(name for name, mode in WITH_IPV4.items() if not mode.flannel), "calico-node announces no address")
FELIX = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.backend), "Felix does not run")
ONE_SUBNET = Modes(tuple(name for name in FELIX.names if MODES[name].subnets == 1), "pods need no proxy ARP, or the node would lose the other subnet, too")
FLANNEL = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.flannel), "flanneld does not run")
FLANNEL_VXLAN = Modes(tuple(name for name in FLANNEL.names if MODES[name].device), "there is no flannel.1")
FLANNEL_HOSTGW = Modes(tuple(name for name in FLANNEL.names if not MODES[name].device), "flanneld does not check its routes, or does not run")
BRIDGED = Modes(tuple(name for name, mode in WITH_IPV4.items() if not mode.backend), "there is no cni0")
DIRECT = Modes(
    tuple(name for name, mode in WITH_IPV4.items() if not mode.tunnel and not mode.device and mode.subnets == 1), "a tunnel carries the packets between nodes"
)
VXLAN = Modes(tuple(name for name, mode in WITH_IPV4.items() if mode.tunnel == "vxlan"), "there is no vxlan.calico")


@dataclass(frozen=True)
class Fault:
    """A fault, and what a diagnosis of it must say."""

    name: str  # a cause, and after a dot its variant
    number: str  # of the catalogue of faults, like F01
    breaks: str  # the check that must find it
    node: str  # where the cause is
    objects: tuple[str, ...]  # what the cause names: an interface, an address, a route, a pod
    modes: Modes
    question: Question  # source, destination, port: what stops working
    run: Generator
    text: str
    works: bool | None = False  # True: a latent fault, the question's traffic still flows; None: it flows now and then
    only_bgp: bool = False  # latent where Felix writes the routes
    family: int = 4  # of the addresses that the question is about

    @property
    def cause(self) -> str:
        return self.name.partition(".")[0]

    @property
    def by_service(self) -> bool:
        """Is the question about a Service, or about DNS? No audit looks at these."""
        return self.question[1].startswith(("svc/", "dns/", "node/"))

    def works_in(self, mode: str) -> bool:
        """Does the question's traffic still flow?"""
        return bool(self.works) or (self.only_bgp and MODES[mode].felix_routes)

    def shows(self, lab: Lab) -> bool:
        """Does the question's traffic do what it should do with the fault in?"""
        if self.works is None:
            return True
        source, destination, port = self.question
        wanted = self.works_in(lab.mode)
        if self.by_service:
            return self._settles(lambda: bool(lab.connect(source, lab.service(destination), port)) == wanted)
        there = lab.pod(destination)
        told = lab.client.get("pods", there.name, there.namespace)["status"]["podIPs"]  # a fault can give a pod another address
        address = next(item["ip"] for item in told if (":" in item["ip"]) == (self.family == 6))
        return self._settles(lambda: (lab.connect(source, address, there.port) == destination) == wanted)

    def _settles(self, there: Callable[[], bool]) -> bool:
        try:  # routes may still be moving
            wait_for(there, f"{self.name} shows", SETTLES)
        except LabError:
            return False
        return True

    def why_not(self, mode: str) -> str:
        """Why it cannot occur in a mode; "" where it can."""
        if mode in self.modes.names:
            return ""
        return self.modes.otherwise if MODES[mode].ipv4 or self.family == 6 else NO_IPV4

    def inject(self, lab: Lab) -> None:
        """Break it, and return when the symptom is there."""
        if lab.mode not in self.modes.names:
            raise LabError(f"{self.name} cannot occur in the mode {lab.mode}: {self.why_not(lab.mode)}")
        inject_held(lab, self.name)

    def heal(self, lab: Lab) -> None:
        """Mend it, and return when the lab is healthy again. Works also if somebody has mended it already."""
        heal_held(lab, self.name)


SETTLES = 20.0  # seconds
_found: dict[str, Fault] = {}


def fault(
    name: str,
    *,
    number: str,
    breaks: str,
    question: Question,
    node: str = "k8s02",
    objects: tuple[str, ...] = (),
    modes: Modes = EVERY,
    works: bool | None = False,
    only_bgp: bool = False,
    family: int = 4,
) -> Callable[[Generator], Generator]:
    """Declare a fault."""

    def declare(run: Generator) -> Generator:
        if name in _found:
            raise LabError(f"two faults are called {name}")
        text = " ".join((run.__doc__ or "").split())
        _found[name] = Fault(name, number, breaks, node, objects, modes, question, run, text, works, only_bgp, family)
        return run

    return declare


def catalogue() -> list[Fault]:
    """Every fault of every module in this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_found.values(), key=lambda item: (item.number, item.name))


def find(name: str) -> Fault:
    """One fault by its name."""
    for item in catalogue():
        if item.name == name:
            return item
    raise LabError(f"there is no fault {name}; python -m lab faults lists them")
