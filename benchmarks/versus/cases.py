"""What is compared: clusters, workloads, and the settings of every contender that are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopart.sharding.placement import apportion
from benchmarks.testbed.spec import Testbed, parse_testbed
from benchmarks.versus.balance import balanced, even
from benchmarks.versus.tensor import STYLES

MICROBATCHES = (4, 8)
Grid = list[list[int]]
"""Ranks by replica and stage."""
BUCKETS_MB = (25.0, 1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """``hosts`` as ``benchmarks.testbed`` reads them; ``uniform``: where a plan can only be as good as the best of the others."""

    name: str
    what: str
    hosts: str
    model: str
    batch_size: int
    uniform: bool = False

    @property
    def testbed(self) -> Testbed:
        return parse_testbed(self.hosts, self.name)

    @property
    def speeds(self) -> tuple[float, ...]:
        """Of every rank, in cores."""
        return tuple(self.testbed.hosts[host].cpu or 1.0 for host, _ in self.testbed.ranks)


@dataclass(frozen=True)
class Setting:
    """One way to run a contender; ``family`` is the contender, of which the best setting counts."""

    family: str
    name: str
    kind: str
    options: Mapping[str, Any] = field(hash=False)

    @property
    def key(self) -> str:
        return f"{self.family}, {self.name}"


TWO_SPEEDS = """hosts:
  - {name: fast, ranks: 1, cpu: 0.8, bandwidth: 1 Gb/s}
  - {name: slow, ranks: 2, cpu: 0.4, bandwidth: 1 Gb/s}
"""
SLOW_LINK = """hosts:
  - {name: a, ranks: 2, cpu: 0.4, bandwidth: 100 Mb/s}
  - {name: b, ranks: 2, cpu: 0.4, bandwidth: 100 Mb/s}
"""
THREE_TYPES = """hosts:
  - {name: fast, ranks: 1, cpu: 0.75, bandwidth: 1 Gb/s}
  - {name: middle, ranks: 1, cpu: 0.5, bandwidth: 1 Gb/s}
  - {name: slow, ranks: 1, cpu: 0.35, bandwidth: 1 Gb/s}
"""
STRAGGLER = """hosts:
  - {name: fast, ranks: 2, cpu: 0.7, bandwidth: 1 Gb/s}
  - {name: straggler, ranks: 1, cpu: 0.08, bandwidth: 100 Mb/s}
"""
SMALL_MEMORY = """hosts:
  - {name: large, ranks: 1, cpu: 0.6, memory: 380 MiB, bandwidth: 1 Gb/s}
  - {name: small, ranks: 2, cpu: 0.5, memory: 330 MiB, bandwidth: 1 Gb/s}
"""
UNIFORM = """hosts:
  - {name: even, ranks: 4, cpu: 0.4, bandwidth: 1 Gb/s}
"""

CASES = (
    Case("two-speeds-gpt2", "a fast and two slow ranks; computing is the bottleneck", TWO_SPEEDS, "gpt2", 24),
    Case("two-speeds-resnet", "unlike layers on a fast and two slow ranks", TWO_SPEEDS, "resnet", 32),
    Case("slow-link-bert", "a slow link between two pairs of ranks; 17 MB of gradients", SLOW_LINK, "bert", 16),
    Case("slow-link-dlrm", "12 MB of embedding tables, on both sides of a slow link", SLOW_LINK, "dlrm", 1024),
    Case("three-types-unet", "skips over three types of ranks", THREE_TYPES, "unet", 24),
    Case("straggler-gpt2", "a rank too slow to be of use", STRAGGLER, "gpt2", 24),
    Case("small-memory-bert", "memory for a part of the model on each of three ranks", SMALL_MEMORY, "bert_wide", 8),
    Case("two-speeds-moe", "a mixture of experts", TWO_SPEEDS, "moe", 8),
    Case("uniform-gpt2", "four equal ranks", UNIFORM, "gpt2", 24, uniform=True),
    Case("uniform-resnet", "four equal ranks", UNIFORM, "resnet", 32, uniform=True),
)


def settings(case: Case, seconds: Sequence[float]) -> Iterator[Setting]:
    """Everything that is tried; ``seconds`` are those of the model's blocks, one by one."""
    speeds, batch = case.speeds, case.batch_size
    ranks = range(len(speeds))
    fastest = [rank for rank in ranks if speeds[rank] == max(speeds)]
    yield Setting("fastest device", f"rank {fastest[0]}", "single", {"rank": fastest[0]})
    yield from _ddp("DDP even", shared(batch, [1.0] * len(speeds)))
    if len(set(speeds)) > 1:
        yield from _ddp("DDP by speed", shared(batch, speeds))
        if len(fastest) > 1:
            yield from _ddp("DDP fastest only", shared(batch, [float(rank in fastest) for rank in ranks]))
    yield Setting("FSDP2", "even", "fsdp", {"shares": shared(batch, [1.0] * len(speeds))})
    together = [rank for rank in fastest if case.testbed.ranks[rank][0] == case.testbed.ranks[fastest[0]][0]]
    if case.model in STYLES and len(together) > 1:
        yield Setting("tensor parallel", f"ranks {together}", "tensor", {"ranks": together})
    line, *others = _grids(case)
    yield from _pipelines(line, speeds, seconds, batch)
    for grid in others:
        yield from _balanced(grid, [speeds[rank] for rank in grid[0]], seconds, batch)


def shared(batch: int, speeds: Sequence[float]) -> list[int]:
    """Samples by rank."""
    return list(apportion(batch, [round(1000 * speed) for speed in speeds]))


def _ddp(family: str, shares: list[int]) -> Iterator[Setting]:
    for bucket in BUCKETS_MB:
        yield Setting(family, f"buckets of {bucket:g} MB", "ddp", {"shares": shares, "bucket_mb": bucket})


def _grids(case: Case) -> list[Grid]:
    """Pipelines through all ranks, both ways; where hosts have equal numbers of ranks, replicas through one rank of each."""
    ranks = list(range(len(case.speeds)))
    found = [[ranks], [ranks[::-1]]]
    counts = {host.ranks for host in case.testbed.hosts}
    if len(counts) == 1 and len(case.testbed.hosts) > 1 and (count := counts.pop()) > 1:
        found.append([ranks[replica::count] for replica in range(count)])
    return found


def _pipelines(grid: Grid, speeds: list[float], seconds: Sequence[float], batch: int) -> Iterator[Setting]:
    """Every schedule, with even and with balanced cuts."""
    stages = len(grid[0])
    for microbatches in _microbatches(grid, batch):
        for schedule in ("gpipe", "1f1b"):
            yield _pipeline("even pipeline", schedule, grid, even(len(seconds), stages), microbatches)
            yield _pipeline("balanced pipeline", schedule, grid, balanced(seconds, speeds), microbatches)
        if 2 * stages <= len(seconds):
            yield _pipeline("interleaved pipeline", "interleaved", grid, balanced(seconds, speeds * 2), microbatches)


def _balanced(grid: Grid, speeds: list[float], seconds: Sequence[float], batch: int) -> Iterator[Setting]:
    """Of other ways through the ranks, what is best of the first."""
    for microbatches in _microbatches(grid, batch):
        yield _pipeline("balanced pipeline", "1f1b", grid, balanced(seconds, speeds), microbatches)


def _microbatches(grid: Grid, batch: int) -> list[int]:
    return [count for count in MICROBATCHES if batch // len(grid) % count == 0]


def _pipeline(family: str, schedule: str, grid: Grid, cuts: list[int], microbatches: int) -> Setting:
    options = {"grid": grid, "cuts": cuts, "schedule": schedule, "microbatches": microbatches}
    return Setting(family, f"{schedule}, {microbatches} microbatches, ranks {grid}", "pipeline", options)
