"""What SVG pictures are made of."""

from __future__ import annotations

from html import escape

WIDTH, MARGIN = 1040, 16  # pixels, of every picture


def text(
    x: float,
    y: float,
    words: str,
    weight: str = "normal",
    *,
    size: int = 12,
    anchor: str = "start",
    color: str = "black",
    title: str = "",
) -> str:
    """A line of text; ``title`` is shown on hover."""
    style = f'font-weight="{weight}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
    hover = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{hover}{escape(words)}</text>'


def rectangle(
    x: float, y: float, width: float, height: float, fill: str, *, edge: str = "none", thick: float = 0, round_: float = 0
) -> str:
    """A box; ``round_`` is the radius of its corners."""
    border = f' stroke="{edge}" stroke-width="{thick}"' if edge != "none" else ""
    corners = f' rx="{round_}"' if round_ else ""
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill}"{border}{corners}/>'


def arrow(points: list[tuple[float, float]], color: str = "#525252") -> str:
    """A line through these points, and a head at the last, which points as the last piece does."""
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    (x1, y1), (x2, y2) = points[-2:]
    length = max(abs(x2 - x1) + abs(y2 - y1), 1e-9)  # pieces are level or upright
    dx, dy = (x2 - x1) / length * 6, (y2 - y1) / length * 6
    head = f"{x2:.1f},{y2:.1f} {x2 - dx - dy / 2:.1f},{y2 - dy + dx / 2:.1f} {x2 - dx + dy / 2:.1f},{y2 - dy - dx / 2:.1f}"
    return f'<path d="M{path}" fill="none" stroke="{color}"/><polygon points="{head}" fill="{color}"/>'
