"""ZeRO: the ranks that sum a parameter's gradient share out what belongs to it, by levels.

    level  a rank keeps whole        it keeps its part of                       messages
    1      parameters, gradients     optimizer state                            each step: gradients summed, parameters gathered
    2      parameters                gradients too                              each microbatch: gradients summed; each step:
                                                                                parameters gathered
    3      nothing                   parameters too                             each microbatch: parameters gathered for the
                                                                                forward and for the backward, gradients summed

What a rank keeps of a parameter is a row of its elements, under the parameter's own name: an optimizer that goes element by
element makes of all parts what it would make of the whole. Small parameters may lie on one rank alone; the others have an empty
part, which never has a gradient.

Gradients leave in rows of parameters as a backward makes them, and the whole ones end there: at levels 2 and 3 in the backward of
every microbatch, at level 1 in the last, until when they add up whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autopart.program.reductions import BUCKET_BYTES, UNDER_WAY
from autopart.runtime.flat import Coming, Flat, Sharers, flats
from autopart.runtime.gradients import Outbox, agreed
from autopart.runtime.lending import Lender


class ZeroGroup:
    """Parameters of one sum of gradients, shared out by its ranks.

    ``parameters`` say names, shapes, dtypes and what is trained (on the meta device they take no memory). The gradients' side is
    that of ``GradientSummer``.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        sharers: Sharers,
        level: int,
        device: torch.device,
        lender: Lender,
        *,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.level, self.sharers, self.lender = level, sharers, lender
        self.flats = flats(parameters, sharers, device, bucket_bytes)
        self.parts: dict[str, nn.Parameter] = {}
        self._leaves: dict[str, nn.Parameter] = {}
        self._flat_of = {name: flat for flat in self.flats for name in flat.slots}
        self._rows: dict[Flat, Tensor] = {}
        self._coming: dict[Flat, Coming] = {}
        self._stepping = False
        for flat in self.flats:
            self._lay(flat, parameters)
        self._trainable: tuple[bool, ...] = ()
        self._seen: set[str] = set()  # had a gradient in this step
        self._active: frozenset[str] | None = None  # have one on some rank; None until that is agreed
        self._leaving: list[Flat] = []
        self._outbox = Outbox((), self._launch)
        self._travelling: deque[tuple[Flat, Coming]] = deque()
        self._sums: dict[Flat, Tensor] = {}

    def _lay(self, flat: Flat, parameters: Mapping[str, nn.Parameter]) -> None:
        """Memory for what is kept: the whole row, which the part lies in, or the part."""
        if self.level < 3:
            row = self._rows[flat] = flat.new_row()
            part = flat.own_part(row).copy_(flat.new_part())
        else:
            part = self.lender.parts[flat] = flat.new_part()
        for name, slot in flat.slots.items():
            trained = parameters[name].requires_grad
            whole = flat.whole(name, row) if self.level < 3 else part.new_zeros(()).expand(slot.shape)
            self._leaves[name] = nn.Parameter(whole, trained)
            self.parts[name] = nn.Parameter(flat.piece(name, part), trained)

    # Parameters

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around a step: what is read are whole parameters, as the optimizer left their parts."""
        self._follow()
        for flat, row in self._rows.items():
            self._coming[flat] = flat.gathered(flat.own_part(row), row)
        self._stepping = True
        try:
            yield
            for coming in self._coming.values():
                coming.wait()
        finally:
            self._stepping = False
            self._coming.clear()

    def _follow(self) -> None:
        """What the user froze, or thawed, since the last step."""
        flags = tuple(part.requires_grad for part in self.parts.values())
        if flags == self._trainable:
            return
        self._trainable, self._active = flags, None
        for name, part in self.parts.items():
            self._leaves[name].requires_grad_(part.requires_grad)
        self._arrange(name for name, part in self.parts.items() if part.requires_grad)

    def read(self, name: str) -> Tensor:
        """In a step the whole parameter, to compute with; at other times this rank's part."""
        flat = self._flat_of[name]
        if not self._stepping:
            return self.parts[name]
        if self.level == 3:
            return self.lender.lend(flat, name, self._leaves[name])
        if flat in self._coming:
            self._coming.pop(flat).wait()
        return self._leaves[name]

    def load(self, name: str, whole: Tensor) -> None:
        """Takes a whole parameter. Needs no other rank."""
        flat = self._flat_of[name]
        with torch.no_grad():
            self.parts[name].copy_(flat.cut(name, whole))
            if flat in self._rows:
                flat.whole(name, self._rows[flat]).copy_(whole)

    def reader(self, of: Callable[[nn.Parameter], Tensor | None]) -> Callable[[str], Tensor]:
        """A function that gives something whole by name: the parameters, their gradients, as ``of`` has it of a part.

        All ranks must ask it for the same names in the same order; neighbours come together.
        """
        kept: dict[Flat, Tensor] = {}

        def read(name: str) -> Tensor:
            flat = self._flat_of[name]
            if flat not in kept:
                kept.clear()
                kept[flat] = flat.gathered(self._joined(flat, of), flat.new_row()).wait()
            return flat.whole(name, kept[flat])

        return read

    def _joined(self, flat: Flat, of: Callable[[nn.Parameter], Tensor | None]) -> Tensor:
        part = flat.new_part().zero_()
        for name in flat.slots:
            found = of(self.parts[name])
            if found is not None:
                flat.piece(name, part).copy_(found.detach())
        return part

    # Gradients

    def watch(self, *, last: bool) -> None:
        """Before a backward."""
        if self.level > 1 or last:
            self._outbox.rest()
            self._outbox.open(hooked=True)

    def start(self) -> None:
        """After the last backward: sends what has not left yet."""
        self._outbox.rest()
        if self._active is None:
            names = list(self.parts)
            mine = [name in self._seen for name in names]
            self._active = frozenset(agreed(names, mine, self.sharers.gradients, self.sharers.wire))
            self._arrange(self._active)

    def finish(self) -> None:
        """Waits, and makes the sums the parts' ``.grad``."""
        assert self._active is not None, "which parameters have a gradient was never agreed"
        while self._travelling:
            self._take()
        for flat, total in self._sums.items():
            for name in flat.slots:
                piece, part = flat.piece(name, total), self.parts[name]
                if name in self._active and piece.numel():
                    part.grad = piece
        self._forget()

    def abandon(self) -> None:
        """After an error: nothing may fire later."""
        self._outbox.close()
        self._travelling.clear()
        for leaf in self._leaves.values():
            leaf.grad = None
        self._forget()

    def _forget(self) -> None:
        self._sums.clear()
        self._seen.clear()

    def _arrange(self, names: Iterable[str]) -> None:
        """Rows leave in the order in which a backward reaches them, the first parameters last."""
        due = set(names)
        self._leaving = [flat for flat in reversed(self.flats) if not due.isdisjoint(flat.slots)]
        buckets = [[self._leaves[name] for name in flat.slots if name in due] for flat in self._leaving]
        self._outbox = Outbox(buckets, self._launch)

    def _launch(self, index: int) -> None:
        """Sends a row of gradients, and lets go of the whole ones."""
        flat = self._leaving[index]
        while len(self._travelling) >= UNDER_WAY:
            self._take()
        grads = {name: self._leaves[name].grad for name in flat.slots}
        self._seen.update(name for name, grad in grads.items() if grad is not None)
        self._travelling.append((flat, flat.summed(flat.packed(grads))))
        for name in flat.slots:
            self._leaves[name].grad = None

    def _take(self) -> None:
        """Takes in the row that left first."""
        flat, coming = self._travelling.popleft()
        terms = coming.wait()
        if flat not in self._sums:
            self._sums[flat] = terms.sum(0)
            return
        for term in terms:
            self._sums[flat] += term
