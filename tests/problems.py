"""Small planning problems drawn so that order, memory, mixing and neighbours matter: for solvers against exhaustive search."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.packing import slots, slots_of
from autopart.planner.problem import Array, Option, Overlap, Part, Problem, Routes, Setting, Tie
from tests.programs import DEVICE, FREE


@dataclass(frozen=True)
class Machines:
    """By group: devices, memory, speed; what a boundary moves, by boundary; sizes of nodes."""

    devices: tuple[int, ...]
    capacity: tuple[int, ...]
    speed: tuple[float, ...]
    cut: tuple[float, ...]


@dataclass(frozen=True)
class Work:
    """Of a kind of block: seconds, static bytes, bytes in flight, bytes while it runs."""

    seconds: float
    static: int
    inflight: int
    transient: int


def random_problem(rng: random.Random, *, routes: bool | None = None) -> Problem:
    """``routes`` None: for half of the problems."""
    kinds = _random_kinds(rng)
    devices = tuple(rng.choices(range(1, 5), k=rng.randint(1, 3)))
    while sum(devices) > 6:
        devices = tuple(max(1, d - 1) for d in devices)
    nodes = cluster_with_nodes(rng) if rng.random() < 0.2 else None
    devices = (nodes.groups[0].devices,) if nodes else devices
    settings = [_random_setting(rng, kinds, devices) for _ in range(rng.randint(1, 3))]
    ties = _random_ties(rng, len(kinds))
    if rng.random() < 0.3:
        alike = rng.random() < 0.5
        settings = [replace(s, options=tuple(_split(rng, o, ties, alike) for o in s.options)) for s in settings]
    if routes or (routes is None and rng.random() < 0.5):
        settings = [with_routes(rng, setting) for setting in settings]
    if nodes:
        settings = [replace(s, options=tuple(replace(o, slots=slots_of(o.parts, nodes)) for o in s.options)) for s in settings]
    stages = rng.choice([None, None, None, None, rng.randint(1, 4)])
    return Problem(kinds, devices, tuple(settings), ties, stages, slots(nodes) if nodes else ())


def cluster_with_nodes(rng: random.Random) -> Cluster:
    """Nodes of sizes that meshes of a power of two don't fill."""
    count, size = rng.choice(((2, 3), (3, 3), (2, 5)))
    return Cluster("", "", (Group("n", count, DEVICE, size, FREE, FREE),))


def _random_kinds(rng: random.Random) -> tuple[int, ...]:
    """Embedding, layers, head; two sorts of layers, as in an encoder and a decoder; unlike blocks; two kinds at random."""
    blocks = rng.randint(3, 6)
    match rng.randint(0, 5):
        case 0 | 1:
            return (0, *[1] * (blocks - 2), 2)
        case 2:
            return (0, 1, 1, 1, 1, 2)
        case 3:
            return (0, 1, 1, 2, 2, 3)
        case 4:
            return tuple(range(blocks))
        case _:
            return tuple(rng.randint(0, 1) for _ in range(blocks))


def _random_ties(rng: random.Random, blocks: int) -> tuple[Tie, ...]:
    if rng.random() < 0.6:
        return ()
    first, second = sorted(rng.sample(range(blocks), 2))
    return (Tie(first, second, float(rng.randint(1, 15))),)


def _random_setting(rng: random.Random, kinds: tuple[int, ...], devices: tuple[int, ...]) -> Setting:
    work = [
        Work(rng.uniform(1, 5), rng.randint(8, 25), rng.choice([0, *range(8, 26)]), rng.randint(0, 12))
        for _ in range(max(kinds) + 1)
    ]
    cut = [rng.uniform(0.0, 1.5) for _ in range(len(kinds) + 1)]
    if rng.random() < 0.75:
        cut = [cut[0]] * len(cut)
    machines = Machines(
        devices,
        tuple(rng.randint(45, 120) for _ in devices),
        tuple(rng.uniform(0.5, 2.0) for _ in devices),
        (0.0, *cut[1:-1], 0.0),
    )
    options = tuple(_random_option(rng, kinds, machines, work) for _ in range(rng.randint(3, 8)))
    return Setting(rng.choice(["1f1b", "1f1b", "1f1b", "gpipe"]), rng.choice([1, 2, 4, 4, 8, 8]), options)


def _random_parts(rng: random.Random, devices: tuple[int, ...]) -> tuple[Part, ...]:
    """One group or two, uneven shares, replicas of one device or of two; where there is one group alone, up to four."""
    mixed = len(devices) > 1 and rng.random() < 0.3
    groups = sorted(rng.sample(range(len(devices)), 2 if mixed else 1))
    tensor = 2 if min(devices[group] for group in groups) >= 2 and rng.random() < 0.3 else 1
    most = 2 if len(devices) > 1 else 4 // tensor
    counts = [rng.randint(1, max(1, min(most, devices[group] // tensor))) for group in groups]
    return tuple(
        Part(group, tuple(rng.randint(1, 3) for _ in range(count)), tensor) for group, count in zip(groups, counts, strict=True)
    )


def _random_option(rng: random.Random, kinds: tuple[int, ...], machines: Machines, work: list[Work]) -> Option:
    parts, recompute = _random_parts(rng, machines.devices), rng.random() < 0.4
    replicas = sum(len(p.samples) for p in parts)
    zero = rng.choice([0, 0, 1, 3]) if replicas > 1 else 0
    share = [max(p.samples) / sum(sum(q.samples) for q in parts) / p.tensor for p in parts]

    def by_part(of_kind: Callable[[int, Work], float]) -> Array:
        return np.array([[float(of_kind(p, work[kind])) for kind in kinds] for p in range(len(parts))])

    slower = (1.3 if recompute else 1.0) * (1.15 if zero == 3 else 1.0)
    held = {0: 1.0, 1: 0.7, 3: 1 / replicas}[zero] / parts[0].tensor
    output = [round(2 * c) for c in machines.cut]
    sync = np.array([0.0 if replicas == 1 else work[k].static * 0.1 for k in kinds])
    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(sum(p.devices for p in parts if p.group == g) for g in range(len(machines.devices))),
        time_s=by_part(lambda p, w: w.seconds * share[p] / machines.speed[parts[p].group] * slower),
        boundary_s=np.array(machines.cut) * max(share),
        sync_s=sync,
        capacity_bytes=np.array([float(machines.capacity[p.group]) for p in parts]),
        static_bytes=by_part(lambda p, w: np.ceil(w.static * held)),
        inflight_bytes=by_part(lambda p, w: np.ceil(w.inflight * share[p] * (0.3 if recompute else 1.0))),
        transient_bytes=by_part(lambda p, w: w.transient if recompute else 0),
        output_bytes=np.array([[float(b) for b in output]] * len(parts)) if rng.random() < 0.5 else None,
        overlap=None if recompute else Overlap(0.8 * sync, np.array([work[k].seconds * share[0] for k in kinds]), 0.5),
        zero=zero,
    )


def _split(rng: random.Random, option: Option, ties: tuple[Tie, ...], alike: bool) -> Option:
    """Sometimes, what several columns cost: something at the end of a stage; ties that save less than elsewhere."""
    if rng.random() < 0.5:
        return option
    ends = [rng.uniform(0.0, 1.0) for _ in option.boundary_s]
    saved = tuple(tie.static_bytes * rng.uniform(0, 1) for tie in ties)
    return replace(option, end_s=np.array([ends[0]] * len(ends) if alike else ends), tied_bytes=saved)


def with_routes(rng: random.Random, setting: Setting) -> Setting:
    """Ways between places, one for each set of parts; now and then a slow one."""
    places = {option.parts: number for number, option in enumerate({option.parts: option for option in setting.options}.values())}
    cut = np.max([option.boundary_s for option in setting.options], axis=0)
    shape = len(places), len(places)
    near = rng.uniform(0.5, 3.0)
    each = np.array(
        [[near * (rng.uniform(2, 8) if rng.random() < 0.3 else 1.0) for _ in range(shape[1])] for _ in range(shape[0])]
    )
    groups = [{part.group for part in parts} for parts in places]
    apart = np.array([[one.isdisjoint(other) for other in groups] for one in groups])
    each = np.where(apart & (rng.random() < 0.5), each * 4, each)
    latency = np.array([[rng.choice([0.0, 0.2]) for _ in range(shape[1])] for _ in range(shape[0])])
    options = tuple(replace(option, place=places[option.parts]) for option in setting.options)
    return replace(setting, options=options, routes=Routes(latency, each, 2.0 * (cut > 0), cut))
