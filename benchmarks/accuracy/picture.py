"""Measured against predicted, both axes logarithmic: on the line a prediction is right, between the grey ones within a tenth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.accuracy.scores import Pair

SIZE, LEFT, TOP, RIGHT = 420, 62, 20, 120
COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed")


def draw(pairs: Sequence[Pair]) -> str:
    """An SVG; the colour of a point is its model, the first word of its key; its plan is a tooltip."""
    values = [value for pair in pairs for value in (pair.measured_s, pair.predicted_s)]
    low, high = min(values) / 1.2, max(values) * 1.2

    def at(seconds: float) -> float:
        return SIZE * math.log(seconds / low) / math.log(high / low)

    def line(factor: float, color: str) -> str:
        start, stop = max(low, low / factor), min(high, high / factor)
        points = (LEFT + at(start), TOP + SIZE - at(start * factor), LEFT + at(stop), TOP + SIZE - at(stop * factor))
        return '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"'.format(*points) + f' stroke="{color}"/>'

    models = list(dict.fromkeys(pair.key.split()[0] for pair in pairs))
    parts = [line(1.1, "#ccc"), line(1 / 1.1, "#ccc"), line(1.0, "#444"), *_axes(low, high, at)]
    for pair in pairs:
        color = COLORS[models.index(pair.key.split()[0]) % len(COLORS)]
        spot = f'cx="{LEFT + at(pair.measured_s):.1f}" cy="{TOP + SIZE - at(pair.predicted_s):.1f}" r="4"'
        parts.append(f'<circle {spot} fill="{color}" fill-opacity="0.75"><title>{pair.key} {pair.error:+.0%}</title></circle>')
    for number, model in enumerate(models):
        y = TOP + 16 + 18 * number
        parts.append(f'<circle cx="{LEFT + SIZE + 20}" cy="{y - 4}" r="4" fill="{COLORS[number % len(COLORS)]}"/>')
        parts.append(f'<text x="{LEFT + SIZE + 30}" y="{y}">{model}</text>')
    width, height = LEFT + SIZE + RIGHT, TOP + SIZE + 50
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return head + '<rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n"


def _axes(low: float, high: float, at: object) -> list[str]:
    assert callable(at), "a scale"
    frame = f'<rect x="{LEFT}" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#999"/>'
    parts = [frame, f'<text x="{LEFT + SIZE / 2}" y="{TOP + SIZE + 40}" text-anchor="middle">measured step, s</text>']
    middle = TOP + SIZE / 2
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">simulated step, s</text>')
    for value in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0):
        if low <= value <= high:
            x, y = LEFT + at(value), TOP + SIZE - at(value)
            parts.append(f'<text x="{x:.1f}" y="{TOP + SIZE + 16}" text-anchor="middle" fill="#444">{value:g}</text>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{value:g}</text>')
    return parts
