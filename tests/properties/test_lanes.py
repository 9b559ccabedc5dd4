"""Playing one of the replicas that run alike says the same as playing all of them."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from random import Random

from autopart.cluster.cluster import Cluster
from autopart.pricing.costs import RankCosts, Reduction, StageCosts
from autopart.program.lower import completed
from autopart.program.program import Program
from autopart.program.reductions import gradient_sums
from autopart.sharding.placement import Partial, Replicate, Shard
from autopart.simulate import Timeline, play, simulate
from cost_models.hardware import Link
from tests.programs import FREE, cluster_of, random_costs, random_program, spec, transfer

CASES = 300


def test_playing_one_of_alike_replicas_is_playing_all() -> None:
    folded = uneven = 0
    for seed in range(CASES):
        rng = Random(seed)
        devices = rng.choice((1, 2, 4))
        program = _replicated(rng, devices)
        costs = _costs(rng, program)
        inside, network = (Link(rng.choice((0.0, 1e-3)), rng.choice((1e3, 1e4))) for _ in range(2))
        cluster = _nodes(128 // devices, devices, inside, network)
        once = play(program, costs, cluster)
        _assert_same(once, simulate(completed(program), costs, cluster), seed)
        folded += bool(once.twins)
        uneven += bool(once.twins) and any(len(set(stage.shares)) > 1 for stage in program.stages)
    assert folded > CASES / 3
    assert uneven > CASES / 50


def test_of_ranks_that_differ_all_are_played() -> None:
    for seed in range(CASES):
        program = replace(random_program(Random(seed)), actions={})
        costs = random_costs(Random(seed), program)
        cluster = cluster_of(*[2] * 20, network=Link(1e-3, 1e6))
        _assert_same(play(program, costs, cluster), simulate(completed(program), costs, cluster), seed)


def test_what_shares_an_uplink_is_played_together() -> None:
    """Two pipelines of the same two nodes wait for each other; of two pairs of nodes each has its own."""
    program = Program(4, 2, "1f1b", (spec(0, [0, 2], (1, 1)), spec(1, [1, 3], (1, 1))), (transfer(0, 1, Shard(0)),), {})
    costs = _costs(Random(0), program)
    network = Link(0.0, 1.0)
    apart, shared = _nodes(4, 1, FREE, network), _nodes(2, 2, FREE, network)
    assert len(play(program, costs, apart).twins) == 1
    crossed = replace(program, stages=(spec(0, [0, 1], (1, 1)), spec(1, [2, 3], (1, 1))))
    both = play(crossed, _costs(Random(0), crossed), shared)
    assert not both.twins
    assert both.step_s > play(program, costs, apart).step_s


def _nodes(count: int, devices: int, inside: Link, network: Link) -> Cluster:
    """Equal ones."""
    one = cluster_of(devices, inside=inside, network=network)
    return replace(one, groups=(replace(one.groups[0], count=count),))


def _replicated(rng: Random, devices: int) -> Program:
    """Stages of up to 8 replicas on nodes of so many, one after the other; few sorts of shares."""
    rows = rng.choice((8, 16, 24))
    stages, at = [], 0
    for index in range(rng.randint(1, 4)):
        data, tensor = rng.choice((2, 4, 8)), rng.choice((1, 2, 4))
        shares = [rows // data] * data
        if shares[0] > 1 and rng.random() < 0.3:
            shares[0], shares[-1] = shares[0] - 1, shares[-1] + 1
        ranks = list(range(at, at + data * tensor))
        if rng.random() < 0.1:
            rng.shuffle(ranks)
        stages.append(spec(index, ranks, tuple(shares), (f"w{index}",), tensor=tensor))
        at += len(ranks) if rng.random() < 0.1 else -(-len(ranks) // devices) * devices
    placements = (Shard(0),) if rng.random() < 0.7 else (Shard(0), Replicate(), Partial())
    links = [*pairwise(range(len(stages))), *((i, i + 2) for i in range(len(stages) - 2) if rng.random() < 0.3)]
    values = [replace(transfer(*link, rng.choice(placements)), value=f"v{n}") for n, link in enumerate(sorted(links))]
    microbatches = rng.randint(1, 6)
    return Program(rows * microbatches, microbatches, rng.choice(("1f1b", "gpipe")), tuple(stages), tuple(values), {})


def _costs(rng: Random, program: Program) -> StageCosts:
    """By stage and share; sometimes one rank is slower than its like."""
    found: dict[tuple[int, int], RankCosts] = {}
    for stage in program.stages:
        of = {share: rng.uniform(1e-4, 1e-2) for share in sorted(set(stage.shares))}
        for rank in stage.ranks:
            f = of[stage.shares[stage.place(rank)[0]]] * (1 if rng.random() < 0.995 else 2)
            found[stage.index, rank] = RankCosts(rank, stage.index, f, 2 * f, f, 100, 10, 5, 7, 2**40)
    sums = tuple(Reduction(each.stages, each.ranks, 2**27, rng.uniform(1e-5, 1e-2)) for each in gradient_sums(program))
    return StageCosts(found, sums)


def _assert_same(one: Timeline, other: Timeline, seed: int) -> None:
    own = {each.name for each in fields(Timeline)} - {"played", "sent", "twins"} | {"events", "messages"}
    for name in sorted(own):
        assert getattr(one, name) == getattr(other, name), (seed, name)
