"""The best order of the stages that an integer program chose: what its rows leave open, and what only neighbours pay.

Blocks of a run are identical, so its floating stages may stand in any order that keeps their deadlines. By dynamic
programming from the left: of what is placed so far only the stages left, the last one, and three numbers matter, the extras so
far, the slowest stage that is finished, and what the last one takes so far. States that another one beats in all are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autopart.planner.columns import Chain, Columns
from autopart.planner.problem import Setting

WIDTH = 1000  # states of a position that are kept: with more the order found need not be the best

Stages = tuple[tuple[int, int, int], ...]
"""(start, stop, column) in chain order."""

Left = tuple[tuple[int, int], ...]
"""Floats of the run at hand that are not yet placed: (column, how many)."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """``exact``: no order of these stages has a smaller step."""

    stages: Stages
    exact: bool


@dataclass(frozen=True, slots=True)
class _State:
    """``last_s`` is what the last stage takes without what it pays for its right end."""

    extra_s: float
    slowest_s: float
    last_s: float
    stages: Stages

    def key(self, microbatches: int) -> tuple[float, Stages]:
        return self.extra_s + (microbatches - 1) * max(self.slowest_s, self.last_s), self.stages

    def beats(self, other: _State) -> bool:
        return self.extra_s <= other.extra_s and self.slowest_s <= other.slowest_s and self.last_s <= other.last_s


_Layer = dict[tuple[Left, int], list[_State]]
"""By what is left and the last column."""


def best_order(setting: Setting, chain: Chain, columns: Columns, stages: Stages) -> Ordered:
    """These stages with the floats of each run in the order of least step that keeps their deadlines, as the given order does."""
    runs = [_run(chain, columns, stage) for stage in stages]
    if len(set(runs)) == len(runs) or not _can_differ(setting, columns, stages):
        return Ordered(stages, exact=True)
    layer: _Layer = {((), -1): [_State(0.0, 0.0, 0.0, ())]}
    exact = True
    for index in range(len(stages)):
        begins = index == 0 or runs[index] != runs[index - 1]
        floats = Counter(stage[2] for stage, run in zip(stages, runs, strict=True) if run == runs[index]) if begins else None
        layer = _extended(setting, chain, columns, len(stages) - index, layer, floats)
        exact &= _narrow(layer, setting.microbatches)
    every = [state for states in layer.values() for state in states]
    best = min(every, key=lambda state: state.key(setting.microbatches), default=None)
    return Ordered(best.stages, exact) if best else Ordered(stages, exact=False)


def _run(chain: Chain, columns: Columns, stage: tuple[int, int, int]) -> int:
    """The run inside which a stage floats; of an anchored one a number of its own."""
    shape = columns.shape[stage[2]]
    return int(chain.shapes.first[shape]) if chain.shapes.floats[shape] else -1 - stage[0]


def _can_differ(setting: Setting, columns: Columns, stages: Stages) -> bool:
    """Whether two of these stages could pay something extra as neighbours."""
    if setting.routes is None:
        return False
    options = {int(columns.option[column]) for _, _, column in stages}
    boundaries = {start for start, _, _ in stages[1:]}
    of, extra_s = setting.options, setting.routes.extra_s
    return any(extra_s(of[a], of[b], boundary) > 0 for a in options for b in options for boundary in boundaries)


def _extended(
    setting: Setting, chain: Chain, columns: Columns, position: int, layer: _Layer, floats: Mapping[int, int] | None
) -> _Layer:
    """Every state with one more stage, ``position`` from the end; ``floats`` where a run begins."""
    found: _Layer = {}
    for (left, last), states in layer.items():
        for column, rest in _taken(left if floats is None else tuple(sorted(floats.items()))):
            if columns.deadline[column] < position:
                continue
            for state in states:
                _keep(found.setdefault((rest, column), []), _with(setting, chain, columns, state, last, column))
    return found


def _taken(left: Left) -> Iterator[tuple[int, Left]]:
    for i, (column, count) in enumerate(left):
        yield column, (*left[:i], *(((column, count - 1),) if count > 1 else ()), *left[i + 1 :])


def _with(setting: Setting, chain: Chain, columns: Columns, state: _State, last: int, column: int) -> _State:
    start = state.stages[-1][1] if state.stages else 0
    stop = start + int((chain.shapes.stop - chain.shapes.start)[columns.shape[column]])
    between_s = 0.0
    if state.stages and setting.routes is not None:
        one, other = (setting.options[columns.option[each]] for each in (last, column))
        between_s = setting.routes.extra_s(one, other, start)
    return _State(
        state.extra_s + between_s,
        max(state.slowest_s, state.last_s + between_s / 2),
        setting.options[columns.option[column]].stage_s(start, stop) + between_s / 2,
        (*state.stages, (start, stop, column)),
    )


def _keep(states: list[_State], more: _State) -> None:
    """Add a state unless another one beats it, in place of those that it beats."""
    if not any(other.beats(more) for other in states):
        states[:] = [*(other for other in states if not more.beats(other)), more]


def _narrow(layer: _Layer, microbatches: int) -> bool:
    """Drop all but the best ``WIDTH`` states; whether there was nothing to drop."""
    every = sorted(state.key(microbatches) for states in layer.values() for state in states)
    if len(every) <= WIDTH:
        return True
    limit = every[WIDTH]
    for key, states in list(layer.items()):
        states[:] = [state for state in states if state.key(microbatches) < limit]
        if not states:
            del layer[key]
    return False
