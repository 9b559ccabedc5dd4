"""``tensors.json``, and an emitted package without torch."""

from __future__ import annotations

import json

from autopart.blocks.group import group
from autopart.codegen.emit import STAGES_FILE, TENSORS_FILE, emit
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.lower import lower
from tests.graphs import transformer


def test_tied_parameters_are_listed_once_with_all_their_stages() -> None:
    blocks = group(transformer(layers=4))
    names = [block.name for block in blocks.blocks]
    stages = (Stage(0, tuple(names[:3]), (0,), (4,)), Stage(1, tuple(names[3:]), (1, 2), (3, 1), data=2))
    plan = Plan(ModelRef("m.py"), ClusterRef("c.yaml"), 8, Settings(), Schedule("1f1b", 2), stages)
    files = emit(lower(blocks, plan), blocks, plan)
    table = {row["name"]: row for row in json.loads(files[TENSORS_FILE])["parameters"]}
    assert table["wte.weight"]["stages"] == [0, 1]
    assert table["ln_f.weight"] == {"name": "ln_f.weight", "shape": [64], "dtype": "float32", "stages": [1], "trainable": True}
    assert emit(lower(blocks, plan), blocks, plan) == files
    assert compile(files[STAGES_FILE], STAGES_FILE, "exec")
