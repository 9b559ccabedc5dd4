"""Planning problems of realistic size at made-up but plausible prices: transformers on mixed clusters.

An option is one or two parts: n devices of a group as d replicas of ``tensor`` columns, b samples each, with or without
recomputation, at a ZeRO level of 0, 1 or 3 (0 alone where there is one replica). It costs, r being 1 under recomputation,

    block time       max over parts of (3 + r) flops b / (tensor F) + [tensor > 1] (4 + 2 r) (2 x b (tensor - 1) / tensor / inside + lambda)
                     under ZeRO 3 not less than 3 (s + lambda): parameters gathered twice, gradients scattered, beside the work
    boundary         max over parts of b out / network + lambda: its own half of the values forward and the gradients back
    synchronisation  2 s, none under ZeRO 3, with s = 4 P / tensor (R - 1) / R / bandwidth over R replicas
    static bytes     P / tensor of 16, 4 + 12 / R, 16 / R by level;  in flight  kept b / tensor, or inputs alone
    transient        [ZeRO 3] 4 P / tensor + [r] kept b / tensor

for P parameters in bfloat16 beside float32 copies and two moments.
"""  # noqa: E501  one formula a line

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from autopart.planner.problem import Option, Part, Problem, Setting, Tie

NODE = 8
RESERVED_BYTES = 1.5e9
LATENCY_S = 20e-6
BYTES_PER_PARAMETER = 16.0
LEANS = 2  # shares of a mixed stage: the fastest, and so many more towards where there is more memory

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hardware:
    """A group of equal devices: achieved FLOP/s, memory; bandwidths inside a node, and of each device's part of the network."""

    devices: int
    flops: float
    memory_bytes: float
    network_bytes_per_s: float
    node_bytes_per_s: float = 300e9


@dataclass(frozen=True, slots=True)
class Layer:
    """A block, by sample: forward FLOPs, bytes kept for backward, bytes handed on, bytes that columns sum, each way twice; and
    its parameters.
    """

    kind: int
    parameters: float
    flops: float
    kept_bytes: float
    output_bytes: float
    summed_bytes: float = 0.0


def transformer(
    layers: int, width: int, tokens: int, vocabulary: int, *, unlike: float = 0.0, halves: bool = False
) -> tuple[Layer, ...]:
    """Embedding, equal layers, head. ``unlike``: relative spread of the layers' sizes, each then a kind of its own;
    ``halves``: attention and MLP are blocks of their own.
    """
    rng = np.random.default_rng(layers)
    table = float(vocabulary) * width
    state = 2.0 * tokens * width
    found = [Layer(0, table, 0.1 * tokens * width, state, state)]
    for index in range(layers):
        scale = 1.0 + unlike * float(rng.uniform(-1, 1))
        flops = 24.0 * tokens * width**2 * scale + 4.0 * tokens**2 * width
        for share, kind in ((1 / 3, 1), (2 / 3, 2)) if halves else ((1.0, 1),):
            size = 12.0 * width**2 * scale * share
            summed = state / (1 + halves)
            found.append(Layer(10 + index if unlike else kind, size, flops * share, 16 * state * scale * share, state, summed))
    found.append(Layer(3, table, 2.0 * tokens * table, 4.0 * tokens * vocabulary, 0.0))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Ways:
    """Which options there are: up to ``tensor`` columns, these ZeRO levels, stages of two groups or not."""

    tensor: int = NODE
    zero: tuple[int, ...] = (0, 1, 3)
    mixed: bool = True


def make_problem(
    layers: Sequence[Layer],
    groups: Sequence[Hardware],
    batch_size: int,
    microbatches: Sequence[int],
    *,
    tied: bool = False,
    ways: Ways | None = None,
    schedules: Sequence[str] = ("1f1b",),
) -> Problem:
    """Every power of two of devices of a group (every number, of eight or fewer), and pairs of groups."""
    prices = _Prices(tuple(layers), tuple(groups))
    ways = ways or Ways()
    settings = [
        Setting(schedule, count, tuple(_options(prices, batch_size // count, ways)))
        for schedule in schedules
        for count in microbatches
        if schedule == "1f1b" or count > 1
    ]
    ties = (Tie(0, len(layers) - 1, BYTES_PER_PARAMETER * layers[0].parameters),) if tied else ()
    return Problem(tuple(b.kind for b in layers), tuple(g.devices for g in groups), tuple(settings), ties)


def _options(prices: _Prices, samples: int, ways: Ways) -> Iterator[Option]:
    tensors = [t for t in (1, 2, 4, 8) if t <= ways.tensor]
    parts = list(_single_parts(prices.groups, samples, tensors))
    if ways.mixed:
        parts += _paired_parts(prices.groups, samples, tensors)
    for each, recompute in product(parts, (False, True)):
        replicas = sum(len(part.samples) for part in each)
        for zero in ways.zero if replicas > 1 else (0,):
            yield _option(prices, each, recompute, zero)


def _single_parts(groups: Sequence[Hardware], samples: int, tensors: Sequence[int]) -> Iterator[tuple[Part, ...]]:
    for group, hardware in enumerate(groups):
        for count, tensor in product(_counts(hardware.devices), tensors):
            if count % tensor == 0 and count // tensor <= samples:
                yield (Part(group, _even(samples, count // tensor), tensor),)


def _paired_parts(groups: Sequence[Hardware], samples: int, tensors: Sequence[int]) -> Iterator[tuple[Part, ...]]:
    """In ratios of devices of 1 : 4 to 4 : 1, at the fastest shares and at some that lean to where there is more memory."""
    for (a, one), (b, other) in combinations(enumerate(groups), 2):
        for first, second, tensor in product(_counts(one.devices), _counts(other.devices), tensors):
            if max(first, second) > 4 * min(first, second) or first % tensor or second % tensor:
                continue
            replicas = first // tensor, second // tensor
            speeds = first * one.flops, second * other.flops
            memory = first * one.memory_bytes, second * other.memory_bytes
            fastest, roomy = (samples * x[0] / sum(x) for x in (speeds, memory))
            for mine in sorted({round(fastest + (roomy - fastest) * lean / LEANS) for lean in range(LEANS + 1)}):
                if mine >= replicas[0] and samples - mine >= replicas[1]:
                    shares = _even(mine, replicas[0]), _even(samples - mine, replicas[1])
                    yield (Part(a, shares[0], tensor), Part(b, shares[1], tensor))


def _counts(devices: int) -> list[int]:
    """Every count of a small group, powers of two of a large one."""
    return list(range(1, devices + 1)) if devices < NODE else [2**k for k in range(devices.bit_length()) if 2**k <= devices]


@lru_cache(maxsize=1024)
def _even(samples: int, count: int) -> tuple[int, ...]:
    return tuple(samples // count + (i < samples % count) for i in range(count))


@dataclass(frozen=True, eq=False)
class _Prices:
    """What layers cost; rows [n] over them, those that several options have shared between them."""

    layers: tuple[Layer, ...]
    groups: tuple[Hardware, ...]

    @cached_property
    def parameters(self) -> Row:
        return np.array([b.parameters for b in self.layers])

    @cached_property
    def flops(self) -> Row:
        return np.array([b.flops for b in self.layers])

    @cached_property
    def kept(self) -> Row:
        return np.array([b.kept_bytes for b in self.layers])

    @cached_property
    def summed(self) -> Row:
        return np.array([b.summed_bytes for b in self.layers])

    @cached_property
    def handed(self) -> Row:
        """[n + 1] bytes over each boundary; none at both ends."""
        return np.array([0.0] + [b.output_bytes for b in self.layers[:-1]] + [0.0])

    @lru_cache(maxsize=4096)  # noqa: B019  lives as long as its problem is made
    def times(self, parts: tuple[tuple[int, int, int], ...], recompute: bool) -> Row:
        return np.array([self._time(*part, recompute) for part in parts])

    def _time(self, group: int, rows: int, tensor: int, recompute: bool) -> Row:
        hardware = self.groups[group]
        work = (3 + recompute) * rows / (tensor * hardware.flops) * self.flops
        if tensor == 1:
            return work
        moved = 2 * rows * (tensor - 1) / tensor / hardware.node_bytes_per_s * self.summed + LATENCY_S * (self.summed > 0)
        return work + (4 + 2 * recompute) * moved

    @lru_cache(maxsize=4096)  # noqa: B019
    def inflight(self, rows: tuple[int, ...], tensor: int, recompute: bool) -> Row:
        return np.outer(rows, self.handed[:-1] if recompute else self.kept / tensor)

    @lru_cache(maxsize=4096)  # noqa: B019
    def transient(self, rows: tuple[int, ...], tensor: int, recompute: bool, gathers: bool) -> Row:
        return recompute * np.outer(rows, self.kept / tensor) + gathers * 4 * self.parameters / tensor

    @lru_cache(maxsize=4096)  # noqa: B019
    def static(self, parts: int, bytes_per_parameter: float) -> Row:
        return np.repeat(bytes_per_parameter * self.parameters[None, :], parts, axis=0)

    @lru_cache(maxsize=4096)  # noqa: B019
    def boundary(self, parts: tuple[tuple[int, int, int], ...]) -> Row:
        sides = [rows / self.groups[group].network_bytes_per_s * self.handed for group, rows, _ in parts]
        return np.max(sides, axis=0) + LATENCY_S * (self.handed > 0)

    @lru_cache(maxsize=4096)  # noqa: B019
    def seconds_of(self, seconds_per_parameter: float) -> Row:
        return seconds_per_parameter * self.parameters


def _option(prices: _Prices, parts: tuple[Part, ...], recompute: bool, zero: int) -> Option:
    groups, tensor = prices.groups, parts[0].tensor
    replicas = sum(len(part.samples) for part in parts)
    rows = tuple(max(part.samples) for part in parts)
    key = tuple((part.group, most, tensor) for part, most in zip(parts, rows, strict=True))
    inside = len(parts) == 1 and parts[0].devices <= NODE
    bandwidth = groups[parts[0].group].node_bytes_per_s if inside else min(groups[p.group].network_bytes_per_s for p in parts)
    sum_s = 4.0 / tensor * (replicas - 1) / replicas / bandwidth
    time = prices.times(key, recompute)
    if zero == 3:
        time = np.maximum(time, 3 * (prices.seconds_of(sum_s) + LATENCY_S))
    held = {0: BYTES_PER_PARAMETER, 1: 4 + 12 / replicas, 3: BYTES_PER_PARAMETER / replicas}[zero] / tensor
    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(sum(p.devices for p in parts if p.group == g) for g in range(len(groups))),
        time_s=time,
        boundary_s=prices.boundary(key),
        sync_s=prices.seconds_of(0.0 if zero == 3 else 2 * sum_s),
        capacity_bytes=np.array([groups[p.group].memory_bytes for p in parts]) - RESERVED_BYTES,
        static_bytes=prices.static(len(parts), held),
        inflight_bytes=prices.inflight(rows, tensor, recompute),
        transient_bytes=prices.transient(rows, tensor, recompute, zero == 3),
        zero=zero,
    )
