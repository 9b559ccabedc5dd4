"""`python -m benchmarks.versus.scaling`, as root: weak scaling, simulated to 4,096 ranks, measured to 8, on one picture.

As many hosts with a fast rank as with a slow one; the batch grows with them, and autopart plans each. Links and ops measured on
one pair of hosts price them all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.pages import FOLDER, PAGE, publish
from benchmarks.testbed.launch import missing
from benchmarks.versus.cases import Case
from benchmarks.versus.study import COUNTED, Found, Study, plan_line

PICTURE = Path("docs/images/scaling.svg")
LAUNCHES = 5
BATCH = 4  # samples of a pair of ranks
MEASURED, SIMULATED = (2, 4, 8), tuple(2**power for power in range(1, 13))
WIDTH, HEIGHT, LEFT, TOP = 560, 260, 56, 24


def hosts(pairs: int) -> str:
    """Of the testbed: ranks in the order of a cluster file of ``pairs`` fast and as many slow nodes."""
    kinds = [("fast", 0.24), ("slow", 0.16)]
    lines = [f"  - {{name: {kind}{i}, ranks: 1, cpu: {cpu}, bandwidth: 1 Gb/s}}" for kind, cpu in kinds for i in range(pairs)]
    return "\n".join(["hosts:", *lines, ""])


def study_of(ranks: int, work: Path) -> Study:
    """With a cluster file made of the one of two ranks."""
    case = Case(f"scaling-{ranks}", f"{ranks} ranks", hosts(min(ranks, MEASURED[-1]) // 2), "gpt2", BATCH * ranks // 2)
    found = Study(case, work)
    if ranks > MEASURED[0]:
        cluster = yaml.safe_load(study_of(MEASURED[0], work).cluster.read_text())
        for node in cluster["nodes"]:
            node["count"] = ranks // 2
        (found.work / "cluster.yaml").write_text(yaml.safe_dump(cluster, sort_keys=False))
    return found


def point(ranks: int, work: Path) -> dict[str, Any]:
    """The planned step of so many ranks, and the executed one of few."""
    study = study_of(ranks, work)
    planned = study.saved("planned.json", lambda: {"step_s": _step_s(study), "plan": plan_line(study.plan)})
    numbers = range(LAUNCHES if ranks in MEASURED else 0)
    launches = [study.saved(f"launch{n}.json", lambda: study.measured([study.ours], COUNTED)) for n in numbers]
    measured = [found[study.ours.key]["step_s"] for found in launches]
    return {
        "ranks": ranks,
        "samples": study.case.batch_size,
        "simulated_s": planned["step_s"],
        "measured_s": measured,
        "plan": planned["plan"],
    }


def _step_s(study: Study) -> float:
    assert study.plan.estimate is not None, "a plan that was made has an estimate"
    return study.plan.estimate.step_time_s


def draw(points: Sequence[Found]) -> str:
    """An SVG: samples a second and rank, against ranks; simulated as a line, measured as medians and ranges."""
    rates = [(p["ranks"], p["samples"] / p["ranks"] / p["simulated_s"]) for p in points]
    executed = [(p["ranks"], [p["samples"] / p["ranks"] / s for s in p["measured_s"]]) for p in points if p["measured_s"]]
    top = 1.15 * max([rate for _, rate in rates] + [rate for _, found in executed for rate in found])

    def x(ranks: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (math.log2(ranks) - 1) / (math.log2(SIMULATED[-1]) - 1)

    def y(rate: float) -> float:
        return TOP + (HEIGHT - TOP - 60) * (1 - rate / top)

    parts = [f'<text x="{LEFT}" y="14" font-weight="bold">samples a second of one rank</text>']
    middle = f'y="{HEIGHT - 42}" text-anchor="middle" fill="#444"'
    parts += [f'<text x="{x(ranks):.0f}" {middle}>{ranks}</text>' for ranks in SIMULATED]
    for step in range(5):
        rate = top / 1.15 * step / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(rate):.1f}" y2="{y(rate):.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(rate) + 4:.1f}" text-anchor="end" fill="#444">{rate:.2g}</text>')
    line = " ".join(f"{x(ranks):.1f},{y(rate):.1f}" for ranks, rate in rates)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>')
    for ranks, found in executed:
        parts.append(
            f'<line x1="{x(ranks):.1f}" x2="{x(ranks):.1f}" y1="{y(min(found)):.1f}" y2="{y(max(found)):.1f}" stroke="#dc2626"/>'
        )
        parts.append(f'<circle cx="{x(ranks):.1f}" cy="{y(median(found)):.1f}" r="4" fill="#dc2626"/>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 24}" text-anchor="middle">ranks; the batch grows with them</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}" fill="#2563eb">simulated</text>')
    parts.append(f'<text x="{LEFT + 90}" y="{HEIGHT - 6}" fill="#dc2626">measured, {LAUNCHES} launches</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    return head + '<rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus.scaling", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/versus"), help="where parts are saved")
    parser.add_argument("--write", action="store_true", help=f"also into {FOLDER}, {PAGE} and {PICTURE}")
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    points = []
    for ranks in SIMULATED:
        points.append(point(ranks, arguments.work))
        print(json.dumps(points[-1]), flush=True)
    if arguments.write:
        publish(
            "scaling",
            "python -m benchmarks.versus.scaling --write",
            {"points": points},
            [f"![weak scaling](images/{PICTURE.name})"],
        )
        PICTURE.write_text(draw(points))
    return 0


if __name__ == "__main__":
    sys.exit(main())
