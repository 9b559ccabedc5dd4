"""Text for a terminal: aligned tables, bars, lines that fit, colours."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Sequence

WIDTH = 100  # columns that every report keeps to
NARROWEST, WRAPPED = 14, 40  # columns: of a cell that is shortened, and of one that goes on in further lines
BAR_WIDTH = 10
GAP = "  "

Paint = Callable[[str, str], str]
"""(style, text) -> text as the terminal is to show it; styles are those of ``STYLES``."""

STYLES = {"head": "1", "quiet": "2", "good": "32", "warn": "33", "bad": "31", "strong": "1"}
STAGES = ("36", "33", "35", "32", "34", "31")  # of stages in turn; "stage 3" is a style


def plain(_: str, text: str) -> str:
    """No colours: files, pipes, NO_COLOR."""
    return text


def ansi(style: str, text: str) -> str:
    """Colours of a terminal (ECMA-48, SGR)."""
    name, _, number = style.partition(" ")
    code = STAGES[int(number) % len(STAGES)] if name == "stage" else STYLES[style]
    return f"\x1b[{code}m{text}\x1b[0m" if text.strip() else text


def table(
    rows: Sequence[Sequence[str]],
    *,
    elastic: Collection[int] = (),
    paint: Paint = plain,
    style: Callable[[int, int], str] = lambda _row, _column: "",
) -> str:
    """Left-aligned columns, two spaces between. Where that is too wide, the cells of ``elastic`` columns are shortened in the
    middle, and the last column goes on in further lines. ``style(row, column)`` names what a cell is painted in, "" for nothing.
    """
    widths = _widths(rows, elastic)
    indent = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    lines = []
    for number, row in enumerate(rows):
        cells = [shorten(cell, width) if i in elastic else cell for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        first, *more = _wrapped(cells[-1], max(WIDTH - indent, NARROWEST))
        painted = [_cell(cell, width, style(number, i), paint) for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        painted[-1] = _cell(first, 0, style(number, len(row) - 1), paint)
        lines.append(GAP.join(painted).rstrip())
        lines += [" " * indent + _cell(line, 0, style(number, len(row) - 1), paint) for line in more]
    return "\n".join(lines)


def _cell(cell: str, width: int, style: str, paint: Paint) -> str:
    padding = " " * (width - len(cell))
    return (paint(style, cell) if style else cell) + padding


def _widths(rows: Sequence[Sequence[str]], elastic: Collection[int]) -> list[int]:
    """Of the columns, the widest elastic ones narrowed until all fit. A last column that is wrapped counts with what it needs."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if len(widths) - 1 not in elastic:
        widths[-1] = min(widths[-1], WRAPPED)
    while sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        widest = max(elastic, key=lambda column: widths[column], default=None)
        if widest is None or widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def wrap(text: str, indent: str = "  ") -> str:
    """Lines that fit, those after the first indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def shorten(text: str, width: int) -> str:
    """``transformer..attn``: both ends, where all of it is too long; more of the end, which tells names apart."""
    if len(text) <= width:
        return text
    head = (width - 2) * 2 // 5
    return f"{text[:head]}..{text[head + 2 - width :]}"


def bar(fraction: float) -> str:
    """``[####......]``"""
    full = min(BAR_WIDTH, max(0, round(fraction * BAR_WIDTH)))
    return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}]"
