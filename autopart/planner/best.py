"""Planning from blocks and a cluster to the chosen plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autopart.cluster.tariffs import tariff
from autopart.errors import Infeasible
from autopart.planner.baselines import baselines
from autopart.planner.cheapest import Cheapest, cheapest
from autopart.planner.choose import Instead, Pick, Ranking, admitting, chosen, fastest, fitting, follows, rank
from autopart.planner.front import front
from autopart.planner.ilp import solve
from autopart.planner.infeasible import explain, is_hopeless
from autopart.planner.known import candidates_of, with_known
from autopart.planner.meshes import Index
from autopart.planner.pins import check_pins
from autopart.planner.points import front_points
from autopart.planner.price import price_orders, propose
from autopart.planner.problem import Problem, Solution
from autopart.planner.rates import Rates
from autopart.planner.score import score
from autopart.planner.spend import Wish, cheapest_plan
from autopart.planner.strategies import Pins
from autopart.plans import Plan
from autopart.say import Say, silent

Progress = Callable[[float, float, float], None]
STEP = Wish()


def best_plan(
    index: Index,
    pins: Pins | None = None,
    schedule: str = "1f1b",
    *,
    wish: Wish = STEP,
    with_front: bool = False,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
    known: Sequence[Plan] = (),
    pick: Pick = fastest,
    say: Say = silent,
) -> Plan:
    """The plan with its estimate and baselines; raises Infeasible with the reason and what would help.

    ``progress(incumbent, bound, elapsed_s)`` in seconds, or in what is wished for. The front is given ``time_limit_s`` again.
    ``known`` plans, as far as they have what the user fixed, are where the search starts from; ``pick`` has the last word.
    """
    pins = pins or Pins()
    if wish.objective != "step":
        tariff(index.cluster, wish.objective)  # says at once what the cluster file lacks
    index = _under(index, pins)
    if is_hopeless(index):
        raise _refused(index, pins, schedule, say)
    question = _asked(index, pins, schedule, known)
    run = _solving(question, gap, time_limit_s, progress)
    ranking: Ranking | None = None
    if wish.objective == "step":
        ranking = _answer(question, run, say)
        plan = chosen(ranking, question.instead, pick)
    else:
        plan = cheapest_plan(
            question.problem, question.indices, wish, question.instead, _searching(gap, time_limit_s, progress), run
        )
    if plan is None and ranking is not None and ranking.solution.proof == "time limit":
        raise Infeasible(f"no plan was found within {time_limit_s:g} s, nor was it ruled out that there is one",
                         remedy="Give more time with --time-limit.")  # fmt: skip
    if plan is None:
        raise _refused(question.index, pins, schedule, say)
    if not with_front:
        return plan
    limited = front(
        question.problem,
        lambda asked, share_s, floor_s: solve(asked, gap=gap, time_limit_s=share_s, floor_s=floor_s),
        time_limit_s=time_limit_s,
        known=ranking.solution if ranking else None,
    )
    others = [*question.instead.competing, score(plan, question.index)]
    return replace(plan, front=front_points(question.problem, limited, question.indices, others))


def _refused(index: Index, pins: Pins, schedule: str, say: Say) -> Infeasible:
    say("looking for what would help")
    return explain(index, pins, schedule, lambda changed: solve(changed, gap=1.0, time_limit_s=10.0))


def search(
    index: Index,
    pins: Pins,
    schedule: str = "1f1b",
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
    known: Sequence[Plan] = (),
) -> Ranking:
    """The best plans that have what is pinned, simulated, beside the baselines; InputError where the pins are impossible.
    ``known`` plans are where it starts from, as for ``best_plan``.
    """
    question = ask(index, pins, schedule, known)
    return _answer(question, _solving(question, gap, time_limit_s, progress), silent)


@dataclass(frozen=True, eq=False)
class Question:
    """A search made ready: what to choose from, the blocks in every order that is tried (``index`` has them as traced), plans
    to compare with, plans to start from.
    """

    problem: Problem
    indices: tuple[Index, ...]
    instead: Instead
    known: tuple[Plan, ...] = ()

    @property
    def index(self) -> Index:
        return self.indices[0]


def ask(index: Index, pins: Pins, schedule: str, known: Sequence[Plan] = ()) -> Question:
    """InputError where the pins are impossible."""
    return _asked(_under(index, pins), pins, schedule, known)


def _under(index: Index, pins: Pins) -> Index:
    index = replace(index, layouts=pins.layouts)
    check_pins(index, pins)
    return index


def _asked(index: Index, pins: Pins, schedule: str, known: Sequence[Plan]) -> Question:
    indices = index.in_every_order()
    kept = [p for p in known if p.schedule.name == schedule and follows(p, pins, index.cluster) and not pins.layouts]
    problem = price_orders(indices, with_known(propose(index, pins, schedule), kept, index), pins)
    instead = Instead(baselines(index, schedule), pins, index, fitting(kept, index))
    return Question(admitting(problem, instead.competing, index), indices, instead, tuple(kept))


def _answer(question: Question, run: Callable[[Problem], Solution], say: Say) -> Ranking:
    solution = run(question.problem) if question.problem.settings else Solution((), 0.0, "infeasible")
    if solution.proof == "interrupted" and not solution.candidates:
        raise KeyboardInterrupt
    say("simulating the best plans and the baselines")
    return rank(question.problem, solution, question.indices, question.instead, run)


def _solving(question: Question, gap: float, time_limit_s: float, progress: Progress | None) -> Callable[[Problem], Solution]:
    def run(problem: Problem) -> Solution:
        start = candidates_of(question.known, problem, question.indices)
        return solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress, start=start)

    return run


def _searching(gap: float, time_limit_s: float, progress: Progress | None) -> Callable[[Problem, Rates, float], Cheapest]:
    """The search for the cheapest pipelines, with the solver in it."""

    def run(problem: Problem, sharp: float, remaining_s: float, enough_s: float) -> Solution:
        return solve(problem, gap=sharp, time_limit_s=remaining_s, elsewhere=False, enough_s=enough_s)

    def search(problem: Problem, rates: Rates, limit_s: float) -> Cheapest:
        started = time.monotonic()

        def tell(best: float, bound: float) -> None:
            if progress:
                progress(best, bound, time.monotonic() - started)

        return cheapest(problem, rates, run, limit_s=limit_s, gap=gap, time_limit_s=time_limit_s, progress=tell)

    return search
