"""Plans of profiled graphs: value, bound, gap, and the time to get there.

``python -m benchmarks.planning.profiled [FAMILY ...] [--objective throughput] [--no-contiguous] [--gap G] [--time-limit S]``

Times are of the processor (``time.process_time``), since a shared machine's clock says little; wall-clock time stands beside.
"""

from __future__ import annotations

import argparse
import json
import time

from autopart.cluster.load import parse_cluster
from autopart.profiled.problem import OBJECTIVES, Goal, make_problem
from autopart.profiled.profile import parse_profile
from autopart.profiled.solve import solve
from benchmarks.planning.graphs import FAMILIES

SLACK = 1.25  # memory of all accelerators, times what the graph needs, where memory is to bind


def cluster_text(accelerators: int, cpus: int, memory_bytes: float) -> str:
    """A box of accelerators, and CPUs behind the same links."""
    nodes = [_node("box", "accelerator", accelerators)] + ([_node("host", "cpu", cpus)] if cpus else [])
    links = "links:\n  - {between: [box, host], bandwidth: 12 GB/s, latency: 10 us}\n" if cpus else ""
    room = max(int((memory_bytes + 1280 * 2**20) / 0.95) + 2, 2**30)
    types = f"  accelerator: {{memory: {room} B, memory_bandwidth: 900 GB/s, flops: {{float32: 15 TFLOP/s}}}}\n"
    types += "  cpu: {memory: 256 GB, memory_bandwidth: 50 GB/s, flops: {float32: 1 TFLOP/s}}\n"
    return "nodes:\n" + "".join(nodes) + links + "types:\n" + types


def _node(name: str, kind: str, count: int) -> str:
    return (
        f"  - name: {name}\n    devices: {{type: {kind}, count: {count}}}\n"
        "    interconnect: {bandwidth: 12 GB/s, latency: 10 us}\n    network: {bandwidth: 12 GB/s, latency: 5 us}\n"
    )


def measure(family: str, accelerators: int, cpus: int, tight: bool, arguments: argparse.Namespace) -> str:
    """One line of the table."""
    make, training = FAMILIES[family]
    raw = make().profile(training=training)
    total = sum(op["memory_bytes"] for op in raw["ops"])
    room = SLACK * total / accelerators if tight else 16e9
    profile = parse_profile(json.dumps(raw), family)
    cluster = parse_cluster(cluster_text(accelerators, cpus, room), "cluster.yaml")
    goal = Goal(arguments.objective, arguments.contiguous, arguments.microbatches)
    processor, wall = time.process_time(), time.monotonic()
    found = solve(make_problem(profile, cluster, goal), gap=arguments.gap, time_limit_s=arguments.time_limit)
    processor, wall = time.process_time() - processor, time.monotonic() - wall
    devices = f"{accelerators}+{cpus}{', tight' if tight else ''}"
    value, bound = 1e3 * found.value_s, 1e3 * found.bound_s
    return (
        f"{family:33s} {len(profile.ops):5d} {devices:11s} {value:9.3f} {bound:9.3f} {found.gap:7.2%}"
        f" {found.ended:9s} {processor:6.1f} {wall:6.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help=f"beginnings of: {', '.join(FAMILIES)}")
    parser.add_argument("--objective", choices=OBJECTIVES, default="throughput")
    parser.add_argument("--contiguous", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--time-limit", type=float, default=60.0)
    arguments = parser.parse_args()
    chosen = [name for name in FAMILIES if not arguments.families or any(map(name.startswith, arguments.families))]
    titles = f"{'graph':33s} {'ops':>5s} {'devices':11s} {'value ms':>9s} {'bound ms':>9s} {'gap':>7s} {'ended':9s}"
    print(f"{titles}  cpu s wall s")
    for family in chosen:
        small = " 300 " in family or " 100 " in family
        for accelerators, cpus, tight in [(6, 0, False), (6, 2, True)] if small else [(8, 0, False), (8, 2, True)]:
            print(measure(family, accelerators, cpus, tight, arguments), flush=True)


if __name__ == "__main__":
    main()
