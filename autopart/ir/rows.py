"""Parameters in rows, of which every rank of a group keeps an equal part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Extent:
    """What counts of a parameter for the row that it lies in."""

    dtype: str
    trainable: bool
    elements: int
    nbytes: int


def flat_rows(parameters: Mapping[str, Extent], limit: int) -> tuple[tuple[str, ...], ...]:
    """The parameters of a sum that is shared out, in rows of up to ``limit`` bytes (or one larger parameter), in the order of
    their first ones. A row has neighbours of one dtype, either all trainable or all frozen.
    """
    position = {name: i for i, name in enumerate(parameters)}
    kinds = sorted(parameters, key=lambda name: (parameters[name].dtype, parameters[name].trainable, position[name]))
    rows = [
        row
        for _, names in groupby(kinds, key=lambda name: (parameters[name].dtype, parameters[name].trainable))
        for row in _cut(list(names), parameters, limit)
    ]
    return tuple(sorted(rows, key=lambda names: position[names[0]]))


def _cut(names: Sequence[str], parameters: Mapping[str, Extent], limit: int) -> Iterator[tuple[str, ...]]:
    row: list[str] = []
    nbytes = 0
    for name in names:
        more = parameters[name].nbytes
        if row and nbytes + more > limit:
            yield tuple(row)
            row, nbytes = [], 0
        row.append(name)
        nbytes += more
    yield tuple(row)


def parts(parameters: Mapping[str, Extent], limit: int, ranks: int) -> Mapping[str, tuple[tuple[int, int], ...]]:
    """By rank the elements [first, end) that it keeps of each parameter, maybe none. A row is padded to equal parts."""
    found = {}
    for names in flat_rows(parameters, limit):
        size, start = -(-sum(parameters[name].elements for name in names) // ranks), 0
        for name in names:
            stop = start + parameters[name].elements
            taken = [(max(rank * size - start, 0), min((rank + 1) * size, stop) - start) for rank in range(ranks)]
            found[name] = tuple((first, max(first, end)) for first, end in taken)
            start = stop
    return found
