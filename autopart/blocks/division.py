"""Dividing the op order into spans: along modules, along what repeats, along cheap cuts.

A stretch of ops falls into *parts*: what ran in each child module, and each op between. Parts that repeat (layers) become
spans of their own, every unit alike, so that they stay one class. A heavy part is divided further. The
others are merged: what is light, what is but an activation, and what only a dear cut separates.

That is the granularity "block". With "layer" units of repeats stay whole, and so does a part in which nothing repeats. With "op"
every position where a cut may be is one.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import ceil

from autopart.blocks.cuts import Sheet
from autopart.blocks.repeats import Repeat, repeats
from autopart.blocks.structure import common_path, prefix_of, structure, symbol
from autopart.errors import InputError

MOST_SPANS = 200
MOST_PARTS = 300  # of a graph that is cut at every op
HEAVY = 1 / 12  # share of the model above which a span is divided if it can be
LIGHT = 1 / 100  # share below which a span joins a neighbour
FINEST_UNIT = 1 / 160  # units of a repeat below this share are packed
# (share, factor): a cut is dropped where cuts on both sides are cheaper by the factor, with no more than the share between them.
DEAR = ((1 / 4, 1.5), (1 / 2, 2.5))


@dataclass(frozen=True, slots=True)
class Span:
    """Ops [start, stop). ``fixed``: one of several equal ones, not to be merged with a neighbour."""

    start: int
    stop: int
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares of the model: see HEAVY, LIGHT, FINEST_UNIT. ``whole``: layers are not divided."""

    heavy: float = HEAVY
    light: float = LIGHT
    unit: float = FINEST_UNIT
    whole: bool = False


def partition(sheet: Sheet, granularity: str = "block") -> tuple[Span, ...]:
    """All ops, in spans; blocks and layers coarser until there are few enough."""
    if granularity == "op":
        return _every_cut(sheet)
    assert granularity in ("block", "layer"), f"granularity is {granularity!r}"
    limits = Limits(whole=granularity == "layer")
    while True:
        spans = divide(sheet, 0, len(sheet.body.ops), limits)
        if len(spans) <= MOST_SPANS:
            return spans
        if limits.light > 1:
            return _packed(spans)
        limits = replace(limits, heavy=limits.heavy * 2, light=limits.light * 2, unit=limits.unit * 2)


def _every_cut(sheet: Sheet) -> tuple[Span, ...]:
    """Between all positions where a cut may be; but nothing comes after what makes the loss, and what stands alone (a counter)
    goes with the next op.
    """
    body = sheet.body
    loss = next(place for place, op in enumerate(body.ops) if any(value.name == body.graph.loss for value in op.outputs))
    cuts = (place for place in range(1, loss + 1) if sheet.allowed[place] and not sheet.alone(place - 1, place))
    edges = [0, *cuts, len(body.ops)]
    if len(edges) - 1 > MOST_PARTS:
        raise InputError(
            f"granularity op: the graph has {len(body.ops)} ops, which can be cut into {len(edges) - 1} parts; "
            f"so fine a plan is for graphs of {MOST_PARTS} parts at most",
            remedy="Take --granularity block, or layer.",
        )
    return tuple(Span(start, stop) for start, stop in pairwise(edges))


def _packed(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Neighbours joined, however unlike."""
    size = ceil(len(spans) / MOST_SPANS)
    return tuple(Span(spans[i].start, spans[min(i + size, len(spans)) - 1].stop) for i in range(0, len(spans), size))


def divide(sheet: Sheet, start: int, stop: int, limits: Limits) -> tuple[Span, ...]:
    parts = _parts(sheet, start, stop)
    if len(parts) < 2:
        return tuple(parts)
    found: list[Span] = []
    position = 0
    for repeat, offset in _accepted(sheet, parts, limits):
        first = repeat.start + offset
        found += _divided(sheet, parts[position:first], limits)
        position = first + repeat.units(offset) * repeat.period
        units = [
            Span(parts[i].start, parts[i + repeat.period - 1].stop, fixed=True) for i in range(first, position, repeat.period)
        ]
        found += _units(sheet, units, limits)
    found += _divided(sheet, parts[position:], limits)
    return _merged(sheet, found, limits)


# Parts


def _parts(sheet: Sheet, start: int, stop: int) -> list[Span]:
    """What ran in each child of the modules' common path, each op between; joined where no cut may be."""
    modules = [op.module for op in sheet.body.ops[start:stop]]
    path = common_path(modules)
    children = [_child(module, path) or f":{i}" for i, module in enumerate(modules)]
    found: list[Span] = []
    position = start
    for _, run in groupby(children):
        stop = position + len(list(run))
        if found and not sheet.allowed[position]:
            found[-1] = Span(found[-1].start, stop)
        else:
            found.append(Span(position, stop))
        position = stop
    return found


def _child(module: str, path: str) -> str:
    """``attn`` of ``h.3.attn.c_proj`` under ``h.3``; nothing for the module itself."""
    return module[len(path) :].lstrip(".").partition(".")[0]


# What repeats


def _accepted(sheet: Sheet, parts: list[Span], limits: Limits) -> list[tuple[Repeat, int]]:
    """Repeats that are worth keeping apart, each with the offset at which its units begin."""
    weights = [sheet.share(part.start, part.stop) for part in parts]
    found = []
    for repeat in repeats(_symbols(sheet, parts), weights):
        start, stop = parts[repeat.start].start, parts[repeat.stop - 1].stop
        worth = sheet.share(start, stop) >= 4 * limits.light and not sheet.accessory(start, stop)
        offset = _offset(sheet, parts, repeat)
        if worth and _is_chain(sheet, parts, repeat, offset):
            found.append((repeat, offset))
    return found


def _is_chain(sheet: Sheet, parts: list[Span], repeat: Repeat, offset: int) -> bool:
    """Whether each unit reads the one before. Parallel branches (query, key, value) pile up what crosses between them."""
    first = repeat.start + offset
    cuts = [parts[first + i * repeat.period].start for i in range(repeat.units(offset))]
    ends = [*cuts[1:], parts[first + repeat.units(offset) * repeat.period - 1].stop]
    return all(sheet.reads(a, b, end) for a, b, end in zip(cuts, cuts[1:], ends[1:], strict=False))


def _cuts(sheet: Sheet, parts: list[Span], repeat: Repeat, offset: int) -> list[int]:
    """Bytes that cross before each unit, but not all of them."""
    first = repeat.start + offset
    starts = [parts[first + i * repeat.period].start for i in range(repeat.units(offset))]
    stop = parts[repeat.stop - 1].stop
    return [sheet.local(start, starts[0], stop) for start in starts]


def _symbols(sheet: Sheet, parts: list[Span]) -> list[int]:
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(_symbol(sheet, part), len(numbers)) for part in parts]


def _symbol(sheet: Sheet, part: Span) -> Hashable:
    if part.stop - part.start == 1:
        return symbol(sheet.body, part.start)
    return structure(sheet.body, part.start, part.stop, prefix_of(sheet.body, part.start, part.stop))


def _offset(sheet: Sheet, parts: list[Span], repeat: Repeat) -> int:
    """Where units begin: at the cheapest cuts; among cuts about as cheap, with most units, then first."""

    def price(offset: int) -> float:
        inner = _cuts(sheet, parts, repeat, offset)[1:]
        return sum(inner) / len(inner) if inner else float("inf")

    prices = [price(offset) for offset in range(repeat.period)]
    cheap = [offset for offset, found in enumerate(prices) if found <= 1.2 * min(prices) and repeat.units(offset) > 1]
    return min(cheap or [0], key=lambda offset: (-repeat.units(offset), prices[offset], offset))


def _units(sheet: Sheet, units: list[Span], limits: Limits) -> list[Span]:
    """Equal units: packed if they are many and light, divided (all alike) if they are heavy."""
    typical = units[(len(units) - 1) // 2]
    share = sheet.share(typical.start, typical.stop)
    if share < limits.unit:
        return _pack(units, ceil(limits.unit / max(share, 1e-12)))
    if share <= limits.heavy or limits.whole:
        return units
    inner = [span.start - typical.start for span in divide(sheet, typical.start, typical.stop, limits)[1:]]
    found = []
    for unit in units:
        edges = [unit.start, *(unit.start + cut for cut in inner if sheet.allowed[unit.start + cut]), unit.stop]
        found += [Span(a, b, fixed=True) for a, b in pairwise(edges)]
    return found


def _pack(units: list[Span], size: int) -> list[Span]:
    """``size`` units together, or a few more where that leaves no rest."""
    even = next((k for k in range(size, 2 * size) if len(units) % k == 0), size)
    return [Span(units[i].start, units[min(i + even, len(units)) - 1].stop, fixed=True) for i in range(0, len(units), even)]


# What does not


def _divided(sheet: Sheet, parts: list[Span], limits: Limits) -> list[Span]:
    found: list[Span] = []
    for part in parts:
        heavy = part.stop - part.start > 1 and sheet.share(part.start, part.stop) > limits.heavy
        inner = divide(sheet, part.start, part.stop, limits) if heavy else (part,)
        found += [part] if limits.whole and not any(span.fixed for span in inner) else inner
    return found


def _merged(sheet: Sheet, spans: list[Span], limits: Limits) -> tuple[Span, ...]:
    """Joins spans that are not fixed with such neighbours, until nothing is left to gain; never the end of one tower with the
    beginning of the next.
    """
    spans = list(spans)
    while (index := _next_join(sheet, spans, limits)) is not None:
        spans[index : index + 2] = [replace(spans[index], stop=spans[index + 1].stop)]
    return tuple(spans)


def _next_join(sheet: Sheet, spans: list[Span], limits: Limits) -> int | None:
    """The span to join with the one after it: the lightest small one across its dearer side, or else across a dear cut."""
    free = [i for i, (a, b) in enumerate(pairwise(spans)) if not (a.fixed or b.fixed) and sheet.belong(a.start, b.start, b.stop)]
    small = [(sheet.share(spans[j].start, spans[j].stop), j) for i in free for j in (i, i + 1) if _small(sheet, spans[j], limits)]
    if small:
        lightest = min(small)[1]
        return max((i for i in (lightest - 1, lightest) if i in free), key=lambda i: (sheet.crossing[spans[i].stop], -i))
    dear = [(_dearness(sheet, spans, i), -i) for i in free]
    return -max(dear)[1] if dear and max(dear)[0] > 1 else None


def _small(sheet: Sheet, span: Span, limits: Limits) -> bool:
    return sheet.share(span.start, span.stop) < limits.light or sheet.accessory(span.start, span.stop)


def _dearness(sheet: Sheet, spans: list[Span], index: int) -> float:
    """Bytes that cross after a span over what may cross there, seen from cheaper cuts not far away on both sides."""
    lefts = [spans[i].start for i in range(index, _reach(spans, index, -1) - 1, -1)]
    rights = [spans[i].stop for i in range(index + 1, _reach(spans, index + 1, 1) + 1)]
    found = 0.0
    for left in lefts:
        for right in rights:
            here, *ends = (sheet.local(position, left, right) for position in (spans[index].stop, left, right))
            factor = next((factor for share, factor in DEAR if sheet.share(left, right) <= share), None)
            if factor is None:
                break
            found = max(found, here / (factor * max(ends)) if any(ends) else 0.0)
    return found


def _reach(spans: list[Span], index: int, step: int) -> int:
    """How far the spans that may be joined go."""
    while 0 <= index + step < len(spans) and not spans[index + step].fixed:
        index += step
    return index
