"""The pipeline of least rate x step: the money or the energy of a step, each device that works being paid for all of it.

In the plane of rate R and step s every pipeline is a point, and R s is to be small. The solver minimises s + a R over pipelines
of a limited rate (``Budget``); its bound v is a line below all of their points. Under a set of such lines, between the smallest
and the largest rate, R s is least in a corner, since along a piece of a line it is concave: that corner's R s is a bound. Solving
next with the slope at which s + a R touches the hyperbola through the corner either raises the bound there, or finds a pipeline
as good: for by the inequality of the means no point of that line has a larger product.

Without a limit on the step that closes the gap. Pipelines that just keep a limit may lie far above all lines that hold for
slower ones too, so ranges of the rate are halved where lines no longer help: those of the lower half are for a smaller largest
rate, and a range that can't keep the limit is dropped. A range of one rate is closed by its least step.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, count

from autopart.planner.problem import Candidate, Problem, Solution
from autopart.planner.rates import Rates, possible_sums

CANDIDATES = 12
NEAR = 1.3  # pipelines beyond this multiple of the least value, or of the limit on the step, are not candidates
SHARPER = 0.25  # of the gap asked for, and of what a corner's bound misses: the solver's gap
ROUNDING = 1e-12
ALIKE = 0.01  # slopes that differ by so much of themselves say the same
USEFUL = 0.3  # of the way that a range's bound has to go: less than this by one line, and the range is halved

Solve = Callable[[Problem, float, float, float], Solution]
"""Problem, gap, seconds, and a bound that is enough; as ``ilp.solve``."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """``candidates`` by their value, those that keep the limit on the step first; no pipeline that keeps it is worth less than
    ``lower_bound``, and none at all has a smaller step than ``fastest_s``. ``proof`` as of a ``Solution``.
    """

    candidates: tuple[Candidate, ...]
    lower_bound: float
    fastest_s: float
    proof: str


@dataclass(frozen=True, slots=True)
class _Line:
    """No pipeline of the range has step + slope_s x units below ``value_s``."""

    slope_s: float
    value_s: float

    def at(self, units: float) -> float:
        return self.value_s - self.slope_s * units


@dataclass(frozen=True, slots=True)
class _Corner:
    """Where a range's product is least."""

    bound: float  # units x seconds
    units: float
    step_s: float


NOWHERE = _Corner(math.inf, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class _Range:
    """Pipelines that take low to high units. ``lines`` hold for all that take high at most; of these ``tried`` slopes are of
    just those.
    """

    low: int
    high: int
    lines: tuple[_Line, ...] = ()
    tried: tuple[float, ...] = ()

    def step_s(self, units: float) -> float:
        """No pipeline that takes so many units is below."""
        return max((line.at(units) for line in self.lines), default=0.0)

    def corners(self, limit_s: float) -> list[_Corner]:
        """Of the region above all lines and below the limit on the step, by units."""
        inside = (units for units in self._breaks(limit_s) if self.low <= units <= self.high)
        found = (_Corner(units * self.step_s(units), units, self.step_s(units)) for units in sorted(inside))
        return [corner for corner in found if corner.step_s <= limit_s * (1 + ROUNDING)]

    def corner(self, limit_s: float) -> _Corner:
        """Where the product is least."""
        return min(self.corners(limit_s), key=lambda corner: corner.bound, default=NOWHERE)

    def _breaks(self, limit_s: float) -> Iterator[float]:
        yield from (self.low, self.high)
        yield from ((line.value_s - limit_s) / line.slope_s for line in self.lines if line.slope_s and math.isfinite(limit_s))
        for a, b in combinations(self.lines, 2):
            if a.slope_s != b.slope_s:
                yield (a.value_s - b.value_s) / (a.slope_s - b.slope_s)

    def enough_s(self, at: _Corner, slope_s: float, limit_s: float, cutoff: float) -> float:
        """With this value a line leaves nothing below the cutoff beside a corner: what is concave is least at ends."""
        corners = self.corners(limit_s)
        below = [c for c in corners if c.units <= at.units and c.bound >= cutoff][-1:] or corners[:1]
        above = [c for c in corners if c.units >= at.units and c.bound >= cutoff][:1] or corners[-1:]
        ends = (self._crossing(at.units, end.units, cutoff) for end in (*below, *above))
        return max(cutoff / units + slope_s * units for units in ends) * (1 + ROUNDING)

    def _crossing(self, inside: float, outside: float, cutoff: float) -> float:
        """Between units of a smaller product than the cutoff and others, as near to the former as the product allows."""
        if outside * self.step_s(outside) < cutoff:
            return outside
        for _ in range(50):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if middle * self.step_s(middle) < cutoff else (inside, middle)
        return outside


@dataclass(slots=True)
class _Search:
    problem: Problem
    rates: Rates
    solve: Solve
    limit_s: float
    gap: float
    until: float  # by the monotonic clock
    progress: Callable[[float, float], None]
    sums: tuple[int, ...] | None
    heap: list[tuple[float, int, _Range]] = field(default_factory=list)
    pushed: Iterator[int] = field(default_factory=count)
    found: dict[tuple[object, ...], tuple[float, Candidate]] = field(default_factory=dict)
    best: float = math.inf  # least value of a pipeline that keeps the limit
    closed: float = math.inf  # least bound of what was closed, in units x seconds
    fastest_s: float = 0.0
    proof: str = ""

    @property
    def cutoff(self) -> float:
        """In units x seconds: ranges of a larger bound hold nothing worth finding."""
        return self.best * (1 - self.gap) / self.rates.unit

    def bound(self, current: float = math.inf) -> float:
        waiting = self.heap[0][0] if self.heap else math.inf
        return min(min(self.closed, waiting, current) * self.rates.unit, self.best)

    def push(self, these: _Range) -> None:
        corner = these.corner(self.limit_s)
        if corner is not NOWHERE:
            heapq.heappush(self.heap, (corner.bound, next(self.pushed), these))


def cheapest(
    problem: Problem,
    rates: Rates,
    solve: Solve,
    *,
    limit_s: float = math.inf,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Callable[[float, float], None] | None = None,
) -> Cheapest:
    """Of the pipelines whose step is at most ``limit_s``; ends as ``ilp.solve`` does. ``progress(best value, bound)``."""
    until, sums = time.monotonic() + time_limit_s, possible_sums(rates.units, problem.devices)
    search = _Search(problem, rates, solve, limit_s, max(gap, 4e-9), until, progress or (lambda *_: None), sums)
    most = sum(n * devices for n, devices in zip(rates.units, problem.devices, strict=True))
    search.push(_Range(sums[0] if sums else max(1, min(rates.units)), most))
    while search.heap and search.heap[0][0] < search.cutoff and not search.proof:
        _examine(search, heapq.heappop(search.heap)[2])
        search.progress(search.best, search.bound())
    proof = search.proof or ("gap" if math.isfinite(search.best) else "infeasible")
    return Cheapest(_ranked(search), search.bound(), search.fastest_s, proof)


def _examine(search: _Search, these: _Range) -> None:
    """Lay one more line, then close the range, keep it, or halve it."""
    before, single = these.corner(search.limit_s), these.low == these.high
    slope_s = _slope(search, these, before)
    if any(abs(slope_s - tried) <= ALIKE * slope_s for tried in these.tried):
        _halve(search, these)
        return
    solution = _solve(search, these, slope_s, before)
    if solution.proof == "infeasible":
        return
    line = _Line(slope_s, solution.lower_bound_s)
    if not these.lines:
        search.fastest_s = line.value_s
    these = replace(these, lines=(*these.lines, line), tried=(*these.tried, slope_s))
    after = these.corner(search.limit_s)
    if search.proof or after.bound >= search.cutoff or single:
        search.closed = min(search.closed, after.bound)
    elif slope_s == 0 or _useful(search, before.bound, after.bound):
        search.push(these)
    else:
        _halve(search, these)


def _slope(search: _Search, these: _Range, corner: _Corner) -> float:
    """That of the hyperbola through the corner; 0 first where the least step decides."""
    if not these.lines or (0.0 not in these.tried and (these.low == these.high or math.isfinite(search.limit_s))):
        return 0.0
    return corner.step_s / corner.units


def _useful(search: _Search, before: float, after: float) -> bool:
    """Whether another line may do as much as the last one did."""
    wanted, gained = min(search.cutoff, 2 * before) - before, after - before
    return gained >= max(USEFUL * wanted, SHARPER * search.gap * before)


def _solve(search: _Search, these: _Range, slope_s: float, corner: _Corner) -> Solution:
    remaining_s = search.until - time.monotonic()
    if remaining_s <= 0 and these.lines:
        search.proof = "time limit"
        return Solution((), 0.0, search.proof)
    problem = replace(search.problem, budgets=(*search.problem.budgets, search.rates.budget(these.high, slope_s)))
    enough_s = _enough(search, these, slope_s, corner)
    solution = search.solve(problem, _sharpness(search, corner), max(remaining_s, 0.01), enough_s)
    if solution.proof in ("time limit", "interrupted"):
        search.proof = solution.proof
    for candidate in solution.candidates:
        value = search.rates.of(search.problem, candidate) * candidate.step_s
        search.found.setdefault((candidate.setting, *candidate.choices), (value, replace(candidate, surcharge_s=0.0)))
        if candidate.step_s <= search.limit_s:
            search.best = min(search.best, value)
    return solution


def _sharpness(search: _Search, corner: _Corner) -> float:
    """The solver's gap: that asked for while there is far to go, then less, as two lines that are off meet further off."""
    missing = 1 - corner.bound / search.cutoff if math.isfinite(search.cutoff) else 1.0
    return min(max(SHARPER * missing, SHARPER * search.gap), search.gap)


def _enough(search: _Search, these: _Range, slope_s: float, corner: _Corner) -> float:
    """A bound that closes the range, or what is beside the corner; infinite for the very first, which is asked for in full."""
    if not these.lines:
        return math.inf
    too_slow_s = search.limit_s * (1 + 2 * ROUNDING) if slope_s == 0 else math.inf
    return min(too_slow_s, these.enough_s(corner, slope_s, search.limit_s, search.cutoff))


def _halve(search: _Search, these: _Range) -> None:
    """At the middle by ratio, or the possible sum below it."""
    middle = math.isqrt(these.low * these.high)
    below, above = middle, middle + 1
    if search.sums is not None:
        below = max((n for n in search.sums if n <= middle), default=0)
        above = min((n for n in search.sums if n > middle), default=these.high + 1)
    if these.low <= below:
        search.push(_Range(these.low, below, these.lines))
    if above <= these.high:
        search.push(replace(these, low=above))


def _ranked(search: _Search) -> tuple[Candidate, ...]:
    def order(found: tuple[float, Candidate]) -> tuple[object, ...]:
        value, candidate = found
        return candidate.step_s > search.limit_s, value, candidate.step_s, candidate.setting

    near = [each for each in search.found.values() if each[1].step_s <= NEAR * search.limit_s]
    return tuple(candidate for _, candidate in sorted(near, key=order)[:CANDIDATES])
