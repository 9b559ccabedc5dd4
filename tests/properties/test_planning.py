"""Random models on random clusters: what the solver answers becomes valid plans whose formula is the solver's own."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from autopart.cluster.cluster import same_node
from autopart.errors import Infeasible
from autopart.planner import oracle
from autopart.planner.best import best_plan
from autopart.planner.decode import decode
from autopart.planner.ilp import solve
from autopart.planner.meshes import Index, make_index
from autopart.planner.price import price, propose
from autopart.planner.problem import Candidate, Choice, Problem, step_s
from autopart.planner.score import estimate, formula_step, score
from autopart.plans import ModelRef, Settings
from autopart.program.check import check_plan
from cost_models.hardware import DeviceType
from cost_models.memory import RESERVE
from tests.graphs import random_sharded
from tests.programs import DEVICE, random_blocks, random_cluster

CASES = 24


def random_index(seed: int) -> Index:
    """Half of the devices have memory for a part of the model only."""
    rng = Random(seed)
    blocks = random_blocks(rng, random_sharded(seed, max_layers=5))
    cluster, samples = random_cluster(rng, most=6), rng.choice((1, 4, 6, 12))
    roomy = make_index(blocks, cluster, samples, Settings(), ModelRef("m.py"))
    if rng.random() < 0.3:
        return roomy
    whole = roomy.table.static.sum() + roomy.table.kept(DEVICE, samples, recompute=False).inflight.sum()
    groups = tuple(replace(group, device=_with_memory(whole * rng.uniform(0.3, 2))) for group in cluster.groups)
    return make_index(blocks, replace(cluster, groups=groups), samples, Settings(), ModelRef("m.py"))


def _with_memory(usable: float) -> DeviceType:
    reserve = RESERVE["cpu"]
    return replace(DEVICE, kind="cpu", memory_bytes=int((usable + reserve.fixed_bytes) / (1 - reserve.fraction)) + 1)


def random_candidate(rng: Random, problem: Problem) -> Candidate | None:
    """Any stages under any options for which there are devices; memory apart."""
    number = rng.randrange(len(problem.settings))
    setting = problem.settings[number]
    left, start, choices = list(problem.devices), 0, []
    while start < problem.blocks:
        fitting = [i for i, o in enumerate(setting.options) if all(u <= n for u, n in zip(o.usage, left, strict=True))]
        if not fitting:
            return None
        option = rng.choice(fitting)
        stop = problem.blocks if rng.random() < 0.3 else rng.randint(start + 1, problem.blocks)
        left = [n - u for n, u in zip(left, setting.options[option].usage, strict=True)]
        choices.append(Choice(start, stop, option))
        start = stop
    return Candidate(number, tuple(choices), step_s(setting, choices))


def test_any_candidate_becomes_a_valid_plan_of_the_same_formula() -> None:
    stages = columns = 0
    for seed in range(CASES):
        rng, index = Random(seed), random_index(seed)
        problem = price(index, propose(index))
        for candidate in filter(None, (random_candidate(rng, problem) for _ in range(5))):
            plan = decode(candidate, problem, index)
            assert plan is not None
            check_plan(plan, index.blocks, index.cluster)
            assert plan == decode(candidate, problem, index)
            assert formula_step(plan, index) == pytest.approx(candidate.step_s, rel=1e-12)
            exact = oracle.step_s(problem, candidate.setting, candidate.choices)
            assert exact is None or exact == pytest.approx(candidate.step_s, rel=1e-12)
            stages = max(stages, len(plan.stages))
            replicas = [stage.replica(replica) for stage in plan.stages for replica in range(stage.data)]
            assert all(same_node(index.cluster, ranks) for ranks in replicas), "columns of a replica are in one node"
            columns += any(stage.tensor > 1 for stage in plan.stages)
    assert stages > 2
    assert columns > 10


def test_what_the_solver_says_fits_also_fits_when_simulated() -> None:
    for seed in range(CASES):
        index = random_index(seed)
        problem = price(index, propose(index))
        for candidate in solve(problem, gap=0.05, time_limit_s=20).candidates[:2]:
            plan = decode(candidate, problem, index)
            assert plan is not None
            scored = score(plan, index)
            assert not scored.overfull
            assert estimate(scored, index).schedule_bound_s <= scored.step_s * (1 + 1e-9)


def test_the_chosen_plan_is_valid_and_no_baseline_beats_it() -> None:
    pipelines = impossible = 0
    for seed in range(CASES):
        index = random_index(seed)
        try:
            plan = best_plan(index, time_limit_s=20)
        except Infeasible:
            impossible += 1
            continue
        check_plan(plan, index.blocks, index.cluster)
        assert plan.estimate is not None
        assert all(row.step_time_s is None or plan.estimate.step_time_s <= row.step_time_s for row in plan.baselines)
        pipelines += len(plan.stages) > 1
    assert pipelines > 2
    assert impossible > 0
