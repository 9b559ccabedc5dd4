"""How far the models are from what was measured: the roofline before calibration, the fit after, the fit on what it has not seen.

Errors are means of |predicted - measured| / measured over samples, forward and backward together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from cost_models.compute import Demand
from cost_models.fitted import Fit, fit, fit_without
from cost_models.measured import BlockCurve, Measurements, OpCurve, Sample
from cost_models.price import analytic

Predict = Callable[[Demand], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one class of ops, or of one block. ``unseen``: of a fit without the op, or without any op of the block."""

    name: str
    samples: int
    analytic: float
    fitted: float
    unseen: float


def class_errors(measured: Measurements) -> tuple[Errors, ...]:
    """Of every class of ops and dtype; views, which the roofline has for free, are left out."""
    classes: dict[str, list[OpCurve]] = {}
    for curve in measured.ops.values():
        if curve.op_class != "view":
            classes.setdefault(f"{curve.op_class} {curve.dtype}", []).append(curve)
    return tuple(_class(measured, name, curves) for name, curves in sorted(classes.items()))


def _class(measured: Measurements, name: str, curves: list[OpCurve]) -> Errors:
    seen = fit(measured)
    unseen = [_op_errors(measured, curve, fit_without(measured, frozenset((curve.key,)))) for curve in curves]
    return Errors(
        name,
        sum(len(curve.samples) for curve in curves),
        fmean(error for curve in curves for error in _errors(curve, lambda asked: analytic(measured.device, asked).seconds)),
        fmean(error for curve in curves for error in _op_errors(measured, curve, seen)),
        fmean(error for errors in unseen for error in errors),
    )


def _op_errors(measured: Measurements, curve: OpCurve, known: Fit) -> list[float]:
    return _errors(curve, _by_fit(measured, known))


def _by_fit(measured: Measurements, known: Fit) -> Predict:
    return lambda asked: known.seconds(asked, measured.device) or analytic(measured.device, asked).seconds


def _errors(curve: OpCurve, predict: Predict) -> list[float]:
    return [abs(sum(predict(curve.demand(s))) / (s.forward_s + s.backward_s) - 1) for s in curve.samples]


def block_errors(measured: Measurements) -> tuple[Errors, ...]:
    """Of every block whose ops were measured at the same rows: what the sum of its ops is off by."""
    return tuple(found for block in measured.blocks.values() if (found := _block(measured, block)))


def _block(measured: Measurements, block: BlockCurve) -> Errors | None:
    at = [sample for sample in block.samples if all(_demands(measured.ops, block, sample))]
    if not at:
        return None
    others = {key: other for key, other in measured.blocks.items() if key != block.key}
    without = fit_without(replace(measured, blocks=others), frozenset(key for key, _ in block.ops))

    def error(predict: Predict, ratio: tuple[float, float]) -> float:
        return fmean(abs(_sum(measured.ops, block, sample, predict, ratio) / _both(sample) - 1) for sample in at)

    return Errors(
        block.name,
        len(at),
        error(lambda asked: analytic(measured.device, asked).seconds, (1.0, 1.0)),
        error(_by_fit(measured, fit(measured)), fit(measured).blocks),
        error(_by_fit(measured, without), without.blocks),
    )


def _both(sample: Sample) -> float:
    return sample.forward_s + sample.backward_s


def _demands(ops: Mapping[str, OpCurve], block: BlockCurve, sample: Sample) -> Iterable[Demand | None]:
    """Of each of its ops at the sample's rows; None where it was not measured there."""
    for key, _ in block.ops:
        curve = ops.get(key)
        yield next((curve.demand(s) for s in curve.samples if s.rows == sample.rows), None) if curve else None


def _sum(ops: Mapping[str, OpCurve], block: BlockCurve, sample: Sample, predict: Predict, ratio: tuple[float, float]) -> float:
    total = 0.0
    for (_, count), asked in zip(block.ops, _demands(ops, block, sample), strict=True):
        assert asked is not None, "only samples whose ops are all known are asked for"
        forward_s, backward_s = predict(asked)
        total += count * (forward_s * ratio[0] + backward_s * ratio[1])
    return total
