"""The best layout of a model on the columns of a stage, whole or with some of it fixed, and its text in a plan.

``layouts`` of a plan maps patterns of names (``*`` stands for anything) to layouts, the first match counts: of an op (by its
name, ``transformer.h.*.mlp.c_fc:addmm``) what it reads and makes, ``P S(1) S(0) -> P``; of a parameter or buffer how it is
held, ``S(1)``. R is replicated, P partial, S(dim) split, S(dim/outer) split in each of ``outer`` slices, S(dim:units) in units of
that number. What a plan leaves open is decided again, in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cache

import numpy as np

from autopart.blocks.blocks import Blocks
from autopart.errors import PlanError
from autopart.ir.analysis import once
from autopart.sharding.placement import Placement, Replicate, Shard
from autopart.sharding.rules import Place, Unread
from autopart.tensor.eliminate import minimize
from autopart.tensor.network import INFINITE, Network, OpKey, Pattern, add, chosen, network
from autopart.tensor.prices import Prices
from autopart.tensor.ways import Axis, Way

MOST_NAMED = 8  # layouts in a message
EVERYTHING = "*"  # the last pattern of a whole layout: the rest is replicated


@dataclass(frozen=True)
class Layout:
    """How a model lies on the columns of a stage: way by op, placement by parameter or buffer (value name); and as text.

    ``seconds`` is what the per-op problem says of it.
    """

    axis: Axis
    ways: Mapping[str, Way]
    leaves: Mapping[str, Placement]
    text: Mapping[str, str]
    seconds: float


def best_layout(blocks: Blocks, prices: Prices, pins: Mapping[str, str] | None = None, of: Iterable[str] | None = None) -> Layout:
    """The exact optimum of the per-op problem under the pins; PlanError where they contradict each other. With ``of`` the pins
    speak of the ops and parameters of these blocks alone.
    """
    net = network(blocks, prices)
    fix(net, pins or {}, frozenset(of) if of is not None else None)
    seconds, values = minimize(net.sizes, net.tables)
    if not np.isfinite(seconds):
        every = [f"{name} = {text}" for name, text in (pins or {}).items()]
        more = f", and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
        raise PlanError(
            f"no layout of the model has all of these: {', '.join(every[:MOST_NAMED])}{more}",
            where="layouts",
            remedy="Leave some of them out; the planner completes the rest.",
        )
    ops, leaves = chosen(net, values)
    return Layout(prices.axis, ops, leaves, text_of(net, values), seconds)


# Pins


def fix(net: Network, pins: Mapping[str, str], of: frozenset[str] | None) -> None:
    """Forbids what the pins do not say; PlanError where a pattern or a layout fits nothing."""
    used: set[str] = set()
    spoken = None if of is None else names_in(net, of)
    for key, variable in net.variables.items():
        matches = {name: pattern for name in net.pattern.members[key] if (pattern := first_match(name, pins)) is not None}
        used.update(matches.values())
        names = [name for name in matches if spoken is None or name in spoken]
        found = {matches[name] for name in names}
        found = found - {EVERYTHING} or found  # of ops that are run alike some may have no name of their own in the plan
        for pattern in found:
            allowed = np.array([said(option, pins[pattern], net.prices.axis) for option in texts_of(net, key)])
            if not allowed.any():
                _refuse(names[0], pattern, pins[pattern], texts_of(net, key))
            add(net, (variable,), np.where(allowed, 0.0, INFINITE))
    every = [name for names in net.pattern.members.values() for name in names]
    for pattern in pins:
        if pattern not in used and not any(_matcher(pattern).match(name) for name in every):
            raise PlanError(
                f"the model has no op, parameter or buffer {pattern!r} that columns could split",
                where="layouts",
                remedy="Ops are called like transformer.h.0.attn.c_attn:addmm; * stands for anything.",
            )


def names_in(net: Network, blocks: frozenset[str]) -> frozenset[str]:
    """Ops of some blocks, and the parameters and buffers that they read."""
    ops = [name for block in net.pattern.blocks.blocks if block.name in blocks for name in block.ops]
    read = {value for name in ops for value in net.pattern.ops[name].inputs}
    return frozenset(ops) | {name for value, name in net.pattern.qualified.items() if value in read}


def first_match(name: str, patterns: Iterable[str]) -> str | None:
    return next((pattern for pattern in patterns if pattern == name or _matcher(pattern).match(name)), None)


@cache
def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[", "[[]")))


def said(option: str, wanted: str, axis: Axis) -> bool:
    """Whether an option is what a text says: all of it, or its (first) result alone."""
    texts = {" ".join(part.split()) for part in (wanted, wanted.replace(f":{axis.units[0]})", ")"))}
    return option in texts or option.split(" -> ")[-1] in texts or option.split(" -> ")[-1].split()[0] in texts


def _refuse(name: str, pattern: str, wanted: str, options: Sequence[str]) -> None:
    raise PlanError(f"{name} can't be {wanted!r}", where=f"layouts[{pattern!r}]", remedy=f"It can be {'; '.join(options)}.")


# Text


def place_text(place: Place, axis: Axis) -> str:
    if isinstance(place, Unread):
        return "-"
    if not isinstance(place, Shard):
        return str(place)
    inner = "" if place.outer == 1 else f"/{place.outer}"
    units = "" if place.units == axis.units[0] else f":{place.units}"
    return f"S({place.dim}{inner}{units})"


def way_text(way: Way, axis: Axis) -> str:
    inputs, outputs = (" ".join(place_text(place, axis) for place in places) for places in (way.row.inputs, way.row.outputs))
    return f"{inputs} -> {outputs}".strip()


def texts_of(net: Network, key: OpKey | str) -> list[str]:
    """What a variable's values are called."""
    axis = net.prices.axis
    if isinstance(key, str):
        return [place_text(place, axis) for place in net.held[key]]
    return [way_text(way, axis) for way in net.ways[key]]


def text_of(net: Network, values: Sequence[int]) -> Mapping[str, str]:
    """What is not replicated, one entry for the ops of equal blocks where a pattern names them and no others, then the rest."""
    texts = {key: texts_of(net, key)[values[variable]] for key, variable in net.variables.items()}
    found: dict[str, str] = {}
    for key, text in texts.items():
        if not replicated_text(text):
            pattern, spoken = _patterns(net.pattern)[key]
            fits = all(texts[other] == text for other in spoken)
            found.update(dict.fromkeys([pattern] if fits else net.pattern.members[key], text))
    return {**found, EVERYTHING: str(Replicate())} if found else {}


@once
def _patterns(found: Pattern) -> Mapping[OpKey | str, tuple[str, frozenset[OpKey | str]]]:
    """By variable a pattern for its names, and all variables that have a name of this pattern."""
    patterns = {key: common_pattern(names) for key, names in found.members.items()}
    owner = {name: key for key, names in found.members.items() for name in names}

    def spoken(pattern: str) -> frozenset[OpKey | str]:
        return frozenset(key for name, key in owner.items() if _matcher(pattern).match(name))

    return {key: (pattern, spoken(pattern)) for key, pattern in patterns.items()}


def replicated_text(text: str) -> bool:
    return set(text.replace("->", "").split()) <= {"R", "-"}


def common_pattern(names: Sequence[str]) -> str:
    """Names that differ in whole segments only, with ``*`` for these; of others the first."""
    split = [re.split(r"([.:])", name) for name in names]
    if len({len(parts) for parts in split}) > 1:
        return names[0]
    return "".join(column[0] if len(set(column)) == 1 else "*" for column in zip(*split, strict=True))
