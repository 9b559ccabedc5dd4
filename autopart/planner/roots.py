"""A setting made ready for the search: the columns of pipelines worth finding, and what all other pipelines cost at least."""

from __future__ import annotations

from dataclasses import dataclass

from autopart.planner.columns import Chain, Columns, columns_below, make_chain
from autopart.planner.problem import Problem, Setting
from autopart.planner.stack import stack_of
from autopart.planner.work import Work


@dataclass(frozen=True, eq=False)
class Root:
    """A setting made ready for pipelines below ``reach_s``; all others of it cost at least ``left_s``. ``ceiling_s`` exceeds the
    objective of any pipeline of the columns.
    """

    chain: Chain
    columns: Columns
    ceiling_s: float
    reach_s: float
    left_s: float


def make_root(problem: Problem, setting: Setting, work: Work, reach_s: float) -> Root:
    problem = problem.under(setting)
    stack = stack_of(problem, setting)
    chain = make_chain(problem, setting, stack)
    columns, left_s = columns_below(problem, setting, chain, stack, work, reach_s)
    most = [costs.max(initial=0.0) for costs in (columns.time_s, columns.sync_s, columns.cost_s - columns.time_s)]
    slowest_s, longest_s, surcharge_s = map(float, most)
    slowest_s += chain.neighbours.most_s if chain.neighbours else 0.0
    ceiling_s = 2 * ((chain.limit + chain.microbatches - 1) * slowest_s + chain.limit * surcharge_s + longest_s)
    return Root(chain, columns, max(ceiling_s, 1e-300), reach_s, left_s)
