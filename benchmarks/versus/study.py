"""One case, measured: calibration, plan, the settings of the contenders, then launches of the best of each beside ours.

Every part is saved under ``work`` when it is done and taken from there when the command runs again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from autopart import pipeline
from autopart.plans import Plan, Settings
from benchmarks.testbed.launch import Result, opened
from benchmarks.versus.balance import block_seconds
from benchmarks.versus.calibrate import calibrated_cluster
from benchmarks.versus.cases import Case, Setting, settings
from benchmarks.versus.report import NAIVE, OURS
from benchmarks.versus.work import Work

WORKER = Path(__file__).parent / "worker.py"
TRIED, COUNTED = (1, 2), (2, 5)  # steps before any is timed, and those that are: of a setting that is tried, of a launch
PATIENCE = 1.5  # a setting or a contender that takes so many times the best one's step when it is tried is left at that
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
        return calibrated_cluster(self.case.testbed, Path(self.model), self.case.batch_size, self.work)

    @property
    def model(self) -> str:
        return f"benchmarks/models/{self.case.model}.py"

    @property
    def ours(self) -> Setting:
        return Setting(OURS, "its plan", "ours", {"package": str(self.package.absolute())})

    @cached_property
    def plan(self) -> Plan:
        """By the command's own defaults."""
        return pipeline.plan_files(
            self.model,
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
            self.executed()
        return folder

    def executed(self) -> Found:
        """What the package runs and was to take: prices may be others when the study goes on."""

        def found() -> Found:
            assert self.plan.estimate is not None, "a plan that was made has an estimate"
            return {"plan": plan_line(self.plan), "simulated_s": self.plan.estimate.step_time_s}

        return self.saved("executed.json", found)

    @cached_property
    def every(self) -> list[tuple[Setting, Found]]:
        """All settings, and what came out when they were tried."""

        def measure() -> Found:
            work = Work(self.case.model, self.case.batch_size)
            every = list(settings(self.case, block_seconds(work, max(1, self.case.batch_size // 8))))
            times = self.measured(every, TRIED, PATIENCE)
            return {"settings": [asdict(each) | {"found": times.get(each.key, {})} for each in every]}

        rows = self.saved("tried.json", measure)["settings"]
        return [(Setting(**{key: row[key] for key in row if key != "found"}), row["found"]) for row in rows]

    @property
    def tried(self) -> Mapping[str, tuple[Setting, Found]]:
        """The best setting of every family of which one ran."""
        best: dict[str, tuple[Setting, Found]] = {}
        for setting, found in self.every:
            known = best.get(setting.family)
            if "step_s" in found and (known is None or found["step_s"] < known[1]["step_s"]):
                best[setting.family] = setting, found
        return best

    @cached_property
    def launched(self) -> list[Setting]:
        """Of every family that can win its best setting, and the two that everybody starts from."""
        least_s = min(found["step_s"] for _, found in self.tried.values())
        return [s for family, (s, found) in self.tried.items() if family in NAIVE or found["step_s"] <= PATIENCE * least_s]

    def launch(self, number: int) -> Found:
        """Seconds by family, of one launch in which all run one after the other."""
        chosen = [self.ours, *self.launched]
        turned = chosen[number % len(chosen) :] + chosen[: number % len(chosen)]
        return self.saved(f"launch{number}.json", lambda: self.measured(turned, COUNTED))

    def saved(self, name: str, make: Callable[[], Found]) -> Found:
        """What this file of the study says; made where there is none yet."""
        path = self.work / name
        if not path.exists():
            path.write_text(json.dumps(make(), indent=1) + "\n")
        found: Found = json.loads(path.read_text())
        return found

    def measured(self, chosen: Sequence[Setting], steps: tuple[int, int], patience: float = math.inf) -> Found:
        """By setting: seconds of a step and the first loss, or why there are none.

        All in one launch, which goes on after one that failed; where memory is short, each in its own.
        """
        limited = any(host.memory_bytes for host in self.case.testbed.hosts)
        found: Found = {}
        while rest := [setting for setting in chosen if setting.key not in found]:
            done, reason = self._launch(rest[:1] if limited else rest, steps, patience)
            found |= done
            if reason:
                failed = next(setting for setting in rest if setting.key not in found)
                found[failed.key] = {"error": reason}
        return found

    def _launch(self, chosen: Sequence[Setting], steps: tuple[int, int], patience: float) -> tuple[Found, str]:
        """Of those that ran, and why the next one did not."""
        runs = [{"name": each.key, "kind": each.kind, "options": dict(each.options)} for each in chosen]
        job, result = self.work / "job.json", self.work / "result.json"
        head = {
            "model": self.case.model,
            "batch": self.case.batch_size,
            "warm_up": steps[0],
            "steps": steps[1],
            "patience": patience,
        }
        job.write_text(json.dumps({**head, "runs": runs}))
        result.write_text("{}")
        with opened(self.case.testbed) as running:
            ended = running.launch([sys.executable, str(WORKER), str(job), str(result)], timeout_s=LIMIT_S, echo=False)
        return json.loads(result.read_text()), _reason(ended) if ended.status else ""


def _reason(ended: Result) -> str:
    """Why a launch failed: out of memory, or the last line of the first rank that did."""
    if any(outcome.oom_killed for outcome in ended.outcomes):
        return "out of memory"
    lines = ended.outcomes[ended.failed].output if ended.failed is not None else ()
    return lines[-1] if lines else f"status {ended.status}"


def record(study: Study, launches: int) -> Found:
    """Everything that was measured of a case."""
    each = [study.launch(number) for number in range(launches)]
    families = {setting.family: setting for setting in study.launched}
    measured = {family: [found[setting.key] for found in each] for family, setting in families.items()}
    own = [found[study.ours.key] for found in each]
    return {
        "case": asdict(study.case),
        "cluster": study.cluster.read_text().replace(f"{study.work.absolute()}/", ""),
        **study.executed(),
        "steps_s": {name: [found.get("step_s") for found in runs] for name, runs in {OURS: own, **measured}.items()},
        "losses": {name: runs[0].get("loss") for name, runs in {OURS: own, **measured}.items()},
        "settings": {family: setting.name for family, setting in families.items()},
        "tried": {setting.key: found for setting, found in study.every},
    }


def plan_line(plan: Plan) -> str:
    """What runs where, in a line."""
    stages = [f"{len(stage.blocks)} blocks on ranks {list(stage.ranks)} by {list(stage.shares)}" for stage in plan.stages]
    tensor = "".join(f", stage {stage.index} split over {stage.tensor}" for stage in plan.stages if stage.tensor > 1)
    return f"{plan.schedule.microbatches} microbatches, {plan.schedule.name}: {'; '.join(stages)}{tensor}"
