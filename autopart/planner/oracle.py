"""Exhaustive search, to check the solver against: every pipeline in chain order, priced from the problem's definition.

Plain Python on purpose, and nothing of the solver's: it shares no code with what it checks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from autopart.planner.problem import Candidate, Choice, Option, Problem, Setting, Tie

Value = Callable[[float, tuple[int, ...]], float]
"""What a plan is worth, by its step and how many devices of each group work in it; grows with both."""


def best(problem: Problem, value: Value | None = None) -> Candidate | None:
    """The pipeline of least ``value`` (the step, with the surcharge of budgets, unless another is given), or None if there is
    none: if the value of all is infinite, too. Exponential: for a handful of blocks, devices and options.
    """

    def objective_s(step: float, working: tuple[int, ...]) -> float:
        return step + surcharge_s(problem, working)

    value = value or objective_s
    found = [_best_of_setting(problem, index, value) for index in range(len(problem.settings))]
    return min((each for each in found if each is not None), key=lambda each: each[0], default=(0.0, None))[1]


def surcharge_s(problem: Problem, working: tuple[int, ...]) -> float:
    """What budgets add to the objective where so many devices of each group work."""
    return sum(budget.unit_s * _taken(budget.each, working) for budget in problem.budgets)


def working_devices(problem: Problem, setting: int, choices: tuple[Choice, ...]) -> tuple[int, ...]:
    """How many devices of each group have a part in a pipeline."""
    parts = [part for c in choices for part in problem.settings[setting].options[c.option].parts]
    return tuple(sum(p.devices for p in parts if p.group == group) for group in range(len(problem.devices)))


def _taken(each: tuple[int, ...], working: tuple[int, ...]) -> int:
    return sum(units * devices for units, devices in zip(each, working, strict=True))


def step_s(problem: Problem, setting: int, choices: tuple[Choice, ...]) -> float | None:
    """The step of a pipeline by the formula; None if it is not one: it leaves blocks, or exceeds devices, budgets, memory or
    stages.
    """
    chosen = problem.settings[setting]
    ties = problem.ties if chosen.order == 0 else problem.others[chosen.order - 1].ties
    ends = [0] + [choice.stop for choice in choices]
    starts = [choice.start for choice in choices] + [problem.blocks]
    if ends != starts or any(c.start >= c.stop for c in choices) or problem.stages not in (None, len(choices)):
        return None
    used = [taken(chosen.options[c.option]) for c in choices]
    if any(sum(each) > have for each, have in zip(zip(*used, strict=True), (*problem.devices, *problem.slots), strict=True)):
        return None
    if any(sum(each) < least for each, least in zip(zip(*used, strict=True), problem.least, strict=False)):
        return None
    working = working_devices(problem, setting, choices)
    if any(_taken(budget.each, working) > budget.limit for budget in problem.budgets):
        return None
    for behind, c in enumerate(reversed(choices)):
        if not fits(chosen.options[c.option], c.start, c.stop, behind + 1, chosen, ties):
            return None
    times = [stage_time_s(chosen.options[c.option], c.start, c.stop, problem.blocks) for c in choices]
    for i in range(1, len(choices)):
        between = extra_s(chosen, choices[i - 1].option, choices[i].option, choices[i].start)
        times[i - 1] += between / 2
        times[i] += between / 2
    syncs = [stage_sync_s(chosen.options[c.option], c.start, c.stop) for c in choices]
    return sum(times) + (chosen.microbatches - 1) * max(times) + max(syncs)


def stage_time_s(option: Option, start: int, stop: int, blocks: int) -> float:
    """Seconds of one microbatch: the slowest part, and this side of its transfers."""
    slowest = max(sum(float(s) for s in row[start:stop]) for row in option.time_s)
    entry = float(option.boundary_s[start]) if start > 0 else 0.0
    leave = float(option.boundary_s[stop]) if stop < blocks else 0.0
    hand_on = 0.0 if option.end_s is None else float(option.end_s[stop])
    return slowest + entry + leave + hand_on


def taken(option: Option) -> tuple[int, ...]:
    """Devices of each group, and slots in nodes."""
    return (*option.usage, *option.slots)


def extra_s(setting: Setting, before: int, after: int, boundary: int) -> float:
    """What the way between two stages takes longer than their own halves of it."""
    if setting.routes is None:
        return 0.0
    one, other, routes = setting.options[before], setting.options[after], setting.routes
    way = float(routes.messages[boundary]) * float(routes.latency_s[one.place][other.place])
    way += float(routes.nbytes[boundary]) * float(routes.byte_s[one.place][other.place])
    return max(0.0, way - float(one.boundary_s[boundary]) - float(other.boundary_s[boundary]))


def stage_sync_s(option: Option, start: int, stop: int) -> float:
    """Seconds after the last backward: the update, and what of the reduction no backward hides (the last bucket always)."""
    total = sum(float(s) for s in option.sync_s[start:stop])
    if option.overlap is None:
        return total
    reduce_s = sum(float(s) for s in option.overlap.reduce_s[start:stop])
    backward_s = sum(float(s) for s in option.overlap.backward_s[start:stop])
    if reduce_s <= option.overlap.bucket_s:
        return total
    return total - min(reduce_s, backward_s) * (1 - option.overlap.bucket_s / reduce_s)


def fits(option: Option, start: int, stop: int, position: int, setting: Setting, ties: tuple[Tie, ...]) -> bool:
    """Whether a stage's memory suffices at a position counted from the end, 1 for the last."""
    inflight = setting.microbatches if setting.schedule == "gpipe" else min(setting.microbatches, position)
    saved = [tie.static_bytes for tie in ties] if option.tied_bytes is None else option.tied_bytes
    shared = sum(nbytes for tie, nbytes in zip(ties, saved, strict=True) if start <= tie.first and tie.second < stop)
    for part in range(len(option.capacity_bytes)):
        static = sum(float(b) for b in option.static_bytes[part][start:stop]) - shared
        kept = sum(float(b) for b in option.inflight_bytes[part][start:stop])
        if option.output_bytes is not None:
            kept += float(option.output_bytes[part][stop])
        transient = max(float(b) for b in option.transient_bytes[part][start:stop])
        if static + kept * inflight + transient > option.capacity_bytes[part]:
            return False
    return True


def _enough(problem: Problem, left: tuple[int, ...]) -> bool:
    """Whether so many devices as there must be are taken."""
    return all(have - rest >= least for have, rest, least in zip(problem.devices, left, problem.least, strict=False))


def _best_of_setting(problem: Problem, index: int, value: Value) -> tuple[float, Candidate] | None:
    """Depth first from the end of the chain, one stage at a time."""
    setting = problem.settings[index]
    ties = problem.ties if setting.order == 0 else problem.others[setting.order - 1].ties
    incumbent: list[tuple[float, Candidate]] = []

    @cache
    def price(number: int, start: int, stop: int) -> tuple[float, float]:
        option = setting.options[number]
        return stage_time_s(option, start, stop, problem.blocks), stage_sync_s(option, start, stop)

    @cache
    def allowed(number: int, start: int, stop: int, position: int) -> bool:
        return fits(setting.options[number], start, stop, position, setting, ties)

    alone = [working_devices(problem, index, (Choice(0, 1, number),)) for number in range(len(setting.options))]
    none = (0,) * len(problem.devices)

    @cache
    def between(before: int, after: int, boundary: int) -> float:
        return extra_s(setting, before, after, boundary)

    def extend(
        tail: tuple[Choice, ...],
        left: tuple[int, ...],
        working: tuple[int, ...],
        front_s: float,
        behind_s: float,
        slowest: float,
        sync: float,
    ) -> None:
        """``front_s`` is what the first stage of the tail takes so far, ``behind_s`` what all others take together."""
        step = front_s + behind_s + (setting.microbatches - 1) * max(slowest, front_s) + sync
        worth = value(step, working)
        if worth == float("inf") or (incumbent and worth >= incumbent[0][0]):
            return
        if any(_taken(budget.each, working) > budget.limit for budget in problem.budgets):
            return
        stop = tail[0].start if tail else problem.blocks
        if stop == 0:
            if problem.stages in (None, len(tail)) and _enough(problem, left):
                incumbent[:] = [(worth, Candidate(index, tail, step, surcharge_s(problem, working)))]
            return
        for start in range(stop):
            for number, option in enumerate(setting.options):
                rest = tuple(have - use for have, use in zip(left, taken(option), strict=True))
                if min(rest) < 0 or not allowed(number, start, stop, len(tail) + 1):
                    continue
                time, own_sync = price(number, start, stop)
                half = between(number, tail[0].option, stop) / 2 if tail else 0.0
                done = front_s + half
                devices = tuple(have + new for have, new in zip(working, alone[number], strict=True))
                more = (Choice(start, stop, number), *tail)
                extend(more, rest, devices, time + half, behind_s + done, max(slowest, done), max(sync, own_sync))

    extend((), (*problem.devices, *problem.slots), none, 0.0, 0.0, 0.0, 0.0)
    return incumbent[0] if incumbent else None
