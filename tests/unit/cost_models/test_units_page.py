"""The page of the cost model says what `units` change, and the model does it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autopart.cluster.load import load_cluster
from cost_models.compute import waste_of
from cost_models.hardware import DeviceType
from cost_models.tiles import Product

PAGE = (Path(__file__).parents[3] / "docs/reference/cost-model.md").read_text(encoding="utf-8")
SECTION = PAGE.split("### Your own device, with and without `units`")[1].split("\n## ")[0]
TYPES = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[0]
ROWS = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \| (\S+) \|$", SECTION, re.MULTILINE)
UNITS = "    units: 96\n"
COLUMNS = ["", UNITS, f"{UNITS}    cache_bandwidth: 5 TB/s\n"]


def device(filling: str, folder: Path) -> DeviceType:
    """The page's type with these lines in place of its units."""
    assert TYPES.count(UNITS) == 1
    file = folder / "c.yaml"
    file.write_text("nodes:\n  - name: n\n    devices: {type: MY-GPU-48GB, count: 1}\n" + TYPES.replace(UNITS, filling))
    return load_cluster(file).groups[0].device


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_the_table_is_what_the_model_says(column: int, tmp_path: Path) -> None:
    described = device(COLUMNS[column], tmp_path)
    said = {int(rows): float(wastes[column]) for rows, *wastes in ROWS}
    assert len(said) == 4
    for rows, waste in said.items():
        asked = [Product(1, rows, 1000, 1000)]
        assert waste_of(described, asked, "bfloat16", "matmul") == pytest.approx(waste, abs=0.005)
