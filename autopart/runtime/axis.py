"""One axis of a stage's mesh, as the ranks along it see it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.distributed as dist

from autopart.sharding.placement import apportion


@dataclass(frozen=True, eq=False)
class Axis:
    """A stage's replicas, or the columns of one replica: this rank's place among them, and how many rows each has.

    Of the data axis rows are samples of a microbatch (of a step, in the prologue) and ``batch`` counts those of the global
    batch. Of the tensor axis they are units of whatever is split: the columns' weights, unless ``of`` says otherwise; ``batch``
    is their sum. ``ranks`` are in the order of their rows. ``group`` is None for a rank alone; it goes by rank numbers.
    """

    index: int
    ranks: tuple[int, ...]
    rows: tuple[int, ...]
    batch: int
    group: dist.ProcessGroup | None = None
    wire: torch.device | None = None
    _others: dict[int, Axis] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def start(self) -> int:
        """First of this rank's rows among all ranks' rows."""
        return sum(self.rows[: self.index])

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places on the axis as its group has them: by rank."""
        return tuple(sorted(range(len(self.ranks)), key=self.ranks.__getitem__))

    def of(self, units: int) -> Axis:
        """The same axis where that many units are shared out."""
        if units not in self._others:
            self._others[units] = replace(self, rows=apportion(units, self.rows), batch=units)
        return self._others[units]

    def own(self, *sizes: int) -> int:
        """The size that is this rank's, of one for each."""
        return sizes[self.index]
