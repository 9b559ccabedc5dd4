"""Ops that mix samples: what a user is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mixing:
    """An op that mixes samples: one microbatch only; across ranks it costs a collective."""

    op: str
    module: str
    source: str
    reason: str


def describe(mixing: Iterable[Mixing]) -> tuple[str, ...]:
    """One sentence each: where, why, and what it costs. Equal reasons in one place are told once."""
    return tuple(dict.fromkeys(sentence(found) for found in mixing))


def sentence(found: Mixing) -> str:
    place = f"{found.module} ({found.source})" if found.module and found.source else found.module or found.source or found.op
    return f"{place}: {found.reason}; so the batch can't be cut into microbatches"
