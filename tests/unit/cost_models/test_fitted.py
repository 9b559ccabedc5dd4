"""The fit finds the numbers that made the samples, and says how far it is off."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from cost_models.accuracy import block_errors, class_errors
from cost_models.compute import EFFICIENCY, Demand, OpClass
from cost_models.fitted import fit, fit_without
from cost_models.hardware import DeviceType
from cost_models.measured import BlockCurve, Measurements, OpCurve, Origin, Sample

PEAK, BANDWIDTH = 100e9, 10e9
SHEET = DeviceType("toy-cpu", 2**30, BANDWIDTH, {"float32": PEAK, "float64": PEAK / 2}, launch_s=5e-6, kind="cpu")
ORIGIN = Origin("a machine", "2.13", 1, "2026-01-01T00:00:00+00:00")


def seconds(flops: float, nbytes: float, launch_s: float, of_peak: float, of_bandwidth: float, peak: float = PEAK) -> float:
    return launch_s + flops / (peak * of_peak) + nbytes / (BANDWIDTH * of_bandwidth)


def curve(
    key: str,
    rng: Random,
    *,
    noise: float = 0.0,
    op_class: OpClass = "matmul",
    dtype: str = "float32",
    forward: tuple[float, float, float] = (7e-6, 0.6, 0.5),
    backward: tuple[float, float, float] = (11e-6, 0.4, 0.3),
) -> OpCurve:
    """Sizes over four orders of magnitude, flops and bytes apart. The truth: launch, of peak, of bandwidth, each way."""
    samples = []
    for rows in (1, 2, 4, 8):
        flops, nbytes = rows * 10 ** rng.uniform(4, 8), rows * 10 ** rng.uniform(3, 7)
        peak = SHEET.flops[dtype]
        times = (seconds(flops, nbytes, *forward, peak=peak), seconds(2 * flops, 3 * nbytes, *backward, peak=peak))
        off = [1 + rng.uniform(-noise, noise) for _ in times]
        samples.append(Sample(rows, times[0] * off[0], times[1] * off[1], (flops, 2 * flops), (nbytes, 3 * nbytes)))
    return OpCurve(key, op_class, dtype, tuple(samples))


def measurements(*curves: OpCurve, blocks: tuple[BlockCurve, ...] = ()) -> Measurements:
    digest = repr((curves, blocks))
    return Measurements(digest, SHEET, ORIGIN, {each.key: each for each in curves}, {each.key: each for each in blocks})


def asked(
    flops: float, nbytes: float, dtype: str = "float32", op_class: OpClass = "matmul", kind: str = "aten.mm.default"
) -> Demand:
    return Demand(op_class, dtype, flops, nbytes, 2 * flops, 3 * nbytes, kind)


def test_exact_samples_give_the_exact_numbers() -> None:
    rng = Random(1)
    found = fit(measurements(*(curve(f"aten.mm.default(%{n})", rng) for n in range(5))))
    for direction, truth in enumerate([(7e-6, 0.6, 0.5), (11e-6, 0.4, 0.3)]):
        line = found.line(asked(1, 1), direction)
        assert line is not None
        assert (line.launch_s, *line.efficiencies("matmul")) == pytest.approx(truth, rel=1e-6)
        assert line.residual < 1e-6
        assert line.points == 20


def test_noise_of_five_percent_moves_them_by_little() -> None:
    rng = Random(2)
    found = fit(measurements(*(curve(f"aten.mm.default(%{n})", rng, noise=0.05) for n in range(60))))
    line = found.line(asked(1, 1), 0)
    assert line is not None
    assert (line.launch_s, *line.efficiencies("matmul")) == pytest.approx((7e-6, 0.6, 0.5), rel=0.05)
    assert 0.01 < line.residual < 0.05


def test_no_term_is_negative() -> None:
    """Time that falls with size, as noise has it: a constant is all that is left."""
    samples = tuple(Sample(n, 1e-3 / n, 0.0, (1e6 * n, 0.0), (1e3 * n, 0.0)) for n in (1, 2, 4, 8))
    line = fit(measurements(OpCurve("aten.mm.default(%0)", "matmul", "float32", samples))).line(asked(1, 1), 0)
    assert line is not None
    assert line.launch_s > 0
    assert (line.compute, line.memory) == (0.0, 0.0)


def test_a_kind_has_its_own_numbers_and_others_those_of_the_class() -> None:
    rng = Random(3)
    slow = (7e-6, 0.1, 0.5)
    curves = [curve(f"aten.mm.default(%{n})", rng) for n in range(3)]
    curves += [curve(f"aten.bmm.default(%{n})", rng, forward=slow) for n in range(3)]
    found = fit(measurements(*curves))
    for kind, of_peak in (("aten.mm.default", 0.6), ("aten.bmm.default", 0.1), ("columns.bmm.default", 0.1)):
        line = found.line(asked(1, 1, kind=kind), 0)
        assert line is not None
        assert line.efficiencies("matmul")[0] == pytest.approx(of_peak, rel=1e-6)
    of_class = found.line(asked(1, 1, kind="aten.baddbmm.default"), 0)
    assert of_class is not None
    assert of_class.points == 24


def test_another_dtype_has_the_same_fractions_of_its_own_peak() -> None:
    rng = Random(4)
    found = fit(measurements(*(curve(f"aten.mm.default(%{n})", rng) for n in range(5))))
    result = found.seconds(asked(1e7, 1e5, "float64"), SHEET)
    assert result is not None
    assert result[0] == pytest.approx(seconds(1e7, 1e5, 7e-6, 0.6, 0.5, PEAK / 2))


def test_a_class_without_samples_is_off_its_datasheet_as_all_ops_are() -> None:
    """Every op at half the roofline's efficiency, without launch: so is a convolution."""
    rng = Random(5)
    known = EFFICIENCY["matmul"]
    half = (0.0, known.flops / 2, known.bandwidth / 2)
    found = fit(measurements(*(curve(f"aten.mm.default(%{n})", rng, forward=half, backward=half) for n in range(5))))
    result = found.seconds(asked(1e7, 0.0, op_class="convolution", kind="aten.conv2d.default"), SHEET)
    assert result is not None
    assert result[0] == pytest.approx(1e7 / (PEAK * EFFICIENCY["convolution"].flops / 2))


def test_blocks_by_their_ops() -> None:
    """Two blocks that take 1.2 and 1.4 times their ops forward, 0.9 and 1.0 times backward."""
    rng = Random(6)
    ops = [curve(f"aten.mm.default(%{n})", rng) for n in range(3)]

    def block(key: str, counts: tuple[int, ...], forward: float, backward: float) -> BlockCurve:
        samples = tuple(
            Sample(
                rows,
                forward * sum(n * op.samples[i].forward_s for n, op in zip(counts, ops, strict=True)),
                backward * sum(n * op.samples[i].backward_s for n, op in zip(counts, ops, strict=True)),
            )
            for i, rows in enumerate((1, 2, 4, 8))
        )
        return BlockCurve(key, key, tuple((op.key, n) for op, n in zip(ops, counts, strict=True)), samples)

    one, two = block("one", (1, 2, 3), 1.2, 0.9), block("two", (2, 1, 1), 1.4, 1.0)
    assert fit(measurements(*ops, blocks=(one, two))).blocks == pytest.approx((1.3, 0.95))
    missing = replace(one, ops=(*one.ops, ("aten.relu.default(%0)", 1)))
    assert fit(measurements(*ops, blocks=(missing,))).blocks == (1.0, 1.0), "an op of it was not measured"
    assert fit(measurements(*ops)).blocks == (1.0, 1.0)


def test_errors() -> None:
    """The fit of exact samples is off by nothing; the roofline's error is what the doubled times make it."""
    rng = Random(7)
    known = EFFICIENCY["matmul"]
    curves = []
    for n in range(4):
        samples = tuple(
            Sample(rows, 2 * (5e-6 + f / (PEAK * known.flops)), 0.0, (f, 0.0), (0.0, 0.0))
            for rows, f in enumerate(sorted(10 ** rng.uniform(5, 8) for _ in range(4)), start=1)
        )
        curves.append(OpCurve(f"aten.mm.default(%{n})", "matmul", "float32", samples))
    block = BlockCurve("k", "h.0", ((curves[0].key, 2),), tuple(replace(s, forward_s=2 * s.forward_s) for s in curves[0].samples))
    found = measurements(*curves, blocks=(block,))
    (errors,) = class_errors(found)
    assert (errors.name, errors.samples) == ("matmul float32", 16)
    assert errors.analytic == pytest.approx(0.5)
    assert errors.fitted < 1e-6
    assert errors.unseen < 1e-6
    (of_block,) = block_errors(found)
    assert of_block.analytic == pytest.approx(0.5)
    assert of_block.unseen < 1e-6


def test_leaving_out() -> None:
    rng = Random(8)
    curves = [curve(f"aten.mm.default(%{n})", rng) for n in range(3)]
    line = fit_without(measurements(*curves), frozenset((curves[0].key,))).line(asked(1, 1), 0)
    assert line is not None
    assert line.points == 8
