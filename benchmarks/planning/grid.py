"""How fast the planner proves what it finds: a grid of models by clusters, each cell a process of its own.

    python -m benchmarks.planning.grid -o docs/design/planner-grid.json        all of it; --only PATTERN for some cells

``seconds`` are from the problem's numbers to the solution. Making the problem is apart: it is another model's prices each time.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autopart.planner.ilp import solve
from autopart.planner.problem import Problem
from autopart.plans import divisors
from benchmarks.planning.instances import Hardware, Layer, Ways, make_problem, transformer

H100 = Hardware(0, 400e12, 74e9, 50e9, 450e9)
A100 = Hardware(0, 140e12, 74e9, 25e9, 300e9)
V100 = Hardware(0, 60e12, 29.5e9, 6e9, 150e9)
T4 = Hardware(0, 25e12, 14.7e9, 3e9, 12e9)
TYPES = {1: (A100,), 2: (H100, A100), 4: (H100, A100, V100, T4)}
MODELS = {  # layers: width, tokens, vocabulary
    12: (768, 1024, 50257),
    32: (4096, 4096, 32000),
    96: (12288, 2048, 50257),
    126: (16384, 4096, 128256),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """``target_s``: what it is promised to take at this gap; None: no promise."""

    layers: int
    devices: int
    types: int
    gap: float
    target_s: float | None
    mixed: bool = False
    unlike: float = 0.0
    batch: int | None = None  # samples; None: as many as suit model and cluster

    @property
    def name(self) -> str:
        kind = " unlike" * bool(self.unlike) + " mixed" * self.mixed
        return f"{self.layers}x{self.devices}x{self.types}{kind} {self.gap:.1%}"

    @property
    def batch_size(self) -> int:
        return self.batch or {12: 256, 32: 512}.get(self.layers, 2048 if self.devices >= 4096 else 1024)

    def problem(self) -> Problem:
        groups = tuple(replace(each, devices=self.devices // self.types) for each in TYPES[self.types])
        return make_problem(self._model(), groups, self.batch_size, divisors(self.batch_size), ways=Ways(mixed=self.mixed))

    def _model(self) -> tuple[Layer, ...]:
        return transformer(self.layers, *MODELS[self.layers], unlike=self.unlike)


def cells() -> Iterator[Cell]:
    for devices, types in ((8, 2), (32, 1), (32, 2), (32, 4)):
        yield Cell(12, devices, types, 0.001, 0.5, mixed=devices == 8)
    for layers, devices, types in ((32, d, t) for d in (32, 256, 1024, 4096) for t in (1, 2, 4)):
        yield Cell(layers, devices, types, 0.001, 10.0)
    for layers, devices, types in ((n, d, t) for n in (96, 126) for d in (8, 32) for t in (1, 2, 4)):
        yield Cell(layers, devices, types, 0.001, 2.0)  # too little memory, or next to
    for layers, devices, types in ((n, d, t) for n in (96, 126) for d in (256, 1024, 4096) for t in (1, 2, 4)):
        yield Cell(layers, devices, types, 0.01, 5.0)
        yield Cell(layers, devices, types, 0.001, 10.0)
        if types > 1:
            yield Cell(layers, devices, types, 0.001, 20.0, mixed=True)
    for mixed in (False, True):
        yield Cell(96, 256, 2, 0.01, 60.0, mixed=mixed, unlike=0.3)


def measure(cell: Cell) -> dict[str, object]:
    """One cell, in this process."""
    started = time.process_time()
    problem = cell.problem()
    made_s = time.process_time() - started
    wall, cpu = time.perf_counter(), time.process_time()
    solution = solve(problem, gap=cell.gap, time_limit_s=120.0)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    best = solution.candidates[0] if solution.candidates else None
    return {
        "cell": cell.name,
        "blocks": problem.blocks,
        "settings": len(problem.settings),
        "options": sum(len(setting.options) for setting in problem.settings),
        "build_cpu_s": round(made_s, 2),
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "target_s": cell.target_s,
        "proof": solution.proof,
        "gap": solution.gap if best else None,
        "step_s": best and best.step_s,
        "stages": best and len(best.choices),
        "microbatches": best and problem.settings[best.setting].microbatches,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def line(row: dict[str, object]) -> str:
    gap = "-" if row["gap"] is None else f"{row['gap']:.3%}"
    plan = "-" if row["step_s"] is None else f"{row['step_s']:.4f} s S={row['stages']} M={row['microbatches']}"
    late = " LATE" if row["wall_s"] > row["target_s"] else ""  # type: ignore[operator]
    return (
        f"{row['cell']:28} {row['wall_s']:6.2f} {row['cpu_s']:6.2f} (build {row['build_cpu_s']:5.2f}) {row['proof']:10} {gap:>8} "
        f"{plan:26} {row['options']:6} options {row['peak_rss_mb']:5} MB{late}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="cells whose names match")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--here", action="store_true", help="in this process: what a profiler wants")
    arguments = parser.parse_args()
    rows = []
    for cell in cells():
        if not re.search(arguments.only, cell.name):
            continue
        if arguments.here:
            row = measure(cell)
        else:
            only = ["-m", "benchmarks.planning.grid", "--here", "--only", f"^{re.escape(cell.name)}$", "-o", "/dev/stdout"]
            row = json.loads(subprocess.run([sys.executable, *only], check=True, stdout=subprocess.PIPE, text=True).stdout)[0]
        rows.append(row)
        if not arguments.here or arguments.output is None:
            print(line(row), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
