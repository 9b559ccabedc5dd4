"""What is measured: models at sizes whose steps take some tenths of a second, and who runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MICROBATCHES = 8
OURS = "autopart"


@dataclass(frozen=True, slots=True)
class Case:
    """``part`` is of ``python -m benchmarks.overheads``; with ``stages`` a pipeline of so many ranks, 1F1B."""

    part: str
    model: str
    batch_size: int
    stages: int = 1
    steps: int = 2

    @property
    def name(self) -> str:
        stages = f"-{self.stages}" if self.stages > 1 else ""
        return f"{self.part}-{self.model}-{self.batch_size}{stages}"

    @property
    def microbatches(self) -> int:
        return MICROBATCHES if self.stages > 1 else 1


MODELS = {"gpt2": 8, "bert": 8, "resnet": 16, "dlrm": 512, "unet": 8, "moe": 4}
"""Samples of a step on one process."""

CASES = (
    *(Case("modules", model, batch) for model, batch in MODELS.items()),
    *(Case("compiled", model, batch) for model, batch in MODELS.items()),
    *(Case("pipelines", model, 32, stages) for model in ("gpt2", "unet") for stages in (2, 4)),
    Case("pipelines", "gpt2", 8, 4),  # a sample in every microbatch
    Case("pipelines", "thin", 64, 2, steps=10),  # next to no compute: what is left is the executor
)


def runs(case: Case, package: Path, cuts: Sequence[int]) -> list[dict[str, Any]]:
    """The contenders of a case as a worker's job has them, ours first."""
    ours = {"package": str(package)}
    match case.part:
        case "modules":
            return [_run(OURS, "ours", ours), _run("eager", "single", {})]
        case "compiled":
            return [_run(OURS, "ours compiled", ours), _run("compiled", "compiled", {})]
        case "pipelines":
            cut = {"cuts": list(cuts), "microbatches": case.microbatches}
            grid = {"grid": [list(range(case.stages))], "schedule": "1f1b"}
            return [_run(OURS, "ours", ours), _run("by hand", "handwritten", cut), _run("torch", "pipeline", cut | grid)]
        case _:
            raise AssertionError(f"{case.part} has no runs")


def _run(name: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "options": options}
