"""Simulated steps of plans beside measured ones, on the testbed: `python -m benchmarks.accuracy`, as root, about twenty minutes.

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
from benchmarks.accuracy.cases import CASES, LINE, MIXED, MODELS, Case, Hosts
from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.plans import front_of, plan_of, simulated, write
from benchmarks.accuracy.scores import Pair, kendall, mean_error, worst
from benchmarks.accuracy.yardstick import YARDSTICK, Measured
from benchmarks.testbed.launch import missing, opened
from benchmarks.testbed.spec import cluster_text, load_testbed

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
        work.mkdir(parents=True, exist_ok=True)
        for hosts in (MIXED, LINE):
            self.nominal(hosts).write_text(cluster_text(load_testbed(hosts.said)))

    @cached_property
    def fronts(self) -> Mapping[str, Front]:
        return {name: front_of(model) for name, model in self.models.items()}

    def nominal(self, hosts: Hosts) -> Path:
        """The cluster file of what is said of the hosts."""
        return self.work / f"{hosts.name}.yaml"

    def links(self, hosts: Hosts) -> Path:
        """The cluster file with measured links."""
        path = self.work / f"{hosts.name}-links.yaml"
        if not path.exists():
            self._launch(hosts, [str(PROFILE), str(self.nominal(hosts)), str(path)])
        return path

    @cached_property
    def costs(self) -> Path:
        """The folder of costs files, "model-rank.json", of the mixed hosts: the line is between devices of the same types."""
        folder = self.work / "costs"
        if not folder.exists():
            made = self.work / "costs-being-made"
            made.mkdir(exist_ok=True)
            words = [w for model in self.models.values() for w in (str(model.path), ",".join(map(str, model.calibration)))]
            self._launch(MIXED, [str(PROFILE_MODELS), str(made), str(self.nominal(MIXED)), "block", *words])
            made.rename(folder)
        return folder

    def cluster(self, model: str, hosts: Hosts, without: Sequence[str] = ()) -> Path:
        """The calibrated cluster file of a model; a type's costs are those of its first rank."""
        mixed = load_testbed(MIXED.shaped)
        firsts = {index: rank for rank, (index, local) in enumerate(mixed.ranks) if not local}
        costs = {f"{mixed.hosts[index].name}-cpu": self.costs / f"{model}-{rank}.json" for index, rank in firsts.items()}
        path = self.work / f"{'-'.join([hosts.name, model, *without])}.yaml"
        path.write_text(calibrated(self.nominal(hosts), self.links(hosts), costs, without))
        return path

    def yardstick_s(self, model: str) -> float:
        """While the model was calibrated, over all ranks."""
        return statistics.mean(json.loads(path.read_text()) for path in sorted(self.costs.glob(f"{model}-*{YARDSTICK}")))

    def measured(self) -> Mapping[str, Measured]:
        """Steps by case; a few plans in every launch."""
        for hosts in (MIXED, LINE):
            todo = [case for case in self.cases if case.hosts == hosts and not self._times(case).exists()]
            for start in range(0, len(todo), PLANS_A_LAUNCH):
                self._measure(hosts, todo[start : start + PLANS_A_LAUNCH])
        return {case.key: Measured(**json.loads(self._times(case).read_text())) for case in self.cases}

    def _measure(self, hosts: Hosts, batch: Sequence[Case]) -> None:
        folders = {case: self.work / "packages" / _plain(case.key) for case in batch}
        for case, folder in folders.items():
            print(f"compiling {case.key}", file=sys.stderr, flush=True)
            front = self.fronts[case.model]
            write(plan_of(case, MODELS[case.model], front, self.cluster(case.model, hosts)), front, folder)
        out = self.work / "steps.json"
        self._launch(hosts, [str(WORKER), str(out), str(self.rounds), str(self.steps), *map(str, folders.values())])
        times = json.loads(out.read_text())
        for case, folder in folders.items():
            self._times(case).write_text(json.dumps(times[str(folder)]))
            shutil.rmtree(folder)

    def predicted(self, without: Sequence[str] = ()) -> Mapping[str, float]:
        """Simulated seconds of a step by case."""
        found = {}
        for case in self.cases:
            front, cluster = self.fronts[case.model], self.cluster(case.model, case.hosts, without)
            found[case.key] = simulated(plan_of(case, MODELS[case.model], front, cluster), front).step_s
        return found

    def _times(self, case: Case) -> Path:
        return self.work / f"{_plain(case.key)}.json"

    def _launch(self, hosts: Hosts, arguments: Sequence[str]) -> None:
        with opened(load_testbed(hosts.shaped)) as running:
            result = running.launch([sys.executable, *arguments], timeout_s=LIMIT_S)
        print(f"the machine was idle for {result.idle:.0%}", file=sys.stderr, flush=True)
        if result.status:
            raise SystemExit(f"a rank failed: {' '.join(arguments)}")


def _plain(key: str) -> str:
    return re.sub(r"\W+", "-", key)


def pairs_of(measured: Mapping[str, float], predicted: Mapping[str, float]) -> list[Pair]:
    return [Pair(key, measured_s, predicted[key]) for key, measured_s in measured.items()]


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
    found = study.measured()
    measured = {case.key: found[case.key].at(study.yardstick_s(case.model)) for case in cases}
    predicted = study.predicted(arguments.without)
    pairs, clock = pairs_of(measured, predicted), pairs_of({key: each.clock_s for key, each in found.items()}, predicted)
    print(show(pairs))
    print(f"by the clock alone: {summary(clock)}")
    ablations = {}
    for name, what in INGREDIENTS.items() if arguments.ablation or arguments.write else ():
        ablations[name] = pairs_of(measured, study.predicted([name]))
        print(f"without {name} ({what}): {summary(ablations[name])}", flush=True)
    if arguments.write:
        RAW.write_text(json.dumps(record(study, found, pairs, clock, ablations), indent=1) + "\n")
        PICTURE.write_text(draw(pairs))
    return 0


def record(
    study: Study,
    found: Mapping[str, Measured],
    pairs: Sequence[Pair],
    clock: Sequence[Pair],
    ablations: Mapping[str, Sequence[Pair]],
) -> dict[str, Any]:
    """Everything that was measured and predicted."""
    return {
        "hosts": {hosts.name: hosts.shaped.read_text() for hosts in (MIXED, LINE)},
        "links": {hosts.name: study.links(hosts).read_text() for hosts in (MIXED, LINE)},
        "yardsticks_s": {model: study.yardstick_s(model) for model in study.models},
        "plans": [
            {"plan": pair.key, "measured_s": pair.measured_s, "simulated_s": pair.predicted_s, "error": pair.error}
            | found[pair.key].to_json()
            for pair in pairs
        ],
        **_scores(pairs),
        "by_the_clock": _scores(clock),
        "without": {name: _scores(each) for name, each in ablations.items()},
    }


def _scores(pairs: Sequence[Pair]) -> dict[str, float]:
    return {"mean_error": mean_error(pairs), "worst_error": worst(pairs).error, "kendall": kendall(pairs)}


if __name__ == "__main__":
    sys.exit(main())
