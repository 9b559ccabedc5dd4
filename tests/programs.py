"""Plans, clusters, costs and programs for tests: hand-made ones by their essentials, random ones by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.group import group
from autopart.cluster.cluster import Cluster, Group
from autopart.ir.analysis import inputs_only
from autopart.ir.graph import Size
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.pricing.costs import RankCosts, Reduction, StageCosts
from autopart.program.lower import with_actions
from autopart.program.program import Program, StageSpec, Transfer
from autopart.program.reductions import gradient_sums
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from cost_models.hardware import DeviceType, Link
from tests.graphs import random_sharded

FREE = Link(0.0, 1e30)
DEVICE = DeviceType("box", 2**40, 1e9, {"float32": 1e9}, 0.0)

# By hand


def cluster_of(*devices: int, inside: Link = FREE, network: Link = FREE) -> Cluster:
    """One node for each number of devices."""
    return Cluster("test.yaml", "", tuple(Group(f"n{i}", 1, DEVICE, n, inside, network) for i, n in enumerate(devices)))


def spec(
    index: int, ranks: Sequence[int], shares: Sequence[int], parameters: Sequence[str] = (), *, tensor: int = 1
) -> StageSpec:
    return StageSpec(index, tuple(ranks), tuple(shares), (), tuple(parameters), tensor=tensor)


def transfer(source: int, target: int, placement: Placement | None = None, *, gradient: bool = True, width: int = 1) -> Transfer:
    """[b, width] float32 between two stages."""
    return Transfer(f"v{source}_{target}", source, target, (Size("b"), width), "float32", placement or Shard(0), gradient)


def chain(
    shares: Sequence[Sequence[int]], microbatches: int, schedule: str = "1f1b", *, skips: Sequence[tuple[int, int]] = ()
) -> Program:
    """Stages on consecutive ranks, each sending to the next and by ``skips`` to later ones."""
    stages, rank = [], 0
    for index, rows in enumerate(shares):
        stages.append(spec(index, range(rank, rank + len(rows)), rows, (f"p{index}",)))
        rank += len(rows)
    links = [*((i, i + 1) for i in range(len(shares) - 1)), *skips]
    transfers = tuple(transfer(*link) for link in sorted(links))
    return with_actions(Program(sum(shares[0]) * microbatches, microbatches, schedule, tuple(stages), transfers, {}))


def costs_of(
    program: Program,
    forward_s: Sequence[float],
    backward_s: Sequence[float],
    *,
    update_s: float = 0.0,
    static: int = 0,
    inflight: int = 0,
    transient: int = 0,
    reductions: Sequence[Reduction] = (),
) -> StageCosts:
    """Times by stage, bytes alike everywhere."""
    return StageCosts(
        {
            (stage.index, rank): RankCosts(
                rank=rank,
                stage=stage.index,
                forward_s=forward_s[stage.index],
                backward_s=backward_s[stage.index],
                update_s=update_s,
                static_bytes=static,
                inflight_bytes=inflight,
                transient_bytes=transient,
                update_bytes=0,
                capacity_bytes=2**40,
            )
            for stage in program.stages
            for rank in stage.ranks
        },
        tuple(reductions),
    )


# By seed


def random_cluster(rng: Random, most: int = 12) -> Cluster:
    """Up to ``most`` devices in up to three groups with unlike links."""
    groups: list[Group] = []
    while not groups or (len(groups) < 3 and rng.random() < 0.5):
        left = most - sum(group.devices for group in groups)
        if not left:
            break
        per_node = rng.randint(1, min(4, left))
        count = rng.randint(1, max(1, min(3, left // per_node)))
        inside, network = (Link(10 ** rng.uniform(-6, -3), 10 ** rng.uniform(5, 9)) for _ in range(2))
        groups.append(Group(f"g{len(groups)}", count, DEVICE, per_node, inside, network))
    pair = (0, len(groups) - 1)
    exceptions = ((pair, Link(1e-3, 1e5)),) if rng.random() < 0.3 else ()
    return Cluster("random.yaml", "", tuple(groups), exceptions)


def random_blocks(rng: Random, sharded: ShardedGraph) -> Blocks:
    """The graph cut anywhere that no write into earlier results forbids."""
    everywhere = inputs_only(sharded.graph)
    ops = [op for op in sharded.graph.ops if op.name not in everywhere]
    cuts = {i for i in range(1, len(ops)) if rng.random() < 0.4 and not ops[i].mutates}
    parts: list[list[str]] = [[]]
    for i, op in enumerate(ops):
        if i in cuts:
            parts.append([])
        parts[-1].append(op.name)
    blocks = tuple(Block(f"block{i}", i, tuple(part), "") for i, part in enumerate(parts))
    return Blocks(sharded, blocks, tuple(op.name for op in sharded.graph.ops if op.name in everywhere))


def random_plan(rng: Random, blocks: Blocks, cluster: Cluster) -> Plan:
    """Any stages on any ranks with any shares; some ranks may stay unused."""
    names = [block.name for block in blocks.blocks]
    ranks = rng.sample(range(len(cluster.ranks)), len(cluster.ranks))
    count = rng.randint(1, min(len(names), len(ranks), 6))
    cuts = [0, *sorted(rng.sample(range(1, len(names)), count - 1)), len(names)]
    microbatches, stages = rng.randint(1, 9), []
    rows = rng.randint(1, 8)
    for index in range(count):
        left = count - index - 1
        replicas = rng.randint(1, min(rows, len(ranks) - left))
        mine, ranks = ranks[:replicas], ranks[replicas:]
        stages.append(
            Stage(
                index,
                tuple(names[cuts[index] : cuts[index + 1]]),
                tuple(mine),
                random_shares(rng, rows, replicas),
                data=replicas,
                recompute=rng.random() < 0.3,
            )
        )
    return Plan(
        ModelRef("random.py"),
        ClusterRef(cluster.path),
        rows * microbatches,
        Settings(),
        Schedule(rng.choice(("1f1b", "gpipe")), microbatches),
        tuple(stages),
        tuple(sorted(ranks)),
    )


def random_program(rng: Random) -> Program:
    """Stages on meshes of replicas and columns, on any ranks, with values that lie in any way between any two of them."""
    rows, microbatches = rng.randint(1, 5), rng.randint(1, 5)
    meshes = [(random_shares(rng, rows, rng.randint(1, min(rows, 3))), rng.randint(1, 3)) for _ in range(rng.randint(1, 4))]
    used = sum(len(shares) * tensor for shares, tensor in meshes)
    ranks, stages = rng.sample(range(used + 2), used), []
    for index, (shares, tensor) in enumerate(meshes):
        mine, ranks = ranks[: len(shares) * tensor], ranks[len(shares) * tensor :]
        stages.append(spec(index, mine, shares, (f"whole{index}", f"split{index}", "tied"), tensor=tensor))
    links = [*pairwise(range(len(stages))), *((i, j) for j in range(len(stages)) for i in range(j - 1) if rng.random() < 0.4)]
    values = []
    for link in sorted((*links, *rng.sample(links, min(1, len(links))))):
        value = transfer(*link, rng.choice((Shard(0), Replicate(), Partial())), gradient=rng.random() < 0.8)
        values.append(replace(value, value=f"v{len(values)}"))
    shards = {f"split{index}": Shard(0, 1, tensor) for index, (_, tensor) in enumerate(meshes)}
    schedule = rng.choice(("1f1b", "gpipe"))
    return with_actions(Program(rows * microbatches, microbatches, schedule, tuple(stages), tuple(values), {}, shards))


def random_shares(rng: Random, rows: int, replicas: int) -> tuple[int, ...]:
    cuts = [0, *sorted(rng.sample(range(1, rows), replicas - 1)), rows]
    return tuple(b - a for a, b in pairwise(cuts))


def random_costs(rng: Random, program: Program) -> StageCosts:
    found: dict[tuple[int, int], RankCosts] = {}
    for stage in program.stages:
        for rank in stage.ranks:
            found[stage.index, rank] = RankCosts(
                rank=rank,
                stage=stage.index,
                forward_s=rng.choice((0.0, rng.uniform(1e-4, 1e-2))),
                backward_s=rng.choice((0.0, rng.uniform(1e-4, 1e-2))),
                update_s=rng.uniform(0, 1e-2),
                static_bytes=rng.randint(0, 10**6),
                inflight_bytes=rng.randint(0, 10**6),
                transient_bytes=rng.randint(0, 10**6),
                update_bytes=rng.randint(0, 10**6),
                capacity_bytes=2**40,
            )
    sums = tuple(
        Reduction(group.stages, group.ranks, rng.randint(1, 2**28), rng.uniform(1e-5, 1e-2)) for group in gradient_sums(program)
    )
    return StageCosts(found, sums)


def random_case(seed: int) -> tuple[Blocks, Plan, Cluster]:
    """A random graph, as it is grouped or cut at random, over a random cluster."""
    rng = Random(seed)
    sharded = random_sharded(seed, max_layers=6)
    blocks = group(sharded) if seed % 8 == 0 else random_blocks(rng, sharded)
    cluster = random_cluster(rng)
    return blocks, random_plan(rng, blocks, cluster), cluster


def busy_s(program: Program, costs: StageCosts) -> Mapping[int, float]:
    """What a microbatch keeps each stage busy, on its slowest rank."""
    return {
        stage.index: max(costs.of[stage.index, rank].forward_s + costs.of[stage.index, rank].backward_s for rank in stage.ranks)
        for stage in program.stages
    }
