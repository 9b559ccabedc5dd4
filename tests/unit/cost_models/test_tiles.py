"""Tiles and waves, by hand on a toy, and on the shapes with which others measured real devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cost_models.catalogue import catalogue
from cost_models.compute import op_s, peak_flops, waste_of
from cost_models.hardware import DeviceType
from cost_models.tiles import Product, attention_s, product_s

TOY = DeviceType("toy", 2**30, 1e30, {"float32": 1e9, "bfloat16": 1e9}, launch_s=0.0, units=10)
"""Ten multiprocessors of 1e8 FLOP/s, a memory that costs nothing."""
A100 = catalogue()["A100-80GB"]


def test_one_element_takes_a_whole_tile() -> None:
    """Of 8 x 8 at the least, on one multiprocessor: the others can't help where the sum is of one term."""
    assert product_s(Product(1, 1, 1, 1), TOY, 1e9, 4) == pytest.approx(2 * 64 / 1e8)


def test_a_sum_is_cut_where_results_are_few() -> None:
    """Eight parts of the sum go to eight multiprocessors: one wave of an eighth."""
    assert product_s(Product(1, 8, 8, 800), TOY, 1e9, 4) == pytest.approx(2 * 64 * 100 / 1e8)


def test_whole_waves_of_whole_tiles_waste_nothing() -> None:
    assert waste_of(TOY, [Product(1, 1280, 8, 64)], "float32", "matmul") == pytest.approx(1.0)


def test_eleven_matrices_on_ten_multiprocessors_need_two_waves() -> None:
    """Of one tile each whose sum has one term: half of twenty places, and a little more."""
    assert product_s(Product(11, 8, 8, 1), TOY, 1e9, 4) == pytest.approx(2 * product_s(Product(10, 8, 8, 1), TOY, 1e9, 4))


def test_the_cache_bounds_small_tiles() -> None:
    """A tile of 8 x 8 fetches 16 numbers for 128 operations. Larger ones, which fetch less, would leave multiprocessors idle."""
    slow = replace(TOY, cache_bandwidth_bytes_per_s=1e8)
    fetch_s = 10 * (8 + 8) * 4 / 1e8
    assert product_s(Product(10, 8, 8, 1), slow, 1e9, 4) == pytest.approx(fetch_s)


def test_attention_shares_out_heads_and_blocks_of_rows() -> None:
    """65 rows are two blocks; twelve blocks on ten multiprocessors two waves."""
    block_s = 2 * 64 * 16 * 128 / 1e8
    assert attention_s(Product(6, 65, 16, 128), TOY, 1e9) == pytest.approx(2 * block_s)
    assert attention_s(Product(5, 65, 16, 128), TOY, 1e9) == pytest.approx(block_s)


def test_no_waste_where_nothing_is_known() -> None:
    asked = [Product(1, 3, 5, 7)]
    assert waste_of(replace(TOY, units=0), asked, "float32", "matmul") == 1.0
    assert waste_of(catalogue()["cpu-core"], asked, "float32", "matmul") == 1.0
    assert waste_of(TOY, [], "float32", "matmul") == 1.0


@pytest.mark.parametrize("name", ["V100-16GB", "A100-80GB", "H100-80GB", "RTX-3090", "MI300X-192GB"])
def test_a_larger_product_takes_no_less_time_and_none_beats_the_peak(name: str) -> None:
    device, rng = catalogue()[name], np.random.default_rng(0)
    speed = peak_flops(device, "float16")
    for sizes in 2 ** rng.uniform(0, 12, (60, 4)):
        count, rows, columns, depth = map(int, sizes)
        base = product_s(Product(count, rows, columns, depth), device, speed, 2)
        assert base >= Product(count, rows, columns, depth).flops / speed * (1 - 1e-12)
        larger = [(count + 1, rows, columns, depth), (count, 2 * rows, columns, depth), (count, rows, columns + 3, depth)]
        for more in (*larger, (count, rows, columns, depth + 33)):
            assert product_s(Product(*more), device, speed, 2) >= base


# type, rows x columns x depth, TFLOP/s: the best that a search over shapes found (Bekman, Machine Learning Engineering)
FASTEST = [
    ("A100-80GB", (1024, 10240, 5120), 271.2),
    ("A100-80GB-PCIe", (2048, 5120, 6144), 252.9),
    ("H100-80GB", (2048, 2048, 13312), 794.5),
    ("MI300X-192GB", (10240, 15360, 8192), 668.4),
]


@pytest.mark.parametrize(("name", "shape", "tflops"), FASTEST)
def test_the_fastest_shapes(name: str, shape: tuple[int, int, int], tflops: float) -> None:
    """Large ones hardly waste anything; Hopper's tiles share what they fetch, which the model does not know."""
    device, asked = catalogue()[name], Product(1, *shape)
    waste = waste_of(device, [asked], "bfloat16", "matmul")
    seconds = float(op_s(device, asked.flops, 0.0, "bfloat16", "matmul", waste)) - device.launch_s
    assert asked.flops / seconds == pytest.approx(tflops * 1e12, rel=0.08)


def test_a_small_product_leaves_more_of_a_larger_device_idle() -> None:
    """Hopper's multiprocessors are more and each is faster, while its cache has hardly more for each of them than Volta's."""
    volta, hopper = (
        waste_of(catalogue()[name], [Product(1, 512, 768, 768)], "float16", "matmul") for name in ("V100-16GB", "H100-80GB")
    )
    assert 1.0 < volta < hopper
