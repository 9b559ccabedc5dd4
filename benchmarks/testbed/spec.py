"""hosts.yaml -> Testbed. Every mistake in the file is a ClusterError that names the line, what is wrong, and what to write.

period: 20 ms               # of the cpu quotas; 20 ms where it is not said
hosts:                      # ranks follow file order
  - name: fast
    ranks: 2
    cpu: 0.4                # share of a core that each rank gets; without it a whole one
    memory: 1 GiB           # of each rank; a rank that takes more is killed
    bandwidth: 1 Gb/s       # of the uplink, each direction
    latency: 1 ms           # one way, of the uplink
    interconnect: 8 Gb/s    # between ranks of this host
links:                      # slower paths between two hosts
  - {between: [fast, slow], bandwidth: 50 Mb/s}
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autopart.cluster import reading
from autopart.cluster.reading import Spot
from autopart.cluster.units import BANDWIDTH, MEMORY, TIME
from autopart.errors import ClusterError
from cost_models.catalogue import catalogue
from cost_models.hardware import DeviceType

PERIOD_S = 0.02
LEAST_QUOTA_S = 0.001  # the kernel's floor of cfs_quota_us
MOST_HOSTS, MOST_RANKS = 32, 64
UNSHAPED_BYTES_PER_S = 1.25e9  # what a nominal cluster file says of a link without a rate
NAMED_LATENCY_S = 5e-5  # of the kernel's TCP, one way


@dataclass(frozen=True, slots=True)
class Host:
    """Several equal ranks. None: as the machine has it. ``slow`` are rates to single other hosts, bytes/s by name."""

    name: str
    ranks: int
    cpu: float | None = None
    memory_bytes: int | None = None
    bandwidth_bytes_per_s: float | None = None
    latency_s: float = 0.0
    interconnect_bytes_per_s: float | None = None
    slow: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Testbed:
    """The hosts, and the period of the cpu quotas."""

    __test__ = False  # not a test, for all its name

    hosts: tuple[Host, ...]
    period_s: float = PERIOD_S

    @property
    def ranks(self) -> tuple[tuple[int, int], ...]:
        """Host and place in it, by rank."""
        return tuple((index, local) for index, host in enumerate(self.hosts) for local in range(host.ranks))

    @property
    def cores(self) -> float:
        """That all ranks together ask for."""
        return sum(host.ranks * (host.cpu or 1.0) for host in self.hosts)


def load_testbed(path: str | Path) -> Testbed:
    """Read and check a file of hosts."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"can't be read: {error}", where=str(path), remedy="Name a file of hosts.") from error
    return parse_testbed(text, str(path))


def parse_testbed(text: str, path: str) -> Testbed:
    """A Testbed from the text of its file."""
    file = reading.mapping(reading.compose(text, path), required=("hosts",), optional=("period", "links"))
    period_s = reading.quantity(file["period"], TIME) if "period" in file else PERIOD_S
    spots = reading.sequence(file["hosts"], "Write `- {name: fast, ranks: 2, cpu: 0.4}`.")
    hosts = {host.name: host for host in (_host(spot, period_s) for spot in spots)}
    if len(hosts) < len(spots):
        raise file["hosts"].error("two hosts have the same name", "Rename one of them.")
    if len(hosts) > MOST_HOSTS:
        raise file["hosts"].error(f"more than {MOST_HOSTS} hosts", "Put several ranks on a host.")
    for link in reading.sequence(file["links"], "Write `- {between: [a, b], bandwidth: 50 Mb/s}`.") if "links" in file else ():
        _slow_link(link, hosts)
    return Testbed(tuple(hosts.values()), period_s)


def _host(spot: Spot, period_s: float) -> Host:
    optional = ("cpu", "memory", "bandwidth", "latency", "interconnect")
    keys = reading.mapping(spot, required=("name", "ranks"), optional=optional)
    return Host(
        name=reading.name(keys["name"]),
        ranks=reading.count(keys["ranks"], MOST_RANKS),
        cpu=_share(keys["cpu"], period_s) if "cpu" in keys else None,
        memory_bytes=int(reading.quantity(keys["memory"], MEMORY)) if "memory" in keys else None,
        bandwidth_bytes_per_s=reading.quantity(keys["bandwidth"], BANDWIDTH) if "bandwidth" in keys else None,
        latency_s=reading.quantity(keys["latency"], TIME) if "latency" in keys else 0.0,
        interconnect_bytes_per_s=reading.quantity(keys["interconnect"], BANDWIDTH) if "interconnect" in keys else None,
    )


def _share(spot: Spot, period_s: float) -> float:
    """A share of a core that the kernel can keep to."""
    said = reading.text(spot)
    try:
        share = float(said)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise spot.error(f"{spot.what} is {said!r}, not a share of a core", "Write a number above 0 and up to 1, such as 0.4.")
    if share * period_s < LEAST_QUOTA_S * (1 - 1e-9):
        longest = LEAST_QUOTA_S / share * 1e3
        raise spot.error(
            f"{spot.what} is {said}: less than {LEAST_QUOTA_S * 1e3:.0f} ms of a period of {period_s * 1e3:g} ms",
            f"Write `period: {longest:.0f} ms` or a larger share.",
        )
    return share


def _slow_link(spot: Spot, hosts: dict[str, Host]) -> None:
    keys = reading.mapping(spot, required=("between", "bandwidth"))
    ends = [reading.text(each) for each in reading.sequence(keys["between"], "Name two hosts: `between: [a, b]`.")]
    if len(set(ends)) != 2 or not set(ends) <= hosts.keys():
        raise keys["between"].error(f"{' and '.join(ends)} are not two of the hosts", f"Name two of {', '.join(hosts)}.")
    rate = reading.quantity(keys["bandwidth"], BANDWIDTH)
    for own, other in (ends, ends[::-1]):
        hosts[own] = replace(hosts[own], slow=(*hosts[own].slow, (other, rate)))


def cluster_text(testbed: Testbed) -> str:
    """The cluster.yaml that describes the testbed: a core's numbers times its share, links as they are shaped; not measured."""
    core = catalogue()["cpu-core"]
    lines = ["# Nominal: what the hosts are limited to. `autopart profile --links` writes what they reach.", "types:"]
    lines += [_type_line(host, core) for host in testbed.hosts]
    lines.append("nodes:")
    for host in testbed.hosts:
        inside = _link_text(host.interconnect_bytes_per_s, NAMED_LATENCY_S)
        lines += [f"  - name: {host.name}", f"    devices: {{type: {host.name}-cpu, count: {host.ranks}}}"]
        lines += [f"    interconnect: {inside}"] if host.ranks > 1 else []
        lines += [f"    network: {_link_text(host.bandwidth_bytes_per_s, host.latency_s + NAMED_LATENCY_S)}"]
    exceptions = [(host, other, rate) for host in testbed.hosts for other, rate in host.slow if host.name < other]
    latencies = {host.name: host.latency_s + NAMED_LATENCY_S for host in testbed.hosts}
    lines += ["links:"] if exceptions else []
    for host, other, rate in exceptions:
        link = _link_text(rate, latencies[host.name] + latencies[other]).strip("{}")
        lines.append(f"  - {{between: [{host.name}, {other}], {link}}}")
    return "\n".join(lines) + "\n"


def _type_line(host: Host, core: DeviceType) -> str:
    share = host.cpu or 1.0
    memory = host.memory_bytes or core.memory_bytes
    speeds = ", ".join(f"{dtype}: {flops * share:.6g} FLOP/s" for dtype, flops in core.flops.items())
    bandwidth = f"{core.memory_bandwidth_bytes_per_s * share:.6g} B/s"
    return (
        f"  {host.name}-cpu: {{kind: cpu, memory: {memory} B, memory_bandwidth: {bandwidth}, flops: {{{speeds}}}, "
        f"launch: {core.launch_s / share * 1e6:.3g} us, source: {share:g} of a cpu-core}}"
    )


def _link_text(rate: float | None, latency_s: float) -> str:
    return f"{{bandwidth: {(rate or UNSHAPED_BYTES_PER_S) * 8 / 1e6:.6g} Mb/s, latency: {latency_s * 1e6:.6g} us}}"
