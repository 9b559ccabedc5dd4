"""A few measured ops extended to all: for each class of ops and direction a launch time and two efficiencies.

    seconds = launch + flops / (peak * e) + bytes / (memory bandwidth * f),    launch, 1/e, 1/f >= 0

Hockney's law of a pipelined unit (The Science of Computer Benchmarking, SIAM 1996, section 1.3): work of size n runs at the rate
r / (1 + h/n), where h, the size that reaches half of it, is launch * r. A sum in place of the roofline's maximum, because on real
devices computing and moving overlap in part only, and because it is linear: the three numbers are the non-negative least squares
of the relative errors, solved exactly.

e and f are fractions of a datasheet, so they say what another type of device would take whose datasheet alone is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from statistics import median

import numpy as np
from numpy.typing import NDArray

from cost_models.compute import EFFICIENCY, Demand, OpClass, bounds_s
from cost_models.hardware import DeviceType
from cost_models.measured import Measurements, OpCurve, Sample

Array = NDArray[np.float64]
Group = tuple[str, ...]  # (class, dtype, kind), (class, dtype), (class,) or (): all ops together
FORWARD, BACKWARD = 0, 1
LEAST_POINTS = {3: 4, 2: 6, 1: 6}
"""Points that a group needs for a fit of its own, by the length of its name: twice the numbers that are fitted; of one kind of
op, whose flops and bytes go together, twice two.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Fitted for one group and direction. ``compute`` and ``memory`` stretch the roofline's two sides: efficiencies are those of
    ``cost_models.compute`` divided by them. ``residual``: mean size of the relative error over the ``points``.
    """

    launch_s: float
    compute: float
    memory: float
    points: int
    residual: float

    def efficiencies(self, op_class: OpClass) -> tuple[float, float]:
        """Fractions of peak speed and bandwidth; infinite where that side does not count."""
        known = EFFICIENCY[op_class]
        return (known.flops / self.compute if self.compute else np.inf, known.bandwidth / self.memory if self.memory else np.inf)


@dataclass(frozen=True)
class Fit:
    """Of one set of measurements: ``lines`` by group, forward and backward.

    ``blocks`` is what whole blocks take by what their ops take one by one, forward and backward: caches that are warm, gradients
    that add up.
    """

    lines: tuple[Mapping[Group, Line], Mapping[Group, Line]]
    blocks: tuple[float, float] = (1.0, 1.0)
    device: DeviceType = field(compare=False, kw_only=True)

    def line(self, asked: Demand, direction: int) -> Line | None:
        """Of the closest group that has one."""
        known = self.lines[direction]
        groups = _groups(asked.op_class, asked.dtype, asked.kind)
        return next((known[group] for group in groups if group in known), None)

    def seconds(self, asked: Demand, device: DeviceType) -> tuple[float, float] | None:
        """On the device that was measured or, by its datasheet, another one. None where nothing was measured."""
        forward = self._seconds(asked, device, FORWARD, asked.forward_flops, asked.forward_bytes)
        if not asked.differentiated:
            return None if forward is None else (forward, 0.0)
        backward = self._seconds(asked, device, BACKWARD, asked.backward_flops, asked.backward_bytes)
        return None if forward is None or backward is None else (forward, backward)

    def _seconds(self, asked: Demand, device: DeviceType, direction: int, flops: float, nbytes: float) -> float | None:
        line = self.line(asked, direction)
        if line is None:
            return None
        another = device.name != self.device.name
        sheet = device if another else self.device
        launch_s = line.launch_s * (device.launch_s / self.device.launch_s if another and self.device.launch_s else 1.0)
        compute_s, memory_s = bounds_s(sheet, flops, nbytes, asked.dtype, asked.op_class)
        return float(launch_s + line.compute * compute_s + line.memory * memory_s)


@lru_cache(maxsize=64)
def fit(measured: Measurements) -> Fit:
    """Of all that was measured."""
    return fit_without(measured, frozenset())


def fit_without(measured: Measurements, left_out: frozenset[str]) -> Fit:
    """Of all ops but those with these keys: to ask what it says of them."""
    curves = [curve for key, curve in measured.ops.items() if key not in left_out]
    forward, backward = (_lines(measured.device, curves, direction) for direction in (FORWARD, BACKWARD))
    return Fit((forward, backward), (_ratio(measured, FORWARD), _ratio(measured, BACKWARD)), device=measured.device)


def _lines(device: DeviceType, curves: Sequence[OpCurve], direction: int) -> dict[Group, Line]:
    rows: dict[Group, list[tuple[float, float, float]]] = defaultdict(list)
    for curve in curves:
        for seconds, compute_s, memory_s in _points(device, curve, direction):
            for group in _groups(curve.op_class, curve.dtype, curve.kind):
                rows[group].append((seconds, compute_s, memory_s))
    return {group: _line(np.array(points)) for group, points in rows.items() if _suffices(group, len(points))}


def _suffices(group: Group, points: int) -> bool:
    """A group too small joins the next larger one."""
    return points >= LEAST_POINTS.get(len(group), 1) or group == ("view",)


def _groups(op_class: str, dtype: str, kind: str) -> tuple[Group, ...]:
    """The closest first. What columns run together is alone the op that it stands for; views take host time alone, and are with
    no others.
    """
    named = (op_class, dtype, kind.replace("columns.", "aten."))
    return named, named[:2], named[:1], *([] if op_class == "view" else [()])


def _points(device: DeviceType, curve: OpCurve, direction: int) -> Iterator[tuple[float, float, float]]:
    """Seconds, and the roofline's two sides."""
    for sample in curve.samples:
        seconds = (sample.forward_s, sample.backward_s)[direction]
        if seconds > 0:
            sides = bounds_s(device, sample.flops[direction], sample.nbytes[direction], curve.dtype, curve.op_class)
            yield seconds, float(sides[0]), float(sides[1])


def _line(points: Array) -> Line:
    """``points`` [n, 3]: seconds and the two sides. Of every choice of terms the best that has no negative one."""
    seconds = points[:, 0]
    terms = np.column_stack((np.ones(len(points)), points[:, 1:])) / seconds[:, None]
    best, least = np.zeros(3), np.inf
    for count in (1, 2, 3):
        for chosen in combinations(range(3), count):
            columns = terms[:, chosen]
            scale = np.maximum(np.abs(columns).max(axis=0), np.finfo(float).tiny)
            solved = np.linalg.lstsq(columns / scale, np.ones(len(points)), rcond=None)[0] / scale
            error = float(((columns @ solved - 1) ** 2).sum())
            if (solved >= 0).all() and error < least * (1 - 1e-12):
                best, least = np.zeros(3), error
                best[list(chosen)] = solved
    residual = float(np.abs(terms @ best - 1).mean())
    return Line(float(best[0]), float(best[1]), float(best[2]), len(points), residual)


def _ratio(measured: Measurements, direction: int) -> float:
    """Median over the blocks' samples whose ops were all measured at the same rows; 1 where there is none."""
    found = []
    for block in measured.blocks.values():
        for sample in block.samples:
            ops_s = _ops_s(measured, block.ops, sample, direction)
            if ops_s:
                found.append((sample.forward_s, sample.backward_s)[direction] / ops_s)
    return median(found) if found else 1.0


def _ops_s(measured: Measurements, ops: Sequence[tuple[str, int]], sample: Sample, direction: int) -> float:
    """What a block's ops take one by one at the sample's rows; 0 where one of them was not measured there."""
    total = 0.0
    for key, count in ops:
        curve = measured.ops.get(key)
        at = [each for each in curve.samples if each.rows == sample.rows] if curve else []
        if not at:
            return 0.0
        total += count * (at[0].forward_s, at[0].backward_s)[direction]
    return total
