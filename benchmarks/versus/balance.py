"""The cut of a pipeline that an expert makes: blocks timed one by one, stages balanced by the speed of their devices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from time import process_time

import torch

from benchmarks.versus.work import Work

REPEATS = 3


def block_seconds(work: Work, rows: int) -> list[float]:
    """CPU seconds of forward and backward of every block at so many samples: the least of several."""
    model = work.model()
    found = []
    values, _ = work.rows(0, rows)
    for block in model.blocks:
        least = float("inf")
        for _ in range(REPEATS):
            leaves = tuple(v.detach().requires_grad_(v.is_floating_point()) for v in values)
            start = process_time()
            made = block(*leaves)
            made = made if isinstance(made, tuple) else (made,)
            roots = [value for value in made if value.requires_grad]
            torch.autograd.backward(roots, [torch.ones_like(root) for root in roots])
            least = min(least, process_time() - start)
        found.append(least)
        values = tuple(value.detach() for value in made)
    return found


def balanced(seconds: Sequence[float], speeds: Sequence[float]) -> list[int]:
    """Boundaries such that the slowest stage takes least, stage s at ``speeds[s]``; every stage has a block. Exact."""
    total = list(accumulate(seconds, initial=0.0))
    count = len(seconds)

    @cache
    def best(start: int, stage: int) -> tuple[float, tuple[int, ...]]:
        rest = len(speeds) - stage - 1
        if rest == 0:
            return (total[count] - total[start]) / speeds[stage], ()
        return min(
            (max((total[stop] - total[start]) / speeds[stage], best(stop, stage + 1)[0]), (stop, *best(stop, stage + 1)[1]))
            for stop in range(start + 1, count - rest + 1)
        )

    return list(best(0, 0)[1])


def even(blocks: int, stages: int) -> list[int]:
    """As many blocks on every stage."""
    return [round(blocks * stage / stages) for stage in range(1, stages)]
