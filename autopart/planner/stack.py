"""The numbers of all options of a setting in dense arrays: o options, p lines (what the option with most has; the others' first
line fills theirs up, which changes no maximum and no minimum over lines), n blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopart.planner.problem import Array, Option, Overlap, Problem, Setting

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stack:
    """As ``Option`` has them; 0 for what an option has none of. ``bucket_s``: 1 where nothing is hidden anyway."""

    usage: Ints  # [o, groups]
    time_s: Array  # [p, o, n]
    boundary_s: Array  # [o, n + 1], 0 at both ends
    end_s: Array  # [o, n + 1]
    sync_s: Array  # [o, n]
    reduce_s: Array  # [o, n]
    backward_s: Array  # [o, n]
    bucket_s: Array  # [o]
    capacity_bytes: Array  # [p, o]
    static_bytes: Array  # [p, o, n]
    inflight_bytes: Array  # [p, o, n]
    transient_bytes: Array  # [p, o, n]
    output_bytes: Array  # [p, o, n + 1], 0 at n
    tied_bytes: Array  # [o, ties]


def stack_of(problem: Problem, setting: Setting) -> Stack:
    options, blocks = setting.options, problem.blocks
    nothing = np.zeros(blocks)
    overlap = [option.overlap or Overlap(nothing, nothing, 1.0) for option in options]
    boundary, output = _table(options, lambda o: o.boundary_s), _lines([_output(option, blocks) for option in options])
    boundary[:, [0, -1]] = 0.0
    output[..., -1] = 0.0
    no_ends = np.zeros(blocks + 1)
    return Stack(
        usage=np.array([o.usage for o in options], dtype=np.int64).reshape(len(options), len(problem.devices)),
        time_s=_lines([o.time_s for o in options]),
        boundary_s=boundary,
        end_s=_table(options, lambda o: no_ends if o.end_s is None else o.end_s),
        sync_s=_table(options, lambda o: o.sync_s),
        reduce_s=np.array([each.reduce_s for each in overlap]),
        backward_s=np.array([each.backward_s for each in overlap]),
        bucket_s=np.array([each.bucket_s for each in overlap]),
        capacity_bytes=_lines([o.capacity_bytes for o in options]),
        static_bytes=_lines([o.static_bytes for o in options]),
        inflight_bytes=_lines([o.inflight_bytes for o in options]),
        transient_bytes=_lines([o.transient_bytes for o in options]),
        output_bytes=output,
        tied_bytes=np.array([o.saved_bytes(problem.ties) for o in options]).reshape(len(options), len(problem.ties)),
    )


def _table(options: Sequence[Option], row: Callable[[Option], Array]) -> Array:
    return np.array([row(option) for option in options])


def _output(option: Option, blocks: int) -> Array:
    none = np.zeros((len(option.capacity_bytes), blocks + 1))
    return none if option.output_bytes is None else option.output_bytes


def _lines(rows: Sequence[Array]) -> Array:
    """[lines, ...] of each option -> [p, o, ...]."""
    counts = np.array([len(row) for row in rows])
    found = np.empty((int(counts.max()), len(rows), *rows[0].shape[1:]))
    for count in np.unique(counts):
        where = np.flatnonzero(counts == count)
        block = np.moveaxis(np.array([rows[i] for i in where]), 1, 0)
        found[:count, where] = block
        found[count:, where] = block[:1]
    return found
