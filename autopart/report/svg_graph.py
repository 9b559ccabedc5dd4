"""The graph of a plan in SVG: a card a stage, wrapped into rows, blocks as boxes inside (repeats as one), bytes along the arrows.

Between neighbours of a row an arrow goes straight; every other edge between stages takes a lane of its own under the row of its
source. Edges inside a stage go from box to box, past others beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes
from autopart.plans import Plan, Stage
from autopart.report.colors import borders, fill
from autopart.report.runs import Edge, Run, edges, runs
from autopart.report.shapes import MARGIN, WIDTH, arrow, rectangle, text
from autopart.report.table import shorten
from autopart.report.text import device_names, manner_text, ranges, shares_text

MOST, GAP = 4, 62  # cards in a row, pixels between them
HEAD, LINE, BOX, STEP = 46, 16, 24, 40  # pixels: a card's head, one more line of it, a box, from one box to the next
LANE, BESIDE = 17, 12  # pixels: of an edge under a row; of one that passes boxes
LETTER = 5.9  # pixels of an average one


@dataclass(frozen=True, slots=True)
class _Card:
    stage: Stage
    runs: tuple[int, ...]  # by number
    beside: tuple[Edge, ...]  # edges inside the stage that pass boxes
    x: float
    y: float
    width: float
    row: int
    head: int

    @property
    def height(self) -> float:
        return self.head + STEP * (len(self.runs) - 1) + BOX + 12

    @property
    def box_width(self) -> float:
        return self.width - 20 - (BESIDE * len(self.beside) + 44 if self.beside else 0)

    def box_y(self, run: int) -> float:
        return self.y + self.head + STEP * self.runs.index(run)


def draw_graph(plan: Plan, cluster: Cluster, blocks: Blocks, top: float) -> tuple[list[str], float]:
    """The lines of the picture from ``top`` down, and where it ends."""
    drawn = runs(blocks, plan)
    flows = edges(blocks, drawn, plan.microbatch_size)
    between = _between(flows, drawn)
    lanes = _lanes(between)
    cards, bottom = _cards(plan, drawn, flows, lanes, top)
    colors = borders(plan, cluster)
    lines = list(_arrows(between, lanes, cards))
    for card in cards:
        lines += _draw(card, cluster, drawn, flows, colors)
    return lines, bottom


def _between(flows: Sequence[Edge], drawn: Sequence[Run]) -> dict[tuple[int, int], int]:
    """Bytes by pair of stages."""
    found: dict[tuple[int, int], int] = {}
    for edge in flows:
        pair = drawn[edge.source].stage, drawn[edge.target].stage
        if pair[0] != pair[1]:
            found[pair] = found.get(pair, 0) + edge.nbytes
    return dict(sorted(found.items()))


def _lanes(between: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """The place under its source's row of every edge that does not go straight to the neighbour."""
    found: dict[tuple[int, int], int] = {}
    used: dict[int, int] = {}
    for source, target in between:
        row = source // MOST
        if target == source + 1 and target // MOST == row:
            continue
        found[source, target] = used[row] = used.get(row, 0) + 1
    return found


def _cards(
    plan: Plan, drawn: Sequence[Run], flows: Sequence[Edge], lanes: Mapping[tuple[int, int], int], top: float
) -> tuple[list[_Card], float]:
    columns = min(MOST, len(plan.stages))
    width = min((WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns, 420)
    head = HEAD + LINE if any(map(manner_text, plan.stages)) else HEAD
    found: list[_Card] = []
    y = top
    for first in range(0, len(plan.stages), MOST):
        row = first // MOST
        for place, stage in enumerate(plan.stages[first : first + MOST]):
            own = tuple(number for number, run in enumerate(drawn) if run.stage == stage.index)
            passing = tuple(edge for edge in flows if edge.source in own and edge.target in own and edge.target > edge.source + 1)
            found.append(_Card(stage, own, passing, MARGIN + place * (width + GAP), y, width, row, head))
        under = sum(source // MOST == row for source, _ in lanes)
        y += max(card.height for card in found if card.row == row) + 14 + LANE * under + (8 if under else 0)
    return found, y


def _draw(card: _Card, cluster: Cluster, drawn: Sequence[Run], flows: Sequence[Edge], colors: Mapping[str, str]) -> Iterator[str]:
    stage, room = card.stage, int((card.width - 20) / LETTER)
    types = {cluster.device(rank).name for rank in stage.ranks}
    border = colors[types.pop()] if len(types) == 1 else "black"
    manner = manner_text(stage)
    yield rectangle(card.x, card.y, card.width, card.height, fill(stage.index), edge=border, thick=2, round_=8)
    yield text(card.x + 10, card.y + 18, shorten(f"stage {stage.index}: {device_names(stage.ranks, cluster)}", room - 2), "bold")
    where = f"rank {ranges(stage.ranks)}, samples {shares_text(stage)}"
    yield text(card.x + 10, card.y + 34, shorten(where, room), size=11, color="#404040", title=where)
    yield text(card.x + 10, card.y + 50, shorten(manner, room), size=11, color="#404040", title=manner)
    for number in card.runs:
        label, y = drawn[number].label, card.box_y(number)
        yield rectangle(card.x + 10, y, card.box_width, BOX, "white", edge="#808080", thick=1, round_=4)
        shown = _end_of(label, int((card.box_width - 8) / LETTER))
        yield text(card.x + 10 + card.box_width / 2, y + 16, shown, anchor="middle", size=11, title=label)
    yield from _inside(card, flows)


def _end_of(label: str, room: int) -> str:
    """The end of a name tells it from others."""
    return label if len(label) <= room else f"..{label[2 - room :]}"


def _inside(card: _Card, flows: Sequence[Edge]) -> Iterator[str]:
    """From box to box."""
    x = card.x + 10 + card.box_width / 2
    for edge in flows:
        if edge.source in card.runs and edge.target == edge.source + 1 and edge.target in card.runs:
            start = card.box_y(edge.source) + BOX
            yield arrow([(x, start), (x, card.box_y(edge.target))])
            yield text(x + 7, start + 12, format_bytes(edge.nbytes), size=10, color="#404040")
    right = card.x + 10 + card.box_width
    for lane, edge in enumerate(card.beside, 1):
        out, start, end = right + BESIDE * lane, card.box_y(edge.source) + BOX / 2, card.box_y(edge.target) + BOX / 2
        yield arrow([(right, start + 3), (out, start + 3), (out, end - 3), (right, end - 3)])
        yield text(out + 3, start + 16 + 11 * (lane % 2), format_bytes(edge.nbytes), size=9, color="#404040")


def _arrows(
    between: Mapping[tuple[int, int], int], lanes: Mapping[tuple[int, int], int], cards: Sequence[_Card]
) -> Iterator[str]:
    """Between stages; behind the cards."""
    for (source, target), nbytes in between.items():
        a, b = cards[source], cards[target]
        lane = lanes.get((source, target))
        if lane is None:
            y = a.y + 26
            yield arrow([(a.x + a.width, y), (b.x - 1, y)])
            yield text((a.x + a.width + b.x) / 2, y - 6, format_bytes(nbytes), anchor="middle", size=11)
            continue
        level = max(card.y + card.height for card in cards if card.row == a.row) + 4 + LANE * lane
        start, end = a.x + a.width / 2 + 8 * lane, b.x + b.width / 2 - 8 * lane
        into = b.y if b.row > a.row else b.y + b.height
        yield arrow([(start, a.y + a.height), (start, level), (end, level), (end, into)])
        yield text((start + end) / 2, level - 4, format_bytes(nbytes), anchor="middle", size=11)
