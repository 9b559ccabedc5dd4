"""Simulated steps of plans beside measured ones, on the testbed: `python -m benchmarks.accuracy`, as root, about ten minutes.

Every part of it is saved under --work when it is done, and taken from there when the command runs again; --fresh starts anew.
With --without INGREDIENT the same plans are priced without it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autopart.pipeline import Front
from benchmarks.accuracy.calibration import INGREDIENTS, calibrated
from benchmarks.accuracy.cases import CASES, HOSTS, MODELS, Case
from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.plans import front_of, plan_of, simulated, write
from benchmarks.accuracy.scores import Pair, kendall, mean_error, worst
from benchmarks.testbed.launch import missing, opened
from benchmarks.testbed.spec import Testbed, cluster_text, load_testbed

HERE = Path(__file__).parent
WORKER, PROFILE, PROFILE_MODELS = HERE / "worker.py", HERE / "profile_links.py", HERE / "profile_models.py"
RAW, PICTURE = Path("docs/design/accuracy.json"), Path("docs/images/accuracy.svg")
LIMIT_S = 600.0
PLANS_A_LAUNCH = 5  # saved together


class Study:
    """The measurement's parts, each read from its file or made, in this order."""

    def __init__(self, work: Path, cases: Sequence[Case], rounds: int, steps: int) -> None:
        self.work, self.cases, self.rounds, self.steps = work, cases, rounds, steps
        self.models = {case.model: MODELS[case.model] for case in cases}
        self.testbed: Testbed = load_testbed(HOSTS)
        work.mkdir(parents=True, exist_ok=True)
        self.nominal = work / "nominal.yaml"
        self.nominal.write_text(cluster_text(self.testbed))

    @cached_property
    def fronts(self) -> Mapping[str, Front]:
        return {name: front_of(model) for name, model in self.models.items()}

    @cached_property
    def links(self) -> Path:
        """The cluster file with measured links."""
        path = self.work / "links.yaml"
        if not path.exists():
            self._launch([str(PROFILE), str(self.nominal), str(path)])
        return path

    @cached_property
    def costs(self) -> Path:
        """The folder of costs files, "model-rank.json"."""
        folder = self.work / "costs"
        if not folder.exists():
            made = self.work / "costs-being-made"
            made.mkdir(exist_ok=True)
            words = [w for model in self.models.values() for w in (str(model.path), ",".join(map(str, model.calibration)))]
            self._launch([str(PROFILE_MODELS), str(made), str(self.nominal), "block", *words])
            made.rename(folder)
        return folder

    def cluster(self, model: str, without: Sequence[str] = ()) -> Path:
        """The calibrated cluster file of a model; a type's costs are those of its first rank."""
        firsts = {index: rank for rank, (index, local) in enumerate(self.testbed.ranks) if not local}
        costs = {f"{self.testbed.hosts[index].name}-cpu": self.costs / f"{model}-{rank}.json" for index, rank in firsts.items()}
        path = self.work / f"{'-'.join([model, *without])}.yaml"
        path.write_text(calibrated(self.nominal, self.links, costs, without))
        return path

    def measured(self) -> Mapping[str, Sequence[float]]:
        """Seconds of steps by case; a few plans in every launch."""
        todo = [case for case in self.cases if not self._times(case).exists()]
        for start in range(0, len(todo), PLANS_A_LAUNCH):
            batch = todo[start : start + PLANS_A_LAUNCH]
            folders = {case: self.work / "packages" / _plain(case.key) for case in batch}
            clusters = {name: self.cluster(name) for name in {case.model for case in batch}}
            for case, folder in folders.items():
                print(f"compiling {case.key}", file=sys.stderr, flush=True)
                front = self.fronts[case.model]
                write(plan_of(case, MODELS[case.model], front, clusters[case.model]), front, folder)
            out = self.work / "steps.json"
            self._launch([str(WORKER), str(out), str(self.rounds), str(self.steps), *map(str, folders.values())])
            times = json.loads(out.read_text())
            for case, folder in folders.items():
                self._times(case).write_text(json.dumps(times[str(folder)]))
                shutil.rmtree(folder)
        return {case.key: json.loads(self._times(case).read_text()) for case in self.cases}

    def predicted(self, without: Sequence[str] = ()) -> Mapping[str, float]:
        """Simulated seconds of a step by case."""
        clusters = {name: self.cluster(name, without) for name in self.models}
        found = {}
        for case in self.cases:
            front = self.fronts[case.model]
            found[case.key] = simulated(plan_of(case, MODELS[case.model], front, clusters[case.model]), front).step_s
        return found

    def _times(self, case: Case) -> Path:
        return self.work / f"{_plain(case.key)}.json"

    def _launch(self, arguments: Sequence[str]) -> None:
        with opened(self.testbed) as running:
            result = running.launch([sys.executable, *arguments], timeout_s=LIMIT_S)
        print(f"the machine was idle for {result.idle:.0%}", file=sys.stderr, flush=True)
        if result.status:
            raise SystemExit(f"a rank failed: {' '.join(arguments)}")


def _plain(key: str) -> str:
    return re.sub(r"\W+", "-", key)


def pairs_of(measured: Mapping[str, Sequence[float]], predicted: Mapping[str, float]) -> list[Pair]:
    return [Pair(key, statistics.median(times), predicted[key]) for key, times in measured.items()]


def show(pairs: Sequence[Pair]) -> str:
    """A line a plan, and the scores."""
    width = max(len(pair.key) for pair in pairs)
    lines = [f"{'plan':{width}}  measured  simulated  error"]
    lines += [f"{p.key:{width}}  {p.measured_s * 1e3:5.0f} ms   {p.predicted_s * 1e3:5.0f} ms   {p.error:+5.0%}" for p in pairs]
    return "\n".join([*lines, "", summary(pairs)])


def summary(pairs: Sequence[Pair]) -> str:
    far = worst(pairs)
    tau = f"Kendall's tau {kendall(pairs):.2f}"
    return f"{len(pairs)} plans: mean absolute error {mean_error(pairs):.1%}, at most {far.error:+.0%} ({far.key}), {tau}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="REGEX", help="plans whose name has this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a plan in every round")
    parser.add_argument("--work", type=Path, default=Path("out/accuracy"), help="where parts are saved")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--without", action="append", default=[], choices=list(INGREDIENTS), help="price without an ingredient")
    parser.add_argument("--ablation", action="store_true", help="price without each ingredient in turn")
    parser.add_argument("--write", action="store_true", help=f"write {RAW} and {PICTURE}")
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    if arguments.fresh:
        shutil.rmtree(arguments.work, ignore_errors=True)
    cases = [case for case in CASES if re.search(arguments.only, case.key)]
    study = Study(arguments.work, cases, arguments.rounds, arguments.steps)
    measured = study.measured()
    pairs = pairs_of(measured, study.predicted(arguments.without))
    print(show(pairs))
    ablations = {}
    for name, what in INGREDIENTS.items() if arguments.ablation or arguments.write else ():
        ablations[name] = pairs_of(measured, study.predicted([name]))
        print(f"without {name} ({what}): {summary(ablations[name])}", flush=True)
    if arguments.write:
        RAW.write_text(json.dumps(record(study, measured, pairs, ablations), indent=1) + "\n")
        PICTURE.write_text(draw(pairs))
    return 0


def record(
    study: Study, measured: Mapping[str, Sequence[float]], pairs: Sequence[Pair], ablations: Mapping[str, Sequence[Pair]]
) -> dict[str, Any]:
    """Everything that was measured and predicted."""
    return {
        "hosts": HOSTS.read_text(),
        "links": study.links.read_text(),
        "plans": [
            {"plan": pair.key, "measured_s": measured[pair.key], "simulated_s": pair.predicted_s, "error": pair.error}
            for pair in pairs
        ],
        "mean_error": mean_error(pairs),
        "worst_error": worst(pairs).error,
        "kendall": kendall(pairs),
        "without": {
            name: {"mean_error": mean_error(each), "worst_error": worst(each).error, "kendall": kendall(each)}
            for name, each in ablations.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
