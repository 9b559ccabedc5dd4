"""Options with numbers: blocks, cluster and sketches of options -> the solver's problem, and the index that leads back.

A stage of blocks [i, j) on the devices of an option costs, by microbatch,

    t = max over parts of sum of (forward + backward [+ forward again]) + boundary(i) + boundary(j)

where each side of a boundary pays half of its own transfers, values forward and gradients back, and what a stage
re-runs from inputs alone is spread over its two ends, half each. Once a step it costs

    g = all_reduce of its gradients over its replicas + the optimizer's update

less what of the all_reduce runs beside the last backward: it goes in buckets, and all but the last are hidden as far as the
backward lasts (``Overlap``). The sum of a tied parameter's gradients over
two stages is not in the formula (it depends on a pair of stages); the simulation has it.

Memory counts, by device: parameters, gradients and optimizer state; what is saved between forward and backward, or each block's
inputs under recomputation, and the stage's results; the largest block's working memory and one message each way over both
its boundaries, values and gradients (the next microbatch's are received while this one runs). A second line of every part is
the moment of the update, when no microbatch is in flight and the optimizer has its temporaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster, Group
from autopart.planner.problem import Array, Choice, Option, Overlap, Part, Problem, Setting, Tie
from autopart.planner.strategies import Parts, Pins, Pool, SettingSketch, enumerate_settings
from autopart.plans import ModelRef, Settings
from autopart.pricing.network import boundary_s, counted_topology
from autopart.pricing.table import BlockTable
from autopart.program.reductions import BUCKET_BYTES
from cost_models.collective import all_reduce_s
from cost_models.memory import usable_bytes


@dataclass(frozen=True, eq=False)
class Index:
    """The way back from a problem: what its numbers were made of."""

    table: BlockTable
    cluster: Cluster
    model: ModelRef
    settings: Settings

    @property
    def blocks(self) -> Blocks:
        return self.table.blocks

    @property
    def batch_size(self) -> int:
        return self.table.batch_size


def make_index(blocks: Blocks, cluster: Cluster, batch_size: int, settings: Settings, model: ModelRef) -> Index:
    """What is to be planned, with a fresh table of prices."""
    return Index(BlockTable(blocks, settings.precision, settings.optimizer, batch_size), cluster, model, settings)


def price(index: Index, sketches: Iterable[SettingSketch], stages: int | None = None) -> Problem:
    """The problem of choosing among these options."""
    return Problem(
        kinds=tuple(block.kind for block in index.blocks.blocks),
        devices=tuple(group.devices for group in index.cluster.groups),
        settings=tuple(_setting(index, sketch) for sketch in sketches),
        ties=price_ties(index.table),
        stages=stages,
    )


def _setting(index: Index, sketch: SettingSketch) -> Setting:
    options = tuple(price_option(index.table, index.cluster, option.parts, option.recompute) for option in sketch.options)
    return Setting(sketch.schedule, sketch.microbatches, options)


def price_ties(table: BlockTable) -> tuple[Tie, ...]:
    """Static bytes that a stage saves where it holds two blocks with a parameter in common."""
    return tuple(Tie(first, second, static) for first, second, static in table.ties)


def propose(index: Index, pins: Pins | None = None, schedule: str = "1f1b") -> tuple[SettingSketch, ...]:
    """The settings and options to choose from, for this model on this cluster."""
    table, cluster, ties = index.table, index.cluster, price_ties(index.table)

    def roomy(parts: Parts, microbatches: int) -> bool:
        in_flight = microbatches if schedule == "gpipe" else min(microbatches, table.count)
        return holds_model(price_option(table, cluster, parts, recompute=False), in_flight, ties)

    sharded = index.blocks.sharded
    return enumerate_settings(
        pools(index),
        index.batch_size,
        roomy=roomy,
        one_microbatch=bool(sharded.mixing),
        one_replica=all(source.batch_dim is None for source in sharded.graph.inputs),
        pins=pins,
        schedule=schedule,
    )


def pools(index: Index) -> tuple[Pool, ...]:
    """Each group's speed on the whole model, as a line through one row and the whole batch."""
    return tuple(
        Pool(group.devices, group.devices_per_node, *_line(index, group), float(usable_bytes(group.device)))
        for group in index.cluster.groups
    )


def _line(index: Index, group: Group) -> tuple[float, float]:
    many = max(2, index.batch_size)
    one_s, many_s = (float(index.table.seconds(group.device, rows).total.sum()) for rows in (1, many))
    slope = max((many_s - one_s) / (many - 1), 1e-12)
    return max(0.0, one_s - slope), slope


def price_option(table: BlockTable, cluster: Cluster, parts: Parts, recompute: bool) -> Option:
    """What a stage costs on these parts, block by block."""
    usage = [0] * len(cluster.groups)
    for part in parts:
        usage[part.group] += part.devices
    share_s = max(table.shared_s(cluster.groups[p.group].device, max(p.samples)) for p in parts)
    time, memory = _times(table, cluster, parts, recompute), [_memory(table, cluster, part, recompute) for part in parts]
    time[:, [0, -1]] += share_s / 2 if time.shape[1] > 1 else share_s
    sync_s, overlap = _sync(table, cluster, parts)
    capacity, static, inflight, transient, output = (np.concatenate(rows) for rows in zip(*memory, strict=True))
    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(usage),
        time_s=np.repeat(time, 2, axis=0),
        boundary_s=_boundary(table, cluster, parts, share_s),
        sync_s=sync_s,
        capacity_bytes=capacity,
        static_bytes=static,
        inflight_bytes=inflight,
        transient_bytes=transient,
        output_bytes=output,
        overlap=overlap,
    )


def _times(table: BlockTable, cluster: Cluster, parts: Parts, recompute: bool) -> Array:
    """[p, n] seconds of the busiest device of each part."""
    seconds = [table.seconds(cluster.groups[part.group].device, max(part.samples)) for part in parts]
    mixing_s = table.collectives_s(max(max(p.samples) for p in parts), counted_topology(cluster, _counts(parts)))
    if recompute:
        return np.array([s.total + s.forward + 1.5 * mixing_s for s in seconds])
    return np.array([s.total + mixing_s for s in seconds])


def _counts(parts: Parts) -> dict[int, int]:
    return {part.group: part.devices for part in parts}


def _memory(table: BlockTable, cluster: Cluster, part: Part, recompute: bool) -> tuple[Array, ...]:
    """Capacity [2], then static, in flight, transient [2, n] and results [2, n + 1] of a part: in a step, and at the update."""
    device, rows = cluster.groups[part.group].device, max(part.samples)
    kept, shared, cut = table.kept(device, rows, recompute), table.shared_bytes(rows), table.cut(rows)
    messages = cut.values + cut.gradients
    inflight, output = kept.inflight.copy(), kept.output.copy()
    inflight[-1] += shared
    output[1:-1] += shared
    nothing = np.zeros_like(inflight)
    return (
        np.full(2, float(usable_bytes(device))),
        np.array([table.static, table.static + table.update_transient(device, table.trained)]),
        np.array([inflight, nothing]),
        np.array([kept.transient + messages[:-1] + messages[1:], nothing]),
        np.array([output, np.zeros_like(output)]),
    )


def _boundary(table: BlockTable, cluster: Cluster, parts: Parts, share_s: float) -> Array:
    """[n + 1] half of this side's messages, values and gradients, and half of what the stage re-runs; 0 at both ends."""
    found = np.zeros(len(table.blocks.blocks) + 1)
    for part in parts:
        cut = table.cut(max(part.samples))
        ways = [boundary_s(cluster, part.group, part.devices, nbytes) for nbytes in (cut.values, cut.gradients)]
        found = np.maximum(found, sum(ways) / 2)
    found += share_s / 2
    found[[0, -1]] = 0.0
    return found


def _sync(table: BlockTable, cluster: Cluster, parts: Parts) -> tuple[Array, Overlap | None]:
    """Each block's part, by bytes, of reducing and updating the whole model, latencies included; and what backward hides."""
    update_s = max(table.update_s(cluster.groups[part.group].device, float(table.trained.sum())) for part in parts)
    part_of = table.trained / max(float(table.trained.sum()), 1.0)
    nbytes = float(table.gradient_bytes.sum())
    reduce_s = all_reduce_s(nbytes, counted_topology(cluster, _counts(parts)))
    if reduce_s == 0.0:
        return update_s * part_of, None
    backwards = [table.seconds(cluster.groups[part.group].device, max(part.samples)).backward for part in parts]
    shortest = min(backwards, key=lambda seconds: float(seconds.sum()))
    return (reduce_s + update_s) * part_of, Overlap(reduce_s * part_of, shortest, reduce_s * min(1.0, BUCKET_BYTES / nbytes))


def holds_model(option: Option, in_flight: int, ties: Sequence[Tie]) -> bool:
    """Whether every stage of any plan fits on the option: the whole model does, with so many microbatches in flight."""
    shared = sum(tie.static_bytes for tie in ties)
    assert option.output_bytes is not None, "an option priced here says what a stage keeps of its results"
    kept = option.inflight_bytes.sum(axis=1) + option.output_bytes.max(axis=1)
    needed = option.static_bytes.sum(axis=1) - shared + in_flight * kept + option.transient_bytes.max(axis=1)
    return bool((needed <= option.capacity_bytes).all())


def formula_s(options: Sequence[Option], choices: Sequence[Choice], microbatches: int) -> float:
    """Sum t + (M - 1) max t + max g for stages in chain order; ``choices[i]`` is under ``options[i]``."""
    times, syncs = [], []
    for option, choice in zip(options, choices, strict=True):
        inside = float(option.time_s[:, choice.start : choice.stop].sum(axis=1).max())
        times.append(inside + float(option.boundary_s[choice.start] + option.boundary_s[choice.stop]))
        syncs.append(option.exposed_s(choice.start, choice.stop))
    return sum(times) + (microbatches - 1) * max(times) + max(syncs)
