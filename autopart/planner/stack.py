"""The numbers of all options of a setting in dense arrays: o options, p lines (what the option with most has; the others' first
line fills theirs up, which changes no maximum and no minimum over lines), n blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopart.planner.problem import Array, Ints, Option, Overlap, Problem, Setting, Tie


@dataclass(frozen=True, eq=False)
class Stack:
    """As ``Option`` has them; 0 for what an option has none of. ``bucket_s``: 1 where nothing is hidden anyway."""

    usage: Ints  # [o, limits]
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
    boundary = np.array([o.boundary_s for o in options])
    boundary[:, [0, -1]] = 0.0
    reduce_s, backward_s, bucket_s = _overlaps(options, blocks)
    return Stack(
        usage=np.array([problem.taken(o) for o in options], dtype=np.int64).reshape(len(options), -1),
        time_s=lines_of([o.time_s for o in options]),
        boundary_s=boundary,
        end_s=_ends(options, blocks),
        sync_s=np.array([o.sync_s for o in options]),
        reduce_s=reduce_s,
        backward_s=backward_s,
        bucket_s=bucket_s,
        capacity_bytes=lines_of([o.capacity_bytes for o in options]),
        static_bytes=lines_of([o.static_bytes for o in options]),
        inflight_bytes=lines_of([o.inflight_bytes for o in options]),
        transient_bytes=lines_of([o.transient_bytes for o in options]),
        output_bytes=_outputs(options, blocks),
        tied_bytes=_tied(options, problem.ties),
    )


def _overlaps(options: Sequence[Option], blocks: int) -> tuple[Array, Array, Array]:
    if all(option.overlap is None for option in options):
        return _zeros(len(options), blocks), _zeros(len(options), blocks), np.ones(len(options))
    nothing = np.zeros(blocks)
    overlap = [option.overlap or Overlap(nothing, nothing, 1.0) for option in options]
    bucket_s = np.array([each.bucket_s for each in overlap])
    return np.array([each.reduce_s for each in overlap]), np.array([each.backward_s for each in overlap]), bucket_s


def _ends(options: Sequence[Option], blocks: int) -> Array:
    if all(option.end_s is None for option in options):
        return _zeros(len(options), blocks + 1)
    nothing = np.zeros(blocks + 1)
    return np.array([nothing if option.end_s is None else option.end_s for option in options])


def _outputs(options: Sequence[Option], blocks: int) -> Array:
    if all(option.output_bytes is None for option in options):
        return _zeros(max(len(option.capacity_bytes) for option in options), len(options), blocks + 1)
    found = lines_of(
        [np.zeros((len(o.capacity_bytes), blocks + 1)) if o.output_bytes is None else o.output_bytes for o in options]
    )
    found[..., -1] = 0.0
    return found


def _tied(options: Sequence[Option], ties: Sequence[Tie]) -> Array:
    return np.array([o.saved_bytes(ties) for o in options]) if ties else np.zeros((len(options), 0))


def _zeros(*shape: int) -> Array:
    """Without memory."""
    return np.broadcast_to(0.0, shape)


def lines_of(rows: Sequence[Array]) -> Array:
    """[lines, ...] of each option -> [p, o, ...]."""
    counts = np.array([row.shape[0] for row in rows])
    found = np.empty((int(counts.max()), len(rows), *rows[0].shape[1:]))
    for count in np.flatnonzero(np.bincount(counts)):
        where = np.flatnonzero(counts == count)
        block = np.array([rows[i] for i in where.tolist()])
        for line in range(len(found)):
            found[line, where] = block[:, line if line < count else 0]
    return found
