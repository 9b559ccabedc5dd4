"""Blocks for people: one a line, with what crosses the cut before each."""

from __future__ import annotations

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import cut_values


def format_blocks(blocks: Blocks) -> str:
    lines = ["block  kind  ops  name  <- values that cross into it or past it"]
    for index, block in enumerate(blocks.blocks):
        crossing = ", ".join(cut_values(blocks, index))
        lines.append(f"{index:5}  {block.kind:4}  {len(block.ops):3}  {block.name}" + (f"  <- {crossing}" if crossing else ""))
    if blocks.inputs_only:
        lines.append(f"run where needed: {', '.join(blocks.inputs_only)}")
    return "\n".join(lines) + "\n"
