"""Planning from blocks and a cluster to the chosen plan."""

from __future__ import annotations

from collections.abc import Callable

from autopart.errors import InputError
from autopart.planner.choose import choose
from autopart.planner.ilp import solve
from autopart.planner.infeasible import explain
from autopart.planner.price import Index, price, propose
from autopart.planner.problem import Problem, Solution
from autopart.planner.strategies import Pins, microbatch_counts
from autopart.plans import Plan

Progress = Callable[[float, float, float], None]


def best_plan(
    index: Index,
    pins: Pins | None = None,
    schedule: str = "1f1b",
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
) -> Plan:
    """The plan with its estimate and baselines; raises Infeasible with the reason and what would help."""
    pins = pins or Pins()
    check_pins(index, pins)

    def run(problem: Problem) -> Solution:
        return solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)

    problem = price(index, propose(index, pins, schedule), pins.stages)
    solution = run(problem) if problem.settings else Solution((), 0.0, "infeasible")
    plan = choose(problem, solution, index, pins, run)
    if plan is None:
        raise explain(index, pins, schedule, lambda changed: solve(changed, gap=1.0, time_limit_s=10.0))
    return plan


def check_pins(index: Index, pins: Pins) -> None:
    """Raise InputError where the user fixed what no plan of this model, cluster and batch size can have."""
    for wrong in (_wrong_microbatches(index, pins), _wrong_data(index, pins), _wrong_stages(index, pins)):
        if wrong is not None:
            raise wrong


def _wrong_microbatches(index: Index, pins: Pins) -> InputError | None:
    wish, batch = pins.microbatches, index.batch_size
    if wish is None:
        return None
    mixing = index.blocks.sharded.mixing
    if wish > 1 and mixing:
        where = mixing[0].source or mixing[0].module
        return InputError(f"the model mixes samples ({mixing[0].reason}), so that microbatches are impossible", where=where,
                          remedy="Leave out --microbatches, or set it to 1.")  # fmt: skip
    if wish < 1 or batch % wish:
        nearest = sorted(microbatch_counts(batch, only_one=False, pinned=None), key=lambda n: abs(n - wish))[:2]
        which = " or ".join(map(str, sorted(nearest)))
        return InputError(
            f"a batch of {batch} can't be cut into {wish} equal microbatches", remedy=f"Take --microbatches {which}."
        )
    return None


def _wrong_data(index: Index, pins: Pins) -> InputError | None:
    wish, devices = pins.data, len(index.cluster.ranks)
    if wish is None:
        return None
    most = min(devices // (pins.stages or 1), index.batch_size // (pins.microbatches or 1))
    if not 1 <= wish <= most:
        what = f"{wish} replicas of each stage: there are {devices} devices, {index.batch_size} samples"
        asked = [f"--{name} {value}" for name, value in (("stages", pins.stages), ("microbatches", pins.microbatches)) if value]
        return InputError(" and ".join([what, *asked]), remedy=f"Take --data between 1 and {max(1, most)}.")
    if wish > 1 and all(source.batch_dim is None for source in index.blocks.sharded.graph.inputs):
        return InputError(f"{wish} replicas of a model without a batch dim", remedy="Leave out --data, or set it to 1.")
    return None


def _wrong_stages(index: Index, pins: Pins) -> InputError | None:
    most = min(len(index.blocks.blocks), len(index.cluster.ranks))
    if pins.stages is None or 1 <= pins.stages <= most:
        return None
    what = f"{pins.stages} stages of {len(index.blocks.blocks)} blocks on {len(index.cluster.ranks)} devices"
    return InputError(what, remedy=f"Take --stages between 1 and {most}.")
