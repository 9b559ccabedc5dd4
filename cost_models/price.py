"""What an op, a block or an update costs on a device: the one question, and three models that may answer it.

*measured*: the curve of the very op, if somebody measured it on this type of device; *fitted*: the efficiencies that measured
ops reach (``cost_models.fitted``), on this type or scaled by the datasheets of two; *analytic*: the roofline
(``cost_models.compute``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cost_models.compute import Demand, op_s, waste_of
from cost_models.fitted import fit
from cost_models.hardware import DeviceType
from cost_models.measured import Measurements, Model, Sample, Stretch, read
from cost_models.memory import update_traffic_bytes

LARGE_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds forward and backward, where they come from, and where those of the whole block come from that it was scaled to."""

    forward_s: float
    backward_s: float
    model: Model
    block: Model | None = None

    @property
    def source(self) -> str:
        """In words."""
        return f"{self.model}, scaled to its {self.block} block" if self.block else self.model

    @property
    def seconds(self) -> tuple[float, float]:
        return self.forward_s, self.backward_s


def own_measurements(device: DeviceType) -> Measurements | None:
    """What was measured on this very type."""
    known = device.measured
    return known if known and known.device.name == device.name else None


def op_price(device: DeviceType, asked: Demand, key: str = "", rows: int = 0) -> Price:
    """Of an op by itself; ``key`` and ``rows`` find it among what was measured."""
    known = own_measurements(device)
    curve = known.ops.get(key) if known else None
    if known is None or curve is None:
        return modelled(device, asked)
    found = read(curve.samples, rows)
    price = _stretched(Price(found.forward_s, found.backward_s, found.model), known)
    if found.model != "extrapolated":
        return price
    here, there = modelled(device, replace(asked, products=((), ()))), modelled(device, curve.demand(found.nearest))
    return Price(
        price.forward_s * _quotient(here.forward_s, there.forward_s),
        price.backward_s * _quotient(here.backward_s, there.backward_s),
        "extrapolated",
    )


def part_price(device: DeviceType, asked: Demand, whole: Demand, key: str = "", rows: int = 0) -> Price:
    """Of a part of an op, ``asked``: it takes as much less than the ``whole`` one, measured or not, as the model says. Ops of one
    class are as unlike as a product and a tanh.
    """
    price, here, there = op_price(device, whole, key, rows), modelled(device, asked), modelled(device, whole)
    return Price(
        price.forward_s * _quotient(here.forward_s, there.forward_s),
        price.backward_s * _quotient(here.backward_s, there.backward_s),
        price.model,
    )


def modelled(device: DeviceType, asked: Demand) -> Price:
    """By the fit where something was measured, else by the roofline."""
    known = device.measured
    if known is None:
        return analytic(device, asked)
    found = fit(known).seconds(asked, device)
    return _stretched(Price(*found, "fitted") if found else analytic(device, asked), known)


def _stretched(price: Price, known: Measurements) -> Price:
    by = known.stretch
    return replace(price, forward_s=price.forward_s * by.forward, backward_s=price.backward_s * by.backward)


def analytic(device: DeviceType, asked: Demand) -> Price:
    """By the roofline."""
    kind = (asked.dtype, asked.op_class)
    forward, backward = (waste_of(device, products, *kind) for products in asked.products)
    forward_s = float(op_s(device, asked.forward_flops, asked.forward_bytes, *kind, forward))
    if not asked.differentiated:
        return Price(forward_s, 0.0, "analytic")
    return Price(forward_s, float(op_s(device, asked.backward_flops, asked.backward_bytes, *kind, backward)), "analytic")


def block_ratio(device: DeviceType) -> tuple[float, float]:
    """What a block that was not measured takes by the sum of its ops, forward and backward."""
    return fit(device.measured).blocks if device.measured else (1.0, 1.0)


def block_samples(device: DeviceType, key: str) -> tuple[Sample, ...]:
    """What was measured of a block on this very type; nothing of others."""
    known = own_measurements(device)
    curve = known.blocks.get(key) if known else None
    if known is None or curve is None:
        return ()
    by = known.stretch
    return tuple(replace(s, forward_s=s.forward_s * by.forward, backward_s=s.backward_s * by.backward) for s in curve.samples)


def stream_s(device: DeviceType, nbytes: float) -> float:
    """An elementwise pass over so many bytes."""
    return modelled(device, Demand("elementwise", "float32", 0.0, nbytes, 0.0, 0.0)).forward_s


def packing_s(device: DeviceType, nbytes: float) -> float:
    """So many bytes of gradients laid one after the other, once a step: as measured, else a pass that reads and writes them,
    which is as fast as an update if one was measured.
    """
    known = own_measurements(device)
    if known and known.packing:
        return _interpolated(known.packing, nbytes) * known.stretch.update
    if known and known.updates:
        optimizer = min(known.updates)
        return update_s(device, optimizer, 2 * nbytes / update_traffic_bytes(optimizer, "float32"), 2 * nbytes)
    return _pass_s(device, 2 * nbytes)


def update_s(device: DeviceType, optimizer: str, elements: float, nbytes: float) -> float:
    """The optimizer's step over so many elements, which reads and writes ``nbytes``."""
    known = own_measurements(device)
    samples = known.updates.get(optimizer, ()) if known else ()
    if not elements:
        return 0.0
    if not known or not samples:
        return _pass_s(device, nbytes)
    return _interpolated(samples, elements) * known.stretch.update


def memory_byte_s(device: DeviceType) -> float:
    """Reading or writing a byte of a large sum."""
    return packing_s(device, LARGE_BYTES) / (2 * LARGE_BYTES)


def _pass_s(device: DeviceType, nbytes: float) -> float:
    """An elementwise pass once a step."""
    by = device.measured.stretch if device.measured else Stretch()
    return stream_s(device, nbytes) * by.update / by.forward


def _interpolated(samples: Sequence[tuple[int, float]], size: float) -> float:
    """On the lines between nothing, which takes no time, and samples; beyond them in proportion to the last one."""
    sizes, seconds = (0, *(each for each, _ in samples)), (0.0, *(each for _, each in samples))
    return float(np.interp(size, sizes, seconds)) * max(1.0, size / sizes[-1])


def _quotient(here: float, there: float) -> float:
    return here / there if there else 1.0
