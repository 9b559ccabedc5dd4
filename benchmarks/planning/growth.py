"""Time and memory of planning against devices: the model of 96 layers on equal numbers of four types, with and without mixed stages.

python -m benchmarks.planning.growth        writes docs/design/planner-growth.json and docs/images/planner-growth.svg
"""  # noqa: E501  a command

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.planning.grid import Cell, measure

DEVICES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
GAP = 0.001
DATA, PICTURE = Path("docs/design/planner-growth.json"), Path("docs/images/planner-growth.svg")
WIDTH, HEIGHT, LEFT, TOP, PANEL = 720, 300, 60, 40, 270  # of the picture, and of one of its two panels
COLORS = {"one type a stage": "#2563eb", "mixed stages": "#dc2626"}

Series = dict[str, list[tuple[float, float]]]


def cells() -> Iterator[Cell]:
    for mixed in (False, True):
        for devices in DEVICES:
            yield Cell(96, devices, 4, GAP, None, mixed=mixed, batch=2048)


def draw(rows: Sequence[dict[str, float]]) -> str:
    """Two panels, both axes logarithmic; a grey line of slope one to compare with."""
    time = _panel("seconds of one CPU core", _series(rows, "cpu_s"), 0)
    memory = _panel("peak memory, MiB", _series(rows, "peak_rss_mb"), 1)
    names = "".join(
        f'<text x="{LEFT + 160 * i}" y="{HEIGHT - 6}" fill="{color}">{name}</text>'
        for i, (name, color) in enumerate(COLORS.items())
    )
    grey = f'<text x="{LEFT + 320}" y="{HEIGHT - 6}" fill="#999">in proportion to devices</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    return f'{head}<rect width="100%" height="100%" fill="white"/>{time}{memory}{names}{grey}</svg>\n'


def _series(rows: Sequence[dict[str, float]], key: str) -> Series:
    found: Series = {name: [] for name in COLORS}
    for row in rows:
        found["mixed stages" if row["mixed"] else "one type a stage"].append((row["devices"], max(row[key], 1e-2)))
    return found


def _panel(title: str, series: Series, number: int) -> str:
    values = [value for points in series.values() for _, value in points]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values) * 1.01))
    left, height = LEFT + number * (PANEL + LEFT), HEIGHT - 2 * TOP - 20

    def x(devices: float) -> float:
        return left + PANEL * math.log(devices / DEVICES[0]) / math.log(DEVICES[-1] / DEVICES[0])

    def y(value: float) -> float:
        return TOP + height * (1 - math.log(value / low) / math.log(high / low))

    parts = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    parts += [f'<text x="{x(n):.0f}" y="{TOP + height + 16}" text-anchor="middle" fill="#444">{n}</text>' for n in DEVICES[::2]]
    for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = y(10.0**exponent)
        parts.append(f'<line x1="{left}" x2="{left + PANEL}" y1="{at:.1f}" y2="{at:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" fill="#444">{10.0**exponent:g}</text>')
    start = min(value for points in series.values() for _, value in points[:1])
    reach = min(DEVICES[-1], DEVICES[0] * high / start)
    parts.append(_line([(x(DEVICES[0]), y(start)), (x(reach), y(start * reach / DEVICES[0]))], "#999", 'stroke-dasharray="4"'))
    parts += [_line([(x(n), y(value)) for n, value in points], COLORS[name]) for name, points in series.items() if points]
    return "".join(parts)


def _line(points: Sequence[tuple[float, float]], color: str, more: str = "") -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" {more}/>'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", help="measure this cell alone and print it as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        cell = next(cell for cell in cells() if re.fullmatch(re.escape(arguments.one), cell.name))
        print(json.dumps({"devices": cell.devices, "mixed": cell.mixed, **measure(cell)}))
        return
    rows = []
    for cell in cells():
        command = [sys.executable, "-m", "benchmarks.planning.growth", "--one", cell.name]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        print(f"{cell.name:28} {rows[-1]['cpu_s']:6.2f} s {rows[-1]['peak_rss_mb']:5} MiB {rows[-1]['proof']}", flush=True)
        DATA.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        PICTURE.write_text(draw(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
