"""One case, measured: calibration, plan, the settings of the contenders, then launches of the best of each beside ours.

Every part is saved under ``work`` when it is done and taken from there when the command runs again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from autopart import pipeline
from autopart.plans import Plan, Settings
from benchmarks.testbed.launch import Result, opened
from benchmarks.versus.balance import block_seconds
from benchmarks.versus.calibrate import calibrated_cluster
from benchmarks.versus.cases import Case, Setting, settings
from benchmarks.versus.work import Work

WORKER = Path(__file__).parent / "worker.py"
OURS = "autopart"
OURS_KEY = f"{OURS}, its plan"
WARM_UP, TRIED, COUNTED = 2, 3, 8  # steps: before any is timed, of a setting that is tried, of a launch
LIMIT_S = 900.0
Found = dict[str, Any]


class Study:
    """Of one case."""

    def __init__(self, case: Case, work: Path) -> None:
        self.case, self.work = case, work / case.name
        self.work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def cluster(self) -> Path:
        """The calibrated cluster file."""
        model = Path(f"benchmarks/models/{self.case.model}.py")
        return calibrated_cluster(self.case.testbed, model, self.case.batch_size, self.work)

    @cached_property
    def plan(self) -> Plan:
        """By the command's own defaults."""
        return pipeline.plan_files(
            f"benchmarks/models/{self.case.model}.py",
            str(self.cluster),
            batch_size=self.case.batch_size,
            settings=Settings(optimizer="sgd"),
            limits=pipeline.Limits(),
            say=pipeline.silent,
        )

    @cached_property
    def package(self) -> Path:
        folder = self.work / "package"
        if not folder.exists():
            pipeline.compile_files(self.plan, folder)
        return folder

    @cached_property
    def tried(self) -> Mapping[str, tuple[Setting, Found]]:
        """The best setting of every family, and what all of them took."""

        def measure() -> Found:
            work = Work(self.case.model, self.case.batch_size)
            every = list(settings(self.case, block_seconds(work, max(1, self.case.batch_size // 8))))
            times = self._measured(every, TRIED)
            return {"settings": [asdict(each) | {"found": times.get(each.key, {})} for each in every]}

        best: dict[str, tuple[Setting, Found]] = {}
        for row in self._saved("tried.json", measure)["settings"]:
            found = row.pop("found")
            setting = Setting(**row)
            known = best.get(setting.family)
            if "step_s" in found and (known is None or found["step_s"] < known[1]["step_s"]):
                best[setting.family] = setting, found
        return best

    def launch(self, number: int) -> Found:
        """Seconds by family, of one launch in which all run one after the other."""
        ours = Setting(OURS, "its plan", "ours", {"package": str(self.package)})
        chosen = [ours, *(setting for setting, _ in self.tried.values())]
        turned = chosen[number % len(chosen) :] + chosen[: number % len(chosen)]
        return self._saved(f"launch{number}.json", lambda: self._measured(turned, COUNTED))

    def _saved(self, name: str, make: Callable[[], Found]) -> Found:
        path = self.work / name
        if not path.exists():
            path.write_text(json.dumps(make(), indent=1) + "\n")
        found: Found = json.loads(path.read_text())
        return found

    def _measured(self, chosen: Sequence[Setting], steps: int) -> Found:
        """By setting: seconds of a step and the first loss, or why there are none.

        All in one launch; where memory is short, or one of them fails, each in its own.
        """
        together = not any(host.memory_bytes for host in self.case.testbed.hosts)
        found = self._launch(chosen, steps) if together else None
        return found or {key: each for setting in chosen for key, each in (self._launch([setting], steps) or {}).items()}

    def _launch(self, chosen: Sequence[Setting], steps: int) -> Found | None:
        """None where one of several failed."""
        runs = [{"name": each.key, "kind": each.kind, "options": dict(each.options)} for each in chosen]
        job, result = self.work / "job.json", self.work / "result.json"
        head = {"model": self.case.model, "batch": self.case.batch_size, "warm_up": WARM_UP, "steps": steps}
        job.write_text(json.dumps({**head, "runs": runs}))
        with opened(self.case.testbed) as running:
            ended = running.launch([sys.executable, str(WORKER), str(job), str(result)], timeout_s=LIMIT_S, echo=False)
        if not ended.status:
            found: Found = json.loads(result.read_text())
            return found
        return {chosen[0].key: {"error": _reason(ended)}} if len(chosen) == 1 else None


def _reason(ended: Result) -> str:
    """Why a launch failed: out of memory, or the last line of the first rank that did."""
    if any(outcome.oom_killed for outcome in ended.outcomes):
        return "out of memory"
    lines = ended.outcomes[ended.failed].output if ended.failed is not None else ()
    return lines[-1] if lines else f"status {ended.status}"


def record(study: Study, launches: int) -> Found:
    """Everything that was measured of a case."""
    each = [study.launch(number) for number in range(launches)]
    families = {setting.family: setting for setting, _ in study.tried.values()}
    steps = {family: [found[setting.key]["step_s"] for found in each] for family, setting in families.items()}
    own = [found[OURS_KEY]["step_s"] for found in each]
    losses = {family: each[0][setting.key]["loss"] for family, setting in families.items()}
    estimate = study.plan.estimate
    assert estimate is not None, "a plan that was made has an estimate"
    return {
        "case": asdict(study.case),
        "cluster": study.cluster.read_text(),
        "plan": plan_line(study.plan),
        "simulated_s": estimate.step_time_s,
        "steps_s": {OURS: own, **steps},
        "losses": {OURS: each[0][OURS_KEY]["loss"], **losses},
        "settings": {family: setting.name for family, setting in families.items()},
        "ratio_to_best": [min(steps[family][i] for family in steps) / own[i] for i in range(launches)],
        "median_s": {name: median(values) for name, values in {OURS: own, **steps}.items()},
    }


def plan_line(plan: Plan) -> str:
    """What runs where, in a line."""
    stages = [f"{len(stage.blocks)} blocks on ranks {list(stage.ranks)} by {list(stage.shares)}" for stage in plan.stages]
    tensor = "".join(f", stage {stage.index} split over {stage.tensor}" for stage in plan.stages if stage.tensor > 1)
    return f"{plan.schedule.microbatches} microbatches, {plan.schedule.name}: {'; '.join(stages)}{tensor}"
