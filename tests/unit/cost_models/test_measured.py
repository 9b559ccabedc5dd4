"""Curves between, at and beyond their samples; what a device with measurements is priced by. All by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cost_models.compute import Demand, OpClass
from cost_models.hardware import DeviceType
from cost_models.measured import BlockCurve, Measurements, OpCurve, Origin, Sample, read
from cost_models.price import (
    analytic,
    block_samples,
    memory_byte_s,
    op_price,
    own_measurements,
    packing_s,
    part_price,
    stream_s,
    update_s,
)

SHEET = DeviceType("toy-cpu", 2**30, 1e9, {"float32": 1e9}, launch_s=1e-6, kind="cpu")
ORIGIN = Origin("a machine", "2.13", 1, "2026-01-01T00:00:00+00:00")
LADDER = (Sample(2, 1.0, 3.0), Sample(4, 2.0, 5.0), Sample(8, 8.0, 9.0))


def demand(flops: float, op_class: OpClass = "matmul") -> Demand:
    return Demand(op_class, "float32", flops, 0.0, 2 * flops, 0.0, "aten.mm.default")


def measured(*curves: OpCurve, **others: object) -> DeviceType:
    """The toy with these ops measured on it."""
    digest = repr((curves, others))
    found = Measurements(digest, SHEET, ORIGIN, ops={curve.key: curve for curve in curves}, **others)  # type: ignore[arg-type]
    return replace(SHEET, measured=found)


def line(key: str, launch_s: float, per_flop_s: float, works: tuple[int, ...]) -> OpCurve:
    """Of an op whose rows are its mega-flops, and whose backward is twice its forward."""
    samples = tuple(
        Sample(n, launch_s + per_flop_s * n * 1e6, 2 * (launch_s + per_flop_s * n * 1e6), (n * 1e6, 2e6 * n)) for n in works
    )
    return OpCurve(key, "matmul", "float32", samples)


def test_at_a_sample() -> None:
    found = read(LADDER, 4)
    assert (found.forward_s, found.backward_s, found.model) == (2.0, 5.0, "measured")


def test_between_samples_on_the_straight_line() -> None:
    found = read(LADDER, 5)
    assert (found.forward_s, found.backward_s, found.model) == (3.5, 6.0, "interpolated")


@pytest.mark.parametrize(("rows", "nearest"), [(1, 2), (9, 8), (1000, 8)])
def test_beyond_the_samples(rows: int, nearest: int) -> None:
    found = read(LADDER, rows)
    assert (found.nearest.rows, found.model) == (nearest, "extrapolated")


def test_extrapolation_scales_the_nearest_sample_by_the_fit() -> None:
    """The fit is launch 10 us and 1 ns a flop; the curve of the asked op lies a tenth above it, everywhere."""
    true = [line(f"aten.mm.default(%{n})", 10e-6, 1e-9, (1, 2, 4, 8)) for n in range(20)]
    slow = line("aten.mm.default(%slow)", 11e-6, 1.1e-9, (1, 2, 4, 8))
    device = measured(*true, slow)
    found = op_price(device, demand(16e6), slow.key, 16)
    here, there = (op_price(device, demand(n * 1e6)).forward_s for n in (16, 8))
    assert found.model == "extrapolated"
    assert found.forward_s == pytest.approx((11e-6 + 1.1e-9 * 8e6) * here / there)
    assert found.forward_s == pytest.approx(11e-6 + 1.1e-9 * 16e6, rel=0.01)


def test_a_part_is_as_much_quicker_as_the_model_says() -> None:
    """Half of an op that takes five times what others of its class do takes five times what half of those do."""
    true = [line(f"aten.mm.default(%{n})", 10e-6, 1e-9, (1, 2, 4, 8)) for n in range(20)]
    slow = line("aten.mm.default(%slow)", 50e-6, 5e-9, (1, 2, 4, 8))
    device = measured(*true, slow)
    half = part_price(device, demand(4e6), demand(8e6), slow.key, 8)
    assert half.model == "measured"
    assert half.forward_s == pytest.approx(50e-6 + 5e-9 * 4e6, rel=0.02)
    assert half.forward_s > 4 * op_price(device, demand(4e6), "another", 4).forward_s
    assert part_price(device, demand(8e6), demand(8e6), slow.key, 8) == op_price(device, demand(8e6), slow.key, 8)
    assert part_price(device, demand(4e6), demand(8e6), "another", 8).seconds == pytest.approx(
        op_price(device, demand(4e6)).seconds
    )
    assert part_price(SHEET, demand(4e6), demand(8e6)).seconds == pytest.approx(analytic(SHEET, demand(4e6)).seconds)


def test_three_models() -> None:
    curves = [line(f"aten.mm.default(%{n})", 10e-6, 1e-9, (1, 2, 4, 8)) for n in range(2)]
    device = measured(*curves)
    assert op_price(device, demand(2e6), curves[0].key, 2).model == "measured"
    assert op_price(device, demand(3e6), curves[0].key, 3).model == "interpolated"
    assert op_price(device, demand(3e6), "another", 3).model == "fitted"
    assert op_price(SHEET, demand(3e6), curves[0].key, 3) == analytic(SHEET, demand(3e6))


def test_a_type_of_another_name_has_the_fit_alone() -> None:
    """Twice the peak and half the launch time: half the seconds."""
    curve = line("aten.mm.default(%0)", 10e-6, 1e-9, (1, 2, 4, 8))
    device = measured(curve)
    other = replace(device, name="other-cpu", flops={"float32": 2e9}, launch_s=0.5e-6)
    assert own_measurements(other) is None
    found = op_price(other, demand(2e6), curve.key, 2)
    assert found.model == "fitted"
    assert found.seconds == pytest.approx((5e-6 + 0.5e-9 * 2e6, 10e-6 + 0.5e-9 * 4e6), rel=1e-6)


def test_a_corrected_datasheet_changes_nothing_of_what_was_measured() -> None:
    device = measured(line("aten.mm.default(%0)", 10e-6, 1e-9, (1, 2, 4, 8)))
    corrected = replace(device, flops={"float32": 5e9}, launch_s=1.0)
    assert op_price(corrected, demand(3e6)) == op_price(device, demand(3e6))


def test_views_cost_what_was_measured() -> None:
    view = OpCurve("aten.view.default(%0)", "view", "float32", (Sample(1, 2e-6, 1e-6), Sample(2, 2e-6, 1e-6)))
    device = measured(view)
    asked = Demand("view", "float32", 0.0, 0.0, 0.0, 0.0, "aten.t.default")
    assert op_price(device, asked, view.key, 1).seconds == (2e-6, 1e-6)
    assert op_price(device, asked).forward_s == pytest.approx(2e-6), "other views: host time alone"
    assert op_price(SHEET, asked).forward_s == 0.0


def test_a_faster_device_takes_less_of_everything() -> None:
    curve = line("aten.mm.default(%0)", 10e-6, 1e-9, (1, 2, 4, 8))
    block = BlockCurve("k", "a block", (), (Sample(1, 1.0, 2.0),))
    device = measured(curve, blocks={"k": block}, updates={"sgd": ((10, 1.0),)})
    assert device.measured is not None
    faster = replace(device, measured=device.measured.faster(2.0))
    for asked, key, rows in ((demand(2e6), curve.key, 2), (demand(99e6), curve.key, 99), (demand(5e6), "", 5)):
        assert op_price(faster, asked, key, rows).forward_s == pytest.approx(op_price(device, asked, key, rows).forward_s / 2)
    assert [sample.backward_s for sample in block_samples(faster, "k")] == [1.0]
    assert update_s(faster, "sgd", 10, 0) == 0.5


def test_updates() -> None:
    """From nothing to the first sample, between two, and beyond the last in proportion."""
    device = measured(updates={"adamw": ((100, 1.0), (300, 2.0))})
    assert [update_s(device, "adamw", n, 1.0) for n in (0, 50, 100, 200, 300, 600)] == [0.0, 0.5, 1.0, 1.5, 2.0, 4.0]


def test_packing() -> None:
    """Between nothing and samples, and in proportion beyond; half of it to read a byte, half to write one."""
    device = measured(packing=((2**20, 1.0), (2**24, 4.0)))
    assert [packing_s(device, n) for n in (0, 2**19, 2**20, 2**25)] == pytest.approx([0.0, 0.5, 1.0, 8.0])
    assert memory_byte_s(device) == pytest.approx(4.0 / 2**25)
    assert packing_s(replace(device, measured=device.measured.faster(2)), 2**20) == pytest.approx(0.5)  # type: ignore[union-attr]


def test_packing_that_was_not_measured_is_a_pass() -> None:
    """An update by sgd reads a parameter and its gradient and writes one: 12 bytes an element, where packing moves 8."""
    assert packing_s(measured(updates={"sgd": ((100, 3.0),)}), 400) == pytest.approx(2.0)
    assert packing_s(SHEET, 1e6) == pytest.approx(stream_s(SHEET, 2e6))


def test_an_update_that_was_not_measured_streams_its_bytes() -> None:
    """80% of 1e9 bytes a second, and a launch."""
    device = measured(updates={"adamw": ((100, 1.0),)})
    assert update_s(device, "sgd", 100, 8e8) == pytest.approx(1.0 + 1e-6)
    assert update_s(SHEET, "adamw", 100, 8e8) == pytest.approx(1.0 + 1e-6)
