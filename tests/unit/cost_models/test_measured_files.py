"""The costs files that come with the sources: what the pages say of them is what they say."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

import cost_models
from autopart.cluster.costs import load_costs
from cost_models.accuracy import block_errors, class_errors
from cost_models.measured import Measurements

FILES = sorted((Path(cost_models.__file__).parent / "devices" / "measured").glob("*.json"))
PAGE = (Path(__file__).parents[3] / "docs/reference/costs.md").read_text(encoding="utf-8")


def of_blocks(measured: Measurements) -> list[float]:
    """By the datasheet, the fit, and the fit without the block; blocks weighted by their time."""
    errors = {error.name: error for error in block_errors(measured)}
    weights = {b.name: sum(s.forward_s + s.backward_s for s in b.samples) for b in measured.blocks.values() if b.name in errors}
    whole = sum(weights.values())
    kinds = ("analytic", "fitted", "unseen")
    return [sum(getattr(errors[name], kind) * weight for name, weight in weights.items()) / whole for kind in kinds]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_says_what_the_page_says(path: Path) -> None:
    assert path.stat().st_size < 200_000
    measured = load_costs(path)
    cells = " | ".join(f"{error:.0%}" for error in of_blocks(measured))
    assert f"`{path.name}` | {measured.origin.when[:10]} | {cells} |" in PAGE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_datasheet_prices_dropout_within_its_half(path: Path) -> None:
    """By its bytes alone it was four to five times too cheap."""
    (random,) = (error for error in class_errors(load_costs(path)) if error.name == "random float32")
    assert random.analytic < 0.5


def test_there_are_files() -> None:
    assert FILES
    assert fmean(len(load_costs(path).blocks) for path in FILES) > 1
