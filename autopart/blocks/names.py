"""Names of blocks: paths of the model's modules, as a user knows them."""

from __future__ import annotations

from collections import Counter

from autopart.blocks.cuts import Sheet
from autopart.blocks.division import Span
from autopart.blocks.structure import common_path


def block_names(sheet: Sheet, spans: tuple[Span, ...]) -> tuple[str, ...]:
    """Unique: the module that a span is, or the heaviest module in it."""
    extents = _extents(sheet)
    taken: Counter[str] = Counter()
    found = []
    for span in spans:
        name = _name(sheet, span, extents)
        taken[name] += 1
        found.append(name if taken[name] == 1 else f"{name}_{taken[name]}")
    assert len(set(found)) == len(found), f"two blocks have one name: {sorted(found)}"
    return tuple(found)


def _extents(sheet: Sheet) -> Counter[str]:
    """Number of ops that ran in each module, its children included."""
    found: Counter[str] = Counter()
    for op in sheet.body.ops:
        parts = op.module.split(".") if op.module else []
        found.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return found


def _name(sheet: Sheet, span: Span, extents: Counter[str]) -> str:
    """Goes down into the heaviest child until a module lies wholly in the span."""
    positions = list(range(span.start, span.stop))
    while True:
        path = common_path([sheet.body.ops[p].module for p in positions])
        if path and extents[path] == len(positions):
            return path
        children: dict[str, list[int]] = {}
        for p in positions:
            children.setdefault(_below(sheet.body.ops[p].module, path), []).append(p)
        numbered = [child for child in children if child.isdigit()]
        if len(numbered) > 1:
            numbers = [int(child) for child in numbered]
            return f"{path}.{min(numbers)}-{max(numbers)}".lstrip(".")
        below = [child for child in children if child]
        if not below:
            return _op_name(sheet, positions, path)
        heaviest = max(below, key=lambda child: _weight(sheet, children[child]))
        positions = children[heaviest]
        if len(children) == 1:
            return f"{path}.{heaviest}".lstrip(".")


def _weight(sheet: Sheet, positions: list[int]) -> tuple[int, float]:
    """Bytes of parameters that ops read, then their share of the work."""
    graph = sheet.body.graph
    read = {name for p in positions for name in sheet.body.ops[p].inputs if name in graph.parameter_of}
    return sum(graph.values[name].nbytes(1) for name in read), sum(sheet.work[p + 1] - sheet.work[p] for p in positions)


def _below(module: str, path: str) -> str:
    return module[len(path) :].lstrip(".").partition(".")[0]


def _op_name(sheet: Sheet, positions: list[int], path: str) -> str:
    """Of ops in no child module: the heaviest op's; of the last ones ``loss``."""
    body = sheet.body
    if not path and any(value.name == body.graph.loss for value in body.ops[positions[-1]].outputs):
        return "loss"
    heaviest = max(positions, key=lambda p: sheet.share(p, p + 1))
    return f"{path}.{body.ops[heaviest].name.rpartition(':')[2]}".lstrip(".")
