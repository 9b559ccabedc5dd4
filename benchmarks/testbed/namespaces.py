"""The hosts' network: a namespace a host, a bridge in one of its own, an uplink from each host to the bridge.

Both directions of an uplink, and the loopback that ranks of one host talk over, are shaped by queueing disciplines of the
sender: TBF, or HTB where a path to one host is slower than the uplink. A bucket holds a quarter of a millisecond of traffic: what
fits into it goes at once. A queue holds 200 ms: TCP rarely sees a drop, as on a switch with flow control. TCP hands over packets
no larger than the smallest bucket; the kernel would cut larger ones into frames, for several times the processor time of a byte.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

from benchmarks.testbed.kernel import NAMESPACES, command
from benchmarks.testbed.relay import start_relay
from benchmarks.testbed.spec import Host, Testbed

MTU = 1500
UPLINK, LOOPBACK = "eth0", "lo"
BURST_S, QUEUE_S, LEAST_QUEUE_BYTES = 2.5e-4, 0.2, 2**18
LEAST_BURST = 4  # packets
UNLIMITED_BYTES_PER_S = 5e9
LARGEST_PACKET_BYTES = 65536  # the kernel's own limit

Paths = Sequence[tuple[str, float]]  # address and bytes/s


class Network:
    """All namespaces of a run, whose names begin with ``name``; ``close`` removes them."""

    def __init__(self, name: str, testbed: Testbed) -> None:
        self._name, self._testbed = name, testbed
        self._switch = f"{name}-switch"
        self.relays: list[subprocess.Popen[bytes]] = []

    @property
    def _packet_bytes(self) -> int:
        """That TCP hands over at once, to be cut by the receiver's end."""
        hosts = self._testbed.hosts
        rates = [rate for host in hosts for rate in (host.bandwidth_bytes_per_s, *(rate for _, rate in host.slow)) if rate]
        return min([LARGEST_PACKET_BYTES, *map(_burst_bytes, rates)])

    def namespace(self, host: int) -> str:
        return f"{self._name}-{self._testbed.hosts[host].name}"

    def address(self, host: int) -> str:
        return f"10.231.7.{host + 1}"

    def open(self) -> None:
        command("ip", "netns", "add", self._switch)
        command("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        command("ip", "-n", self._switch, "link", "set", "br0", "mtu", MTU, "up")
        for index, host in enumerate(self._testbed.hosts):
            self._add_host(index, host)

    def _add_host(self, index: int, host: Host) -> None:
        namespace, port = self.namespace(index), f"p{index}"
        command("ip", "netns", "add", namespace)
        command("sysctl", "-q", "-w", "net.ipv4.tcp_slow_start_after_idle=0", namespace=namespace)
        if host.latency_s:
            self.relays.append(start_relay(((namespace, UPLINK), (self._switch, port)), host.latency_s))
        else:
            far = ("peer", "name", UPLINK, "netns", namespace)
            command("ip", "link", "add", port, "netns", self._switch, "type", "veth", *far)
        command("ip", "-n", self._switch, "link", "set", port, "mtu", MTU, "master", "br0", "up")
        command("ip", "-n", namespace, "addr", "add", f"{self.address(index)}/24", "dev", UPLINK)
        command(
            "ip",
            "-n",
            namespace,
            "link",
            "set",
            UPLINK,
            "mtu",
            MTU,
            "gso_max_size",
            self._packet_bytes,
            "txqueuelen",
            10000,
            "up",
        )
        command("ip", "-n", namespace, "link", "set", LOOPBACK, "up")
        self._shape_host(index, host)

    def _shape_host(self, index: int, host: Host) -> None:
        numbers = {other.name: number for number, other in enumerate(self._testbed.hosts)}
        slow = [(self.address(numbers[name]), rate) for name, rate in host.slow]
        namespace = self.namespace(index)
        if slow:
            _share(namespace, UPLINK, host.bandwidth_bytes_per_s or UNLIMITED_BYTES_PER_S, slow)
        elif host.bandwidth_bytes_per_s:
            _limit(namespace, UPLINK, host.bandwidth_bytes_per_s)
        if host.bandwidth_bytes_per_s:
            _limit(self._switch, f"p{index}", host.bandwidth_bytes_per_s)
        if host.interconnect_bytes_per_s:
            command("ip", "-n", namespace, "link", "set", LOOPBACK, "mtu", MTU)
            _limit(namespace, LOOPBACK, host.interconnect_bytes_per_s)

    def sent_bytes(self) -> Mapping[str, int]:
        """What each host has sent over its uplink."""
        found = {}
        for index, host in enumerate(self._testbed.hosts):
            shown = json.loads(command("ip", "-n", self.namespace(index), "-s", "-j", "link", "show", UPLINK))
            found[host.name] = int(shown[0]["stats64"]["tx"]["bytes"])
        return found

    def close(self) -> None:
        for relay in self.relays:
            relay.kill()
            relay.wait()
        remove_namespaces(self._name)


def remove_namespaces(name: str) -> None:
    """All of a run, with the devices in them."""
    for namespace in namespaces(name):
        command("ip", "netns", "del", namespace, check=False)


def namespaces(prefix: str) -> list[str]:
    """The namespaces whose names begin with the prefix and a dash."""
    return sorted(path.name for path in NAMESPACES.glob(f"{prefix}-*")) if NAMESPACES.exists() else []


def _burst_bytes(rate: float) -> int:
    return max(LEAST_BURST * MTU, int(rate * BURST_S))


def _limit(namespace: str, device: str, rate: float) -> None:
    """Everything that leaves the device, at ``rate`` bytes/s together."""
    queue = max(LEAST_QUEUE_BYTES, int(rate * QUEUE_S)) + _burst_bytes(rate)
    words = ("rate", f"{rate * 8:.0f}bit", "burst", _burst_bytes(rate), "limit", queue)
    command("tc", "qdisc", "add", "dev", device, "root", "tbf", *words, namespace=namespace)


def _share(namespace: str, device: str, rate: float, slow: Paths) -> None:
    """At ``rate`` bytes/s together, and to each address of ``slow`` at its own rate at most."""
    on = ("dev", device, "parent")

    def add_class(parent: str, name: str, limit: float) -> None:
        speed, burst = f"{limit * 8:.0f}bit", _burst_bytes(limit)
        words = ("rate", speed, "ceil", speed, "burst", burst, "cburst", burst)
        command("tc", "class", "add", *on, parent, "classid", name, "htb", *words, namespace=namespace)

    handle = ("root", "handle", "1:", "htb", "default", "2", "r2q", "1000")
    command("tc", "qdisc", "add", "dev", device, *handle, namespace=namespace)
    add_class("1:", "1:1", rate)
    add_class("1:1", "1:2", rate)
    for number, (address, limit) in enumerate(slow, start=10):
        add_class("1:1", f"1:{number}", min(limit, rate))
        match = ("protocol", "ip", "u32", "match", "ip", "dst", f"{address}/32", "flowid", f"1:{number}")
        command("tc", "filter", "add", *on, "1:", *match, namespace=namespace)
