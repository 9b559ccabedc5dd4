"""What `autopart replan` says of the way from the old plan to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from autopart.cluster.units import format_bytes, format_seconds
from autopart.plans import Moves, Plan, RankMoves, Take
from autopart.report.table import table
from autopart.report.text import block_names

SHOWN = 6  # devices in a list


def format_moves(plan: Plan) -> str:
    """A summary, then the ranks that something moves to, and what only a checkpoint has; "" where there was no plan before."""
    moves = plan.moves
    if moves is None:
        return ""
    sections = (f"{_devices(moves, plan)}\n{_total(moves)}", _rows(moves, plan), _checkpoint(moves, plan))
    return "\n\n".join(section for section in sections if section) + "\n"


def _devices(moves: Moves, plan: Plan) -> str:
    step = plan.estimate.step_time_s if plan.estimate else None
    faster = ""
    if moves.step_before_s and step:
        faster = f"; step {format_seconds(moves.step_before_s)} before, {format_seconds(step)} now"
    unused = len(plan.unused_ranks)
    return f"devices: {moves.kept} kept, {_listed('lost', moves.lost)}, {_listed('new', moves.new)}, {unused} left out{faster}"


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return f"0 {what}"
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})"


def _total(moves: Moves) -> str:
    keeps = f"{format_bytes(sum(each.keeps_bytes for each in moves.ranks))} of parameters and optimizer state"
    between = moves.nbytes - moves.checkpoint_bytes
    ways = [f"{format_bytes(between)} between devices, in {format_seconds(moves.seconds)} at least"] if between else []
    ways += [f"{format_bytes(moves.checkpoint_bytes)} from a checkpoint"] if moves.checkpoint_bytes else []
    if not ways:
        return f"nothing moves: all {keeps} are in place"
    return f"moves: {' and '.join(ways)}; {keeps} stay in place"


def _rows(moves: Moves, plan: Plan) -> str:
    rows = [row for each in moves.ranks for row in _rank(each, plan)]
    return table([("rank", "was", "keeps", "takes", "from", "of blocks"), *rows]) if rows else ""


def _rank(each: RankMoves, plan: Plan) -> list[tuple[str, ...]]:
    """A line for each source."""
    was = "-" if each.was is None else str(each.was)
    first = (str(each.rank), was, format_bytes(each.keeps_bytes))
    found: list[tuple[str, ...]] = []
    for take in each.takes:
        source = "a checkpoint" if take.source is None else f"rank {take.source}"
        found.append((*first, format_bytes(take.nbytes), source, _blocks(take.blocks, plan)))
        first = ("", "", "")
    return found


def _blocks(names: Sequence[str], plan: Plan) -> str:
    """Runs of neighbours collapsed."""
    order = {name: i for i, name in enumerate(name for stage in plan.stages for name in stage.blocks)}
    runs = groupby(enumerate(names), key=lambda pair: order[pair[1]] - pair[0])
    return ", ".join(block_names(tuple(name for _, name in run)) for _, run in runs)


def _checkpoint(moves: Moves, plan: Plan) -> str:
    takes: list[Take] = [take for each in moves.ranks for take in each.takes if take.source is None]
    if not takes:
        return ""
    lost = {name for take in takes for name in take.blocks}
    names = [name for stage in plan.stages for name in stage.blocks if name in lost]
    nbytes = format_bytes(moves.checkpoint_bytes)
    return (
        f"only a checkpoint has {nbytes} of it: devices that are lost were the only ones with (parts of) {_blocks(names, plan)}"
    )
