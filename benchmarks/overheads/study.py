"""One case, measured launch by launch; every part is saved when it is done and taken from there when the command runs again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autopart.errors import RunError
from autopart.runtime.launch import launch
from benchmarks.overheads import plans
from benchmarks.overheads.cases import Case, runs
from benchmarks.versus.balance import even
from benchmarks.versus.work import Work

WORKER = Path(__file__).parent / "worker.py"
WARM_UP, ROUNDS = 2, 7  # steps before any is timed, turns of every contender in a launch
LIMIT_S = 1800.0
Found = dict[str, Any]


def saved(path: Path, make: Callable[[], Found]) -> Found:
    """What the file holds, made where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make(), indent=1) + "\n")
    found: Found = json.loads(path.read_text())
    return found


def record(case: Case, work: Path, launches: int) -> Found:
    """Everything that was measured of a case: of every launch, each contender's seconds of a step by round."""
    cuts = even(len(Work(case.model, case.batch_size).model().blocks), case.stages)
    package = packaged(case, cuts, work)

    def measure(number: int) -> Found:
        chosen = runs(case, package, cuts)
        turn = number % len(chosen)
        job, result = work / "job.json", work / "result.json"
        head = {"model": case.model, "batch": case.batch_size, "warm_up": WARM_UP, "rounds": ROUNDS, "steps": case.steps}
        job.write_text(json.dumps(head | {"runs": chosen[turn:] + chosen[:turn]}))
        try:
            launch(WORKER, case.stages, [str(job), str(result)], quiet=True, timeout_s=LIMIT_S)
        except RunError as error:
            return {"error": str(error)}
        found: Found = json.loads(result.read_text())
        return found

    each = [saved(work / f"{case.name}-{number}.json", lambda n=number: measure(n)) for number in range(launches)]  # type: ignore[misc]
    return {
        "part": case.part,
        "model": case.model,
        "batch_size": case.batch_size,
        "stages": case.stages,
        "microbatches": case.microbatches,
        "launches": each,
    }


def packaged(case: Case, cuts: list[int], work: Path) -> Path:
    """The case's package, of its model at its size and cuts."""
    folder = work / f"{case.model}-{case.batch_size}-{case.stages}"
    if not (folder / "weights.pt").exists():
        work.mkdir(parents=True, exist_ok=True)
        plans.package(case.model, case.batch_size, cuts, case.microbatches, folder)
    return folder
