"""Exhaustive search, to check the solver against: every pipeline in chain order, priced from the problem's definition.

Plain Python on purpose, and nothing of the solver's: it shares no code with what it checks.
"""

from __future__ import annotations

from functools import cache

from autopart.planner.problem import Candidate, Choice, Option, Problem, Setting, Tie


def best(problem: Problem) -> Candidate | None:
    """The pipeline of least step, or None if there is none. Exponential: for a handful of blocks, devices and options."""
    found = [_best_of_setting(problem, index) for index in range(len(problem.settings))]
    candidates = [candidate for candidate in found if candidate is not None]
    return min(candidates, key=lambda c: c.step_s, default=None)


def step_s(problem: Problem, setting: int, choices: tuple[Choice, ...]) -> float | None:
    """The step of a pipeline by the formula; None if it is not one: it leaves blocks, or exceeds devices, memory or stages."""
    chosen = problem.settings[setting]
    ends = [0] + [choice.stop for choice in choices]
    starts = [choice.start for choice in choices] + [problem.blocks]
    if ends != starts or any(c.start >= c.stop for c in choices) or problem.stages not in (None, len(choices)):
        return None
    least = problem.least or (0,) * len(problem.devices)
    for group, devices in enumerate(problem.devices):
        if not least[group] <= sum(chosen.options[c.option].usage[group] for c in choices) <= devices:
            return None
    for behind, c in enumerate(reversed(choices)):
        if not fits(chosen.options[c.option], c.start, c.stop, behind + 1, chosen, problem.ties):
            return None
    times = [stage_time_s(chosen.options[c.option], c.start, c.stop, problem.blocks) for c in choices]
    syncs = [stage_sync_s(chosen.options[c.option], c.start, c.stop) for c in choices]
    return sum(times) + (chosen.microbatches - 1) * max(times) + max(syncs)


def stage_time_s(option: Option, start: int, stop: int, blocks: int) -> float:
    """Seconds of one microbatch: the slowest part, and this side of its transfers."""
    slowest = max(sum(float(s) for s in row[start:stop]) for row in option.time_s)
    entry = float(option.boundary_s[start]) if start > 0 else 0.0
    leave = float(option.boundary_s[stop]) if stop < blocks else 0.0
    hand_on = 0.0 if option.end_s is None else float(option.end_s[stop])
    return slowest + entry + leave + hand_on


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
    return not problem.least or all(
        devices - rest >= least for devices, rest, least in zip(problem.devices, left, problem.least, strict=True)
    )


def _best_of_setting(problem: Problem, index: int) -> Candidate | None:
    """Depth first from the end of the chain, one stage at a time."""
    setting = problem.settings[index]
    incumbent: list[Candidate] = []

    @cache
    def price(number: int, start: int, stop: int) -> tuple[float, float]:
        option = setting.options[number]
        return stage_time_s(option, start, stop, problem.blocks), stage_sync_s(option, start, stop)

    @cache
    def allowed(number: int, start: int, stop: int, position: int) -> bool:
        return fits(setting.options[number], start, stop, position, setting, problem.ties)

    def extend(tail: tuple[Choice, ...], left: tuple[int, ...], total: float, slowest: float, sync: float) -> None:
        step = total + (setting.microbatches - 1) * slowest + sync
        if incumbent and step >= incumbent[0].step_s:
            return
        stop = tail[0].start if tail else problem.blocks
        if stop == 0:
            if problem.stages in (None, len(tail)) and _enough(problem, left):
                incumbent[:] = [Candidate(index, tail, step)]
            return
        for start in range(stop):
            for number, option in enumerate(setting.options):
                rest = tuple(have - use for have, use in zip(left, option.usage, strict=True))
                if min(rest) < 0 or not allowed(number, start, stop, len(tail) + 1):
                    continue
                time, own_sync = price(number, start, stop)
                extend((Choice(start, stop, number), *tail), rest, total + time, max(slowest, time), max(sync, own_sync))

    extend((), problem.devices, 0.0, 0.0, 0.0)
    return incumbent[0] if incumbent else None
