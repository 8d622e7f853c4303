"""NetworkManager, which takes what it finds for its own. It is the real one, on a bus of its own."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import FELIX, fault
from lab.faults.steps import started, stop
from lab.processes import send, wait_for

BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>
"""
MAIN = "[main]\nplugins=keyfile\ndns=none\nrc-manager=unmanaged\n"  # as a RHEL or Ubuntu server has it, but that the lab has udev for nobody
# NetworkManager asks udev about each interface unless /sys is read-only, as in a container
START = "mount -o remount,bind,ro /sys && exec NetworkManager --no-daemon"


@fault("networkmanager_manages_cali", number="F09", breaks="networkmanager.manages", question=("shop/web-0", "shop/web-1", 8080),
       modes=FELIX, works=None)  # fmt: skip
def managed(lab: Lab) -> Iterator[None]:
    """NetworkManager of k8s02 manages the interfaces of its pods: it asks for an address by DHCP on each, and takes their routes away."""
    node = "k8s02"
    others = [link["ifname"] for link in json.loads(lab.run(node, "ip", "-j", "link")) if not link["ifname"].startswith("cali")]
    lab.run(node, "sh", "-c", 'rm -rf /etc/NetworkManager; mkdir -p /etc/NetworkManager/conf.d /run/dbus; printf %s "$1" > /run/dbus/lab.conf', "sh", BUS)
    keyfile = "[keyfile]\nunmanaged-devices=" + ";".join(f"interface-name:{name}" for name in others) + "\n"
    lab.run(node, "sh", "-c", 'printf %s "$0" > /etc/NetworkManager/NetworkManager.conf', MAIN + keyfile)
    bus = started(lab, node, "dbus-daemon", "--config-file=/run/dbus/lab.conf", "--nofork")
    wait_for(lambda: bool(lab.run(node, "sh", "-c", "ls /run/dbus/system_bus_socket 2>/dev/null", check=False)), "the bus is there", 10)
    daemon = started(lab, node, "unshare", "--mount", "--propagation", "private", "sh", "-c", START)
    interface = lab.pod("shop/web-1").interface
    wait_for(lambda: "(connecting" in lab.run(node, "nmcli", "-t", "-f", "GENERAL.STATE", "device", "show", interface, check=False),
             f"NetworkManager asks for an address on {interface}", 30)  # fmt: skip
    yield
    pid = lab.process(node, "NetworkManager")
    if pid:
        send(pid, signal.SIGTERM)
    stop(daemon)
    stop(bus)
    for path in lab.run(node, "sh", "-c", "grep -lx 1 /proc/sys/net/ipv6/conf/cali*/addr_gen_mode", check=False).split():  # it leaves its own, none, there
        lab.run(node, "sh", "-c", 'echo 0 > "$0"; ip link set "$1" down; ip link set "$1" up', path, path.split("/")[-2])
    lab.run(node, "sh", "-c", "rm -rf /run/NetworkManager /run/dbus /var/lib/NetworkManager /etc/NetworkManager")
