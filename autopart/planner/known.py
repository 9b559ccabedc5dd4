"""Plans that are known before the search: they become options of the problem, and its first incumbents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from autopart.planner import oracle
from autopart.planner.meshes import Index, own_layouts
from autopart.planner.problem import Candidate, Choice, Problem, Setting
from autopart.planner.score import parts_of
from autopart.planner.strategies import OptionSketch, SettingSketch
from autopart.plans import Plan, Stage
from autopart.pricing.stages import interval


def with_known(sketches: Iterable[SettingSketch], known: Sequence[Plan], index: Index) -> tuple[SettingSketch, ...]:
    """The settings, and what of these plans they lack."""
    settings = {(each.schedule, each.microbatches): each for each in sketches}
    for plan in known:
        key = plan.schedule.name, plan.schedule.microbatches
        before = settings.get(key, SettingSketch(*key, ()))
        own = (sketch for stage in plan.stages if (sketch := _sketch(stage, index)) is not None)
        settings[key] = replace(before, options=tuple(dict.fromkeys((*before.options, *own))))
    return tuple(each for each in settings.values() if each.options)


def _sketch(stage: Stage, index: Index) -> OptionSketch | None:
    """None where the planner has no such option: columns in several groups that are not joined."""
    parts = parts_of(stage, index)
    if sum(part.devices for part in parts) != len(stage.ranks):
        return None
    return OptionSketch(parts, stage.recompute, stage.zero)


def candidates_of(known: Sequence[Plan], problem: Problem, indices: Sequence[Index]) -> tuple[Candidate, ...]:
    """Those plans that are pipelines of the problem and fit by its numbers, at their exact price; ``indices`` by order."""
    found = (_candidate(plan, problem, indices) for plan in known)
    return tuple(candidate for candidate in found if candidate is not None)


def _candidate(plan: Plan, problem: Problem, indices: Sequence[Index]) -> Candidate | None:
    for number, setting in enumerate(problem.settings):
        index = indices[setting.order]
        if not index.follows(plan) or (setting.schedule, setting.microbatches) != (
            plan.schedule.name,
            plan.schedule.microbatches,
        ):
            continue
        choices = [_choice(stage, setting, index) for stage in plan.stages]
        whole = tuple(choice for choice in choices if choice is not None)
        step_s = oracle.step_s(problem, number, whole) if len(whole) == len(choices) else None
        if step_s is not None:
            return Candidate(number, whole, step_s)
    return None


def _choice(stage: Stage, setting: Setting, index: Index) -> Choice | None:
    start, stop = interval(index.table, stage)
    wanted = parts_of(stage, index), stage.recompute, stage.zero, dict(stage.layouts)
    for number, option in enumerate(setting.options):
        has = option.parts, option.recompute, option.zero, own_layouts(option.layouts, index.blocks, start, stop)
        if has == wanted:
            return Choice(start, stop, number)
    return None
