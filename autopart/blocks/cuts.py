"""Positions in the op order: what a cut there would cost, where none may be, how much lies between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from autopart.blocks.structure import Body
from autopart.blocks.work import Work, op_work
from autopart.ir.analysis import alias_groups, writes
from autopart.ir.graph import Op

BATCH = 8  # samples at which values are weighed against each other
# A typical accelerator, to weigh matmuls against memory traffic; only proportions matter.
FLOPS_PER_S, BYTES_PER_S, LAUNCH_S = 1e14, 1e12, 5e-6
PLAIN = frozenset(("view", "elementwise", "random", "reduction", "pool", "softmax", "normalization", "loss", "factory", "comm"))


@dataclass(frozen=True)
class Sheet:
    """Position p lies before op p; there are ops + 1 of them."""

    body: Body
    crossing: tuple[int, ...]  # bytes of the values that cross a position, each once
    crossers: tuple[tuple[tuple[int, int], ...], ...]  # these values: position after the last use, bytes
    allowed: tuple[bool, ...]
    work: tuple[float, ...]  # share of all work before a position
    parameters: tuple[float, ...]  # share of all parameter bytes first read before a position
    plain: tuple[bool, ...]  # of ops: no matrix among its parameters, nothing heavy

    def share(self, start: int, stop: int) -> float:
        """Of the model's work or of its parameters, whichever is more."""
        return max(self.work[stop] - self.work[start], self.parameters[stop] - self.parameters[start])

    def local(self, position: int, start: int, stop: int) -> int:
        """Bytes that cross a position, without those that cross all of [start, stop) around it: a skip is no news there."""
        return self.crossing[position] - sum(nbytes for end, nbytes in self.crossers[start] if end > stop)

    def reads(self, start: int, middle: int, stop: int) -> bool:
        """Whether ops [middle, stop) read what ops [start, middle) make."""
        made = {value.name for op in self.body.ops[start:middle] for value in op.outputs}
        return any(not made.isdisjoint(op.inputs) for op in self.body.ops[middle:stop])

    def belong(self, start: int, middle: int, stop: int) -> bool:
        """Whether ops [start, middle) and [middle, stop) are of one branch: one reads the other, or nothing else."""
        return self.reads(start, middle, stop) or self.alone(start, middle) or self.alone(middle, stop)

    def alone(self, start: int, stop: int) -> bool:
        """Whether no other op reads what ops [start, stop) make, nor they what others do."""
        ops = self.body.ops[start:stop]
        made = {value.name for op in ops for value in op.outputs}
        read = {name for op in ops for name in op.inputs if name in self.body.graph.producer}
        return read <= made and all(self.body.last_use.get(name, start) < stop for name in made)

    def accessory(self, start: int, stop: int) -> bool:
        """Whether it is but an activation, a pooling, a reshape: something that goes with its neighbour."""
        return all(self.plain[start:stop])


def sheet_of(body: Body) -> Sheet:
    crossers = _crossers(body)
    works = [op_work(op, body.graph, BATCH) for op in body.ops]
    return Sheet(
        body=body,
        crossing=tuple(sum(nbytes for _, nbytes in values) for values in crossers),
        crossers=crossers,
        allowed=_allowed(body),
        work=_shares([_seconds(work) for work in works]),
        parameters=_shares(_first_reads(body)),
        plain=tuple(w.category in PLAIN and not _reads_matrix(body, op) for w, op in zip(works, body.ops, strict=True)),
    )


def _seconds(work: Work) -> float:
    """A rough time of forward and backward; a view takes none."""
    forward = max(work.forward_flops / FLOPS_PER_S, work.forward_bytes / BYTES_PER_S)
    backward = max(work.backward_flops / FLOPS_PER_S, work.backward_bytes / BYTES_PER_S)
    return forward + backward + (0.0 if work.category == "view" else LAUNCH_S)


def _reads_matrix(body: Body, op: Op) -> bool:
    parameters = body.graph.parameter_of
    return any(len(parameters[name].value.shape) > 1 for name in op.inputs if name in parameters)


def _first_reads(body: Body) -> list[float]:
    """Bytes of parameters by the op that reads them first."""
    found = [0.0] * len(body.ops)
    for name, parameter in body.graph.parameter_of.items():
        if name in body.first_use:
            found[body.first_use[name]] += parameter.value.nbytes(BATCH)
    return found


def _shares(amounts: list[float]) -> tuple[float, ...]:
    total = sum(amounts) or 1.0
    return tuple(accumulate((amount / total for amount in amounts), initial=0.0))


def _crossers(body: Body) -> tuple[tuple[tuple[int, int], ...], ...]:
    found: list[list[tuple[int, int]]] = [[] for _ in range(len(body.ops) + 1)]
    for position, op in enumerate(body.ops):
        for value in op.outputs:
            end = 1 + min(body.last_use.get(value.name, position), len(body.ops) - 1)
            for crossed in range(position + 1, end):
                found[crossed].append((end, value.nbytes(BATCH)))
    return tuple(tuple(values) for values in found)


def _allowed(body: Body) -> tuple[bool, ...]:
    """Not where memory is written later that was made, or read as a buffer, earlier: it would be another copy there."""
    count = len(body.ops)
    allowed = [False] + [True] * (count - 1) + [False] if count else [False]
    groups = alias_groups(body.graph)
    touches: dict[str, list[int]] = {}
    written: dict[str, int] = {}
    for position, op in enumerate(body.ops):
        for name in (*op.inputs, *(value.name for value in op.outputs)):
            touches.setdefault(groups.get(name, name), []).append(position)
        written.update((groups.get(name, name), position) for name in writes(op))
    for root, last_write in written.items():
        held_by_stage = root in body.names or any(source.value.name == root for source in body.graph.inputs)
        end = touches[root][-1] if held_by_stage else last_write
        allowed[touches[root][0] + 1 : end + 1] = [False] * (end - touches[root][0])
    return tuple(allowed)
