"""What is measured: models, and for each of them plans of every kind on hosts.yaml, and some over the line of line.yaml.

Ranks of hosts.yaml: 0 is fast, 1 of middle speed, 2 and 3 slow and on one host; of line.yaml: 0 and 1 are of middle speed on one
host, 2 and 3 slow on the other. Prices are calibrated with numbers of samples that no plan has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where plans run: how the testbed is shaped, and what the nominal cluster file says of it."""

    name: str
    shaped: Path
    said: Path


MIXED = Hosts("mixed", HERE / "hosts.yaml", HERE / "hosts.yaml")
LINE = Hosts("line", HERE / "line.yaml", HERE / "line-said.yaml")


@dataclass(frozen=True, slots=True)
class Model:
    """A model file; the samples of a step, and those of the microbatches that calibrate it."""

    name: str
    batch_size: int
    calibration: tuple[int, ...]

    @property
    def path(self) -> Path:
        return HERE / "models" / f"{self.name}.py"


@dataclass(frozen=True, slots=True)
class Part:
    """A stage: ``until`` is the fraction of the model's work at which it ends; the rest as in a plan."""

    until: float
    ranks: tuple[int, ...]
    shares: tuple[int, ...]
    tensor: int = 1
    zero: int = 0
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A plan of a model."""

    model: str
    name: str
    parts: tuple[Part, ...]
    microbatches: int = 1
    schedule: str = "1f1b"
    hosts: Hosts = MIXED

    @property
    def key(self) -> str:
        return f"{self.model} {self.name}"


def data(model: str, name: str, ranks: Sequence[int], shares: Sequence[int], zero: int = 0, microbatches: int = 1) -> Case:
    return Case(model, name, (Part(1.0, tuple(ranks), tuple(shares), zero=zero),), microbatches)


def pipe(model: str, name: str, rows: int, ends: Sequence[tuple[float, int]], microbatches: int, **how: object) -> Case:
    """Stages of one rank each, ``rows`` samples a microbatch."""
    recompute, schedule = bool(how.get("recompute", False)), str(how.get("schedule", "1f1b"))
    parts = tuple(Part(until, (rank,), (rows,), recompute=recompute) for until, rank in ends)
    return Case(model, name, parts, microbatches, schedule)


def over(model: str, name: str, parts: Sequence[Part], microbatches: int = 1) -> Case:
    """On both sides of the line."""
    return Case(model, name, tuple(parts), microbatches, hosts=LINE)


MODELS = {
    model.name: model
    for model in (
        Model("gpt", 16, (3, 8, 12)),
        Model("bert", 16, (3, 8, 12)),
        Model("resnet", 48, (5, 10, 22)),
        Model("dlrm", 1024, (100, 350, 700)),
    )
}

CASES = (
    data("gpt", "data even", (0, 1, 2, 3), (4, 4, 4, 4)),
    data("gpt", "data uneven", (0, 1, 2, 3), (7, 5, 2, 2)),
    data("gpt", "ZeRO 2", (0, 1), (10, 6), zero=2),
    pipe("gpt", "pipeline even", 4, ((0.5, 0), (1.0, 1)), 4),
    pipe("gpt", "pipeline uneven", 2, ((0.15, 2), (0.65, 0), (1.0, 1)), 8),
    pipe("gpt", "recompute", 4, ((0.6, 0), (1.0, 1)), 4, recompute=True),
    Case("gpt", "tensor", (Part(1.0, (0, 1), (16,), tensor=2),)),
    data("bert", "data uneven", (0, 1, 2, 3), (7, 5, 2, 2)),
    data("bert", "ZeRO 3", (0, 1), (10, 6), zero=3),
    pipe("bert", "pipeline even", 4, ((0.5, 0), (1.0, 1)), 4, schedule="gpipe"),
    pipe("bert", "pipeline uneven", 2, ((0.5, 0), (0.85, 1), (1.0, 3)), 8),
    Case("bert", "data then one", (Part(0.35, (2, 3), (2, 2)), Part(1.0, (0,), (4,))), 4),
    Case("bert", "tensor then one", (Part(0.3, (2, 3), (4,), tensor=2), Part(1.0, (0,), (4,))), 4),
    data("resnet", "data even", (0, 1), (24, 24)),
    data("resnet", "data uneven", (0, 1, 2, 3), (20, 14, 7, 7)),
    pipe("resnet", "pipeline uneven", 12, ((0.6, 0), (1.0, 1)), 4),
    Case("resnet", "one then data", (Part(0.5, (0,), (12,)), Part(1.0, (1, 2), (8, 4))), 4),
    data("dlrm", "data uneven", (0, 1), (612, 412)),
    data("dlrm", "ZeRO 1", (0, 1, 2, 3), (440, 290, 147, 147), zero=1),
    pipe("dlrm", "pipeline", 256, ((0.45, 1), (1.0, 0)), 4),
    # Replicas that send at the same time, one that sends to two, stages that take turns on the hosts and so use both directions;
    # sums over all ranks; columns that send each other partial sums.
    over("gpt", "line, two pipelines", (Part(0.65, (0, 1), (2, 2)), Part(1.0, (2, 3), (2, 2))), 4),
    over("bert", "line, two pipelines", (Part(0.65, (0, 1), (4, 4)), Part(1.0, (2, 3), (4, 4))), 2),
    over("resnet", "line, one then data", (Part(0.6, (0,), (12,)), Part(1.0, (2, 3), (6, 6))), 4),
    over("gpt", "line, stages in turns", tuple(Part(u, (r,), (2,)) for u, r in ((0.3, 0), (0.45, 2), (0.8, 1), (1.0, 3))), 8),
    over("resnet", "line, data", (Part(1.0, (0, 1, 2, 3), (16, 16, 8, 8)),)),
    over("bert", "line, tensor between", (Part(0.3, (1,), (2,)), Part(0.6, (0, 2), (2,), tensor=2), Part(1.0, (3,), (2,))), 8),
)
