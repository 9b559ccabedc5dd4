"""Names that a person would choose: short, unique in their function, never a word of Python or torch."""

from __future__ import annotations

import builtins
import keyword
import re

MODULE_NAMES = frozenset({
    "torch", "F", "Tensor", "Axis", "Input", "Partial", "Replicate", "Shard", "Size", "Stage", "Transfer", "Tree", "Value",
    "comm", "checkpoint", "B", "BATCH", "MICROBATCHES", "SCHEDULE", "PRECISION", "RANKS", "INPUTS", "TRANSFERS", "STAGES",
    "PROGRAM", "GlobalSize", "no_autocast", "m", "self", "b", "device", "replicas", "tensor",
})  # fmt: skip
# What an op's result is called where the op's own name would hide a builtin.
PLAIN = {
    "sum": "total",
    "max": "highest",
    "min": "lowest",
    "any": "some",
    "all": "every",
    "pow": "power",
    "abs": "size",
    "slice": "part",
}


def identifier(text: str) -> str:
    """``text`` as a Python name: ``transformer.h.3`` is ``transformer_h_3``."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() else name


def free(name: str) -> bool:
    return not (keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name) or name in MODULE_NAMES)


class Namer:
    """Gives every name out once: ``add``, ``add_2``, ``add_3``."""

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._count: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        base = PLAIN.get(identifier(wanted), identifier(wanted))
        base = base if free(base) else f"{base}_"
        name = base
        while name in self._taken:
            self._count[base] = self._count.get(base, 1) + 1
            name = f"{base}_{self._count[base]}"
        self._taken.add(name)
        return name


def path_name(path: str) -> str:
    """What a module at ``path`` is called: its last name, with the number where it has one (``conv.0`` is ``conv_0``)."""
    parts = path.split(".")
    last = [parts.pop()]
    while parts and last[0].isdigit():
        last.insert(0, parts.pop())
    return identifier("_".join(["layer", *last] if last[0].isdigit() else last))


def class_name(path: str) -> str:
    """What a class of blocks is called: the names on its path without numbers, the last two of them."""
    words = [part for part in path.split(".") if not part.isdigit()]
    return identifier("_".join(words[-2:]))
