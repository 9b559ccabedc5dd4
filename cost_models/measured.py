"""What was measured of a type of device: seconds of ops, blocks and updates, by key and number of rows.

A key says what was run whatever the number of rows (``autopart.pricing.keys`` writes it): the same op at 1, 2, 4, ... rows makes
a curve. Between two of its samples the time is on the straight line; beyond them a fitted model scales the nearest one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cost_models.compute import Demand, OpClass
from cost_models.hardware import DeviceType

Model = Literal["measured", "interpolated", "extrapolated", "fitted", "analytic"]
"""Where a price comes from, the surest first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One op or block at a number of rows; ``backward_s`` is 0 where there is none. Of a block flops and bytes are not kept."""

    rows: int
    forward_s: float
    backward_s: float
    flops: tuple[float, float] = (0.0, 0.0)  # forward, backward
    nbytes: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class OpCurve:
    """An op; samples by ascending rows, at least one."""

    key: str
    op_class: OpClass
    dtype: str
    samples: tuple[Sample, ...]

    def demand(self, sample: Sample) -> Demand:
        """What the op asked for there."""
        (forward_flops, backward_flops), (forward_bytes, backward_bytes) = sample.flops, sample.nbytes
        return Demand(self.op_class, self.dtype, forward_flops, forward_bytes, backward_flops, backward_bytes, self.kind)

    @property
    def kind(self) -> str:
        """The op's full name, with which keys begin."""
        return self.key.partition("(")[0]


@dataclass(frozen=True, slots=True)
class BlockCurve:
    """A block run as a whole: ``name`` is that of one such block, ``ops`` the keys of its ops and how often each is in it."""

    key: str
    name: str
    ops: tuple[tuple[str, int], ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """How it was measured. ``method``: the minimum of repeats, or the mean of a sustained load under a CPU quota; ``compiled``:
    blocks under ``torch.compile``.
    """

    machine: str
    torch: str
    threads: int
    when: str  # of the first sample, ISO 8601
    method: Literal["minimum", "mean"] = "minimum"
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """By how much more everything takes than samples, fit or datasheet say: what runs of plans told."""

    forward: float = 1.0
    backward: float = 1.0
    update: float = 1.0

    def times(self, forward: float, backward: float, update: float) -> Stretch:
        return Stretch(self.forward * forward, self.backward * backward, self.update * update)


@dataclass(frozen=True)
class Measurements:
    """All of a costs file. ``device`` is the type as its datasheet had it then, without measurements.

    ``updates``: by optimizer, (elements, seconds) ascending; ``packing``: (bytes, seconds) of gradients copied to one block, one
    after the other. All prices are multiplied by ``stretch``.
    """

    digest: str
    device: DeviceType = field(compare=False)
    origin: Origin = field(compare=False)
    ops: Mapping[str, OpCurve] = field(default_factory=dict, compare=False, repr=False)
    blocks: Mapping[str, BlockCurve] = field(default_factory=dict, compare=False, repr=False)
    updates: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict, compare=False, repr=False)
    packing: tuple[tuple[int, float], ...] = field(default=(), compare=False, repr=False)
    stretch: Stretch = Stretch()

    def faster(self, factor: float) -> Measurements:
        """As if everything took that much less: for questions about faster devices."""
        return replace(self, stretch=self.stretch.times(1 / factor, 1 / factor, 1 / factor))


@dataclass(frozen=True, slots=True)
class Reading:
    """A curve at some rows. Beyond its samples the seconds are those of the ``nearest`` one, to be scaled."""

    forward_s: float
    backward_s: float
    model: Literal["measured", "interpolated", "extrapolated"]
    nearest: Sample


def read(samples: Sequence[Sample], rows: int) -> Reading:
    """At least one sample, by ascending rows."""
    above = bisect_left(samples, rows, key=lambda sample: sample.rows)
    if above < len(samples) and samples[above].rows == rows:
        found = samples[above]
        return Reading(found.forward_s, found.backward_s, "measured", found)
    if above in (0, len(samples)):
        nearest = samples[max(0, above - 1)]
        return Reading(nearest.forward_s, nearest.backward_s, "extrapolated", nearest)
    low, high = samples[above - 1], samples[above]
    part = (rows - low.rows) / (high.rows - low.rows)
    forward_s = low.forward_s + part * (high.forward_s - low.forward_s)
    backward_s = low.backward_s + part * (high.backward_s - low.backward_s)
    return Reading(forward_s, backward_s, "interpolated", low if part < 0.5 else high)
