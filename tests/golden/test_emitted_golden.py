"""What emitted modules read like: every change of taste shows in review."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.codegen.emit import Notes, emit
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.lower import lower
from tests.fronts import front
from tests.graphs import transformer

Golden = Callable[[str, str], None]


def plan_of(blocks: Blocks, cut: int, microbatches: int, *, recompute: bool, precision: str = "float32") -> Plan:
    """Blocks up to ``cut`` on two unlike ranks, the rest on a third; rank 3 is idle."""
    names = tuple(block.name for block in blocks.blocks)
    stages = (Stage(0, names[:cut], (0, 1), (3, 1), data=2), Stage(1, names[cut:], (2,), (4,), recompute=recompute))
    schedule = Schedule("1f1b", microbatches)
    settings = Settings(precision=precision)
    return Plan(ModelRef("model.py"), ClusterRef("office.yaml"), 4 * microbatches, settings, schedule, stages, (3,))


def emitted(blocks: Blocks, plan: Plan) -> str:
    devices = {0: "RTX-3090", 1: "T4-16GB", 2: "A100-80GB"}
    return emit(lower(blocks, plan), blocks, plan, notes=Notes(devices, {}))["stages.py"]


def test_a_transformer_in_two_stages(golden: Golden) -> None:
    blocks = group(transformer(layers=6))
    golden("transformer_stages.py.txt", emitted(blocks, plan_of(blocks, 5, 8, recompute=True)))


@pytest.mark.parametrize("name", ["resnet", "unet"])
def test_a_traced_model(golden: Golden, name: str) -> None:
    blocks = front(name).blocks
    golden(
        f"{name}_stages.py.txt",
        emitted(blocks, plan_of(blocks, len(blocks.blocks) // 2, 1, recompute=False, precision="float64")),
    )
