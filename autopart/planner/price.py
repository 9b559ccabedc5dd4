"""Options with numbers: blocks, cluster and sketches of options -> the solver's problem, and the index that leads back.

A stage of blocks [i, j) on the devices of an option costs, by microbatch,

    t = max over parts of sum of (forward + backward [+ forward again]) + boundary(i) + boundary(j) + end(j) + extras / 2

where each side of a boundary pays half of its own end of the transfers, values forward and gradients back, and half of what
the way to its very neighbour takes beyond that (``routes``). On several columns a block's seconds are those of one column and of
the collectives between them; ``end`` is bringing the values that the stage hands on into full form, and what the stage re-runs
from inputs alone. Once a step it costs

    g = sum of its gradients over its replicas + the optimizer's update

less what of the sum runs beside the last backward: it goes in buckets, and all but the last are hidden as far as the
backward lasts (``Overlap``). Parameters that are split over columns are summed column by column, all columns at once; the
others over all ranks; what ZeRO makes of it is in ``pricing/zero``. Columns of joined parts differ: each part has the time and
bytes of its own, and g is that of the part for which it is longest. The sum of a tied parameter's gradients over
two stages is not in the formula (it depends on a pair of stages); the simulation has it. Bytes are in ``memory``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autopart.cluster.cluster import Cluster
from autopart.planner.memory import holds_model, part_memory, price_ties, sharers, tied_bytes, updated
from autopart.planner.meshes import Index, Mesh
from autopart.planner.packing import slots, slots_of
from autopart.planner.problem import Array, Option, Order, Overlap, Part, Problem, Setting, columns_of, replicas_of
from autopart.planner.routes import half_s, make_routes
from autopart.planner.shares import Parts, Pool
from autopart.planner.strategies import OptionSketch, Pins, SettingSketch, enumerate_settings, tensor_degrees
from autopart.pricing import zero
from autopart.pricing.network import counted_topology, side_by_side, tensor_topology
from autopart.pricing.stages import again_s, between_s
from autopart.program.reductions import BUCKET_BYTES
from cost_models.collective import Topology
from cost_models.memory import PRECISIONS, usable_bytes


def price(index: Index, sketches: Iterable[SettingSketch], pins: Pins | None = None) -> Problem:
    """The problem of choosing among these options, for the blocks in the order of the index, with as many stages and devices as
    the pins say.
    """
    pins = pins or Pins()
    settings = tuple(sketches)
    return Problem(
        kinds=_kinds(index, settings),
        devices=tuple(group.devices for group in index.cluster.groups),
        settings=tuple(_setting(index, sketch) for sketch in settings),
        ties=price_ties(index.table),
        stages=pins.stages,
        slots=slots(index.cluster),
        least=pins.least,
    )


def price_orders(indices: Sequence[Index], sketches: Iterable[SettingSketch], pins: Pins | None = None) -> Problem:
    """The problem of choosing among these options for the blocks in each order; a setting's order is its place in ``indices``."""
    settings = tuple(sketches)
    own, *others = [price(index, settings, pins) for index in indices]
    further = [replace(each, order=order) for order, other in enumerate(others, start=1) for each in other.settings]
    orders = tuple(Order(other.kinds, other.ties) for other in others)
    return replace(own, settings=(*own.settings, *further), others=orders)


def _kinds(index: Index, settings: Sequence[SettingSketch]) -> tuple[int, ...]:
    """Blocks are of one kind where they are on every mesh: what is read otherwise than it is made may differ."""
    wanted = {tuple(replace(part, samples=()) for part in option.parts) for each in settings for option in each.options}
    meshes = dict.fromkeys(mesh for parts in wanted for mesh in index.meshes_of(parts))
    tables = [index.table, *(each.table for mesh in meshes for each in (mesh, *mesh.columns.values()))]
    found: dict[tuple[int, ...], int] = {}
    columns = zip(*([block.kind for block in table.blocks.blocks] for table in tables), strict=True)
    return tuple(found.setdefault(column, len(found)) for column in columns)


def _setting(index: Index, sketch: SettingSketch) -> Setting:
    return with_routes(index, sketch.schedule, sketch.microbatches, [o for each in sketch.options for o in _priced(index, each)])


def with_routes(index: Index, schedule: str, microbatches: int, options: Sequence[Option]) -> Setting:
    """The setting of these options, each at its place."""
    places = {option.parts: number for number, option in enumerate({option.parts: option for option in options}.values())}
    samples = index.batch_size // microbatches
    placed = tuple(replace(option, place=places[option.parts]) for option in options)
    routes = make_routes(tuple(places), index.cluster, index.table.cut(samples), samples)
    return Setting(schedule, microbatches, placed, routes=routes)


def _priced(index: Index, sketch: OptionSketch) -> Iterator[Option]:
    """The sketch on every mesh that its groups have."""
    for mesh in index.meshes_of(sketch.parts):
        yield price_option(mesh, index.cluster, sketch.parts, sketch.recompute, sketch.zero)


def propose(index: Index, pins: Pins | None = None, schedule: str = "1f1b") -> tuple[SettingSketch, ...]:
    """The settings and options to choose from, for this model on this cluster."""
    ties = price_ties(index.table)

    def roomy(parts: Parts, microbatches: int) -> bool:
        in_flight = microbatches if schedule == "gpipe" else min(microbatches, index.table.count)
        return all(holds_model(option, in_flight, ties) for option in _priced(index, OptionSketch(parts, recompute=False)))

    sharded = index.blocks.sharded
    return enumerate_settings(
        pools(index),
        index.batch_size,
        roomy=roomy,
        splits=lambda group, tensor: bool(index.meshes(group, tensor)),
        joins=lambda parts: bool(index.meshes_of(parts)),
        one_microbatch=bool(sharded.mixing),
        one_replica=all(source.batch_dim is None for source in sharded.graph.inputs),
        pins=pins,
        schedule=schedule,
    )


def pools(index: Index) -> tuple[Pool, ...]:
    """Each group's speed on the whole model, as a line through one row and the whole batch."""
    return tuple(
        Pool(group.devices, group.devices_per_node, *_line(index, number), float(usable_bytes(group.device)))
        for number, group in enumerate(index.cluster.groups)
    )


def _line(index: Index, number: int) -> tuple[float, float]:
    """Of a device by itself; of a group that runs the model on several columns alone, by the fewest of them."""
    group, many = index.cluster.groups[number], max(2, index.batch_size)
    meshes = (mesh for tensor in (1, *tensor_degrees(group.devices_per_node)) for mesh in index.meshes(number, tensor)[:1])
    mesh = next(meshes, None)
    if mesh is None:
        return 0.0, 1.0
    one_s, many_s = (mesh.tensor * float(mesh.table.seconds(group.device, rows).total.sum()) for rows in (1, many))
    slope = max((many_s - one_s) / (many - 1), 1e-12)
    return max(0.0, one_s - slope), slope


def price_option(mesh: Mesh, cluster: Cluster, parts: Parts, recompute: bool, level: int = 0) -> Option:
    """What a stage costs on these parts, block by block; ``level`` is of ZeRO."""
    assert all((columns_of(parts) if part.weights else part.tensor) == mesh.tensor for part in parts), "parts and mesh differ"
    share_s = max(mesh.table.shared_s(cluster.groups[p.group].device, max(p.samples)) for p in parts)
    samples = sum(replicas_of(parts))
    sums = {part: _sums(mesh.of(part), cluster, part, parts) for part in parts}
    microbatches = -(-mesh.table.batch_size // samples)
    time = np.array([_time(mesh.of(part), cluster, part, parts, sums[part], recompute, level) for part in parts])
    time += [_adding_s(mesh.of(part), cluster, part, sums[part], level, microbatches) for part in parts]
    sync_s, overlap = _sync(mesh, cluster, sums, level)
    columns = [(mesh.of(part), part) for part in parts]
    held = {part: [held for held, _ in own] for part, own in sums.items()}
    memory = [part_memory(own, cluster, part, recompute, level, held[part], microbatches) for own, part in columns]
    capacity, static, inflight, transient, output = (np.concatenate(rows) for rows in zip(*memory, strict=True))
    return Option(
        parts=parts,
        recompute=recompute,
        usage=_usage(cluster, parts),
        slots=slots_of(parts, cluster),
        time_s=np.repeat(time, 2, axis=0),
        boundary_s=half_s(parts, cluster, mesh.whole.cut(samples), samples),
        sync_s=sync_s,
        capacity_bytes=capacity,
        static_bytes=static,
        inflight_bytes=inflight,
        transient_bytes=transient,
        output_bytes=output,
        overlap=overlap,
        end_s=_ends(mesh, cluster, parts, share_s),
        tied_bytes=tied_bytes(mesh, level, parts),
        zero=level,
        layouts=mesh.layouts,
    )


def _usage(cluster: Cluster, parts: Parts) -> tuple[int, ...]:
    """Devices by group."""
    return tuple(sum(part.devices for part in parts if part.group == group) for group in range(len(cluster.groups)))


def _time(mesh: Mesh, cluster: Cluster, part: Part, parts: Parts, sums: Sums, recompute: bool, level: int) -> Array:
    """[n] seconds of a part's busiest device; ``mesh`` is that of its columns."""
    rows = max(part.samples)
    (_, replicas), _ = sums
    device = cluster.groups[part.group].device
    columns = _between_columns(cluster, part, parts) if mesh.tensor > 1 else None
    between = between_s(mesh.table, max(replicas_of(parts)), replicas, rows, columns)
    found: Array = mesh.table.seconds(device, rows).total + between.total + _zero_s(mesh, sums, level)
    if recompute:
        found += again_s(mesh.table, device, rows, between)
    return found


def _adding_s(mesh: Mesh, cluster: Cluster, part: Part, sums: Sums, level: int, microbatches: int) -> Array:
    """[n] seconds of a microbatch to add its gradients to those of the ones before; whose ranks share them out, each its own."""
    added = updated(level, [held for held, _ in sums]) if level >= 2 else mesh.table.trained
    return _parts_of(added) * mesh.table.adding_s(cluster.groups[part.group].device, float(added.sum()), microbatches)


def _between_columns(cluster: Cluster, part: Part, parts: Parts) -> Topology:
    """Of the columns of a replica of this part."""
    if part.weights:
        return counted_topology(cluster, {each.group: each.tensor for each in parts})
    return tensor_topology(cluster, part.group, part.tensor)


def _ends(mesh: Mesh, cluster: Cluster, parts: Parts, share_s: float) -> Array | None:
    """[n + 1] seconds to bring what a stage hands on into full form, and for what it makes for itself; None where both are 0."""
    if mesh.tensor == 1:
        return np.full(mesh.table.count + 1, share_s) if share_s else None
    asked = [(max(part.samples), _between_columns(cluster, part, parts)) for part in parts]
    device = mesh.prices and mesh.prices.device
    ends = [mesh.table.remembered(("ends", device, *each), partial(mesh.ends_s, *each)) for each in asked]
    found: Array = np.max(ends, axis=0) + share_s
    return found


Sums = tuple[tuple[tuple[Array, int], Topology], ...]
"""Who shares what (``memory.sharers``), and how they are connected."""


def _sums(mesh: Mesh, cluster: Cluster, part: Part, parts: Parts) -> Sums:
    return tuple(zip(sharers(mesh, parts), _topologies(mesh, cluster, part, parts), strict=True))


def _topologies(mesh: Mesh, cluster: Cluster, part: Part, parts: Parts) -> tuple[Topology, Topology]:
    """Of the replicas of a part's column while all columns do the same, and of all ranks: in the order of ``sharers``."""
    if part.weights:
        column = counted_topology(cluster, {part.group: len(part.samples)}, part.tensor, spread={part.group: part.nodes})
        spread = {each.group: tuple(n * each.tensor for n in each.nodes) for each in parts}
        every = counted_topology(cluster, {each.group: each.devices for each in parts}, spread=spread)
        return side_by_side(column, part.tensor), every
    replicas, spread = {each.group: len(each.samples) for each in parts}, {each.group: each.nodes for each in parts}
    column = side_by_side(counted_topology(cluster, replicas, mesh.tensor, spread=spread), mesh.tensor)
    return column, counted_topology(cluster, replicas, mesh.tensor, columns=mesh.tensor, spread=spread)


def _zero_s(mesh: Mesh, sums: Sums, level: int) -> Array:
    """[n] seconds of a microbatch for parameters gathered and gradients shared out."""
    found = np.zeros(mesh.table.count)
    for (trained, _), together in sums if level else ():
        of = {n: sum(zero.microbatch_s(level, n, together, mesh.table.precision)) for n in set(trained.tolist())}
        found += np.array([of[n] for n in trained.tolist()])
    return found


def _sync(mesh: Mesh, cluster: Cluster, sums: Mapping[Part, Sums], level: int) -> tuple[Array, Overlap | None]:
    """Each block's part, by bytes, of reducing and updating the whole model, latencies included; and what backward hides."""
    each = [_part_sync(mesh.of(part), cluster, part, own, level) for part, own in sums.items()]
    after_s, reduce_s, nbytes = max(each, key=lambda found: float((found[0] + found[1]).sum()))
    if not nbytes:
        return after_s, None
    backwards = [mesh.of(p).table.seconds(cluster.groups[p.group].device, max(p.samples)).backward for p in sums]
    shortest = min(backwards, key=lambda seconds: float(seconds.sum()))
    return reduce_s + after_s, Overlap(reduce_s, shortest, float(reduce_s.sum()) * min(1.0, BUCKET_BYTES / nbytes))


def _part_sync(mesh: Mesh, cluster: Cluster, part: Part, sums: Sums, level: int) -> tuple[Array, Array, float]:
    """[n] seconds of a part's devices after the sum, [n] of the sum, and its bytes."""
    table, device = mesh.table, cluster.groups[part.group].device
    mine = updated(level, [held for held, _ in sums])
    after_s = table.update_s(device, float(mine.sum())) * table.update_parts(device, mine)
    summed = sum((trained for (trained, ranks), _ in sums if ranks > 1), np.zeros(table.count))
    after_s = after_s + zero.packing_s(device, float(summed.sum()), table.precision) * _parts_of(summed)
    reduce_s, nbytes = np.zeros(table.count), 0.0
    for (trained, _), together in sums:
        total = float(trained.sum())
        once_s = zero.sum_s(level, total, together, table.precision)
        reduce_s = reduce_s + once_s * _parts_of(trained)
        after_s = after_s + zero.spread_s(level, total, together, table.precision) * _parts_of(trained)
        nbytes += total * PRECISIONS[table.precision].gradient_bytes * (once_s > 0)
    return after_s, reduce_s, nbytes


def _parts_of(each: Array) -> Array:
    """What each is of their sum."""
    found: Array = each / max(float(each.sum()), 1.0)
    return found
