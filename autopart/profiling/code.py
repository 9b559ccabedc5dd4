"""Ops as a Python function, spelt as the emitted module spells them: what is timed is what will run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autopart.codegen.spelling import Scope, spell
from autopart.ir.graph import Op
from autopart.runtime import comm, no_autocast
from autopart.runtime.axis import Axis

ROWS, BATCH, HERE = "b", "BATCH", "device"


@dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive ops: what they read that others make, and what of theirs others read."""

    ops: tuple[Op, ...]
    reads: tuple[str, ...]
    gives: tuple[str, ...]


def stretch(ops: Sequence[Op], users: Mapping[str, tuple[Op, ...]]) -> Stretch:
    """``users`` are those of the graph. What nobody reads, such as a loss, is given too."""
    own = {op.name for op in ops}
    made = dict.fromkeys(value.name for op in ops for value in op.outputs)
    reads = dict.fromkeys(name for op in ops for name in op.inputs if name not in made)
    gives = (name for name in made if not users.get(name) or any(user.name not in own for user in users[name]))
    return Stretch(tuple(ops), tuple(reads), tuple(gives))


def function(part: Stretch, rows: int, device: torch.device) -> Callable[..., tuple[Tensor, ...]]:
    """Takes what the stretch reads, in order, and returns what it gives. Collectives are those of a rank alone."""
    alone = Axis(0, (0,), (rows,), rows)
    names = {name: f"v{index}" for index, name in enumerate(part.reads)}
    lines: list[str] = []
    for op in part.ops:
        lines += _statement(op, names)
    given = ", ".join(names[name] for name in part.gives)
    body = "\n    ".join([*lines, f"return ({given},)" if given else "return ()"])
    source = f"def run({', '.join(names[name] for name in part.reads)}):\n    {body}\n"
    scope: dict[str, Any] = {
        "torch": torch,
        "F": torch.nn.functional,
        "comm": comm,
        "no_autocast": no_autocast,
        "replicas": alone,
        "tensor": alone,
        ROWS: rows,
        BATCH: rows,
        HERE: device,
    }
    exec(compile(source, "<ops>", "exec"), scope)
    return scope["run"]  # type: ignore[no-any-return]


def _statement(op: Op, names: dict[str, str]) -> list[str]:
    """Binds the op's results in ``names``."""
    scope = Scope(lambda name: ast.Name(names[name]), ROWS, BATCH, HERE, training="True")
    expression = ast.unparse(ast.fix_missing_locations(spell(op, scope)))
    for value in op.outputs:
        names[value.name] = f"v{len(names)}"
    targets = ", ".join(names[value.name] for value in op.outputs)
    line = f"{targets}{',' if _several(op) else ''} = {expression}" if op.outputs else expression
    return [line] if op.autocast else ["with no_autocast():", f"    {line}"]


def _several(op: Op) -> bool:
    """Whether its result is a sequence of one, to be taken apart."""
    return len(op.outputs) == 1 and op.kind.split(".")[1] in ("unbind", "split", "split_with_sizes", "chunk", "tensor_split")
