"""Ops that every allowed assignment puts on one rank, and the answers no that follow from them alone.

Equal labels are on one rank. Where parts are convex, so is all that lies on a path between two forward (two backward) ops of
one rank; what that draws in may draw in more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from autopart.cluster.units import format_bytes
from autopart.errors import Infeasible
from autopart.profiled.order import Order, between, bits, directions
from autopart.profiled.problem import Array, Problem


@dataclass(frozen=True, eq=False)
class Groups:
    """``members[g]``: ops, ascending; groups in order of their first op. ``of[v]``: the group of an op."""

    members: tuple[tuple[int, ...], ...]
    of: tuple[int, ...]
    time_s: Array  # by group and rank; infinite where a member can't run or the group has no room
    memory_bytes: Array  # by group

    @property
    def count(self) -> int:
        return len(self.members)


def make_groups(problem: Problem, order: Order) -> Groups:
    """The finest groups that are forced; raises Infeasible where one of them fits on no rank."""
    masks = _merged({op: 1 << op for op in range(problem.count)}, _labelled(problem))
    if problem.goal.contiguous:
        masks = _closed(problem, order, masks)
    unique = sorted(set(masks.values()), key=lambda mask: mask & -mask)
    members = tuple(tuple(bits(mask)) for mask in unique)
    of = {op: index for index, group in enumerate(members) for op in group}
    time_s = np.array([problem.time_s[list(group)].sum(axis=0) for group in members])
    memory = np.array([problem.memory_bytes[list(group)].sum() for group in members])
    groups = Groups(members, tuple(of[op] for op in range(problem.count)), time_s, memory)
    _check(problem, groups)
    groups.time_s[memory[:, None] > problem.capacity_bytes] = np.inf
    return groups


def _labelled(problem: Problem) -> list[int]:
    found: dict[str, int] = {}
    for op, label in enumerate(problem.labels):
        if label is not None:
            found[label] = found.get(label, 0) | 1 << op
    return list(found.values())


def _merged(masks: Mapping[int, int], wishes: Iterable[int]) -> dict[int, int]:
    """By op: its group, after the ops of every wish came together."""
    found = dict(masks)
    for wish in wishes:
        whole = 0
        for op in bits(wish):
            whole |= found[op]
        found |= dict.fromkeys(bits(whole), whole)
    return found


def _closed(problem: Problem, order: Order, masks: dict[int, int]) -> dict[int, int]:
    """Groups that hold all paths between their forward and between their backward ops."""
    open_masks = {mask for mask in masks.values() if mask & (mask - 1)}
    while open_masks:
        mask = min(open_masks)
        open_masks.remove(mask)
        drawn = mask
        for direction in directions(problem):
            drawn |= between(order, mask & direction)
        if drawn != mask:
            masks = _merged(masks, [drawn])
            whole = masks[next(bits(mask))]
            open_masks = {each for each in open_masks if not each & whole} | {whole}
    return masks


def _check(problem: Problem, groups: Groups) -> None:
    """Raise Infeasible where an op or a group has no type, or no memory."""
    for op in np.flatnonzero(np.isinf(problem.time_s).all(axis=1)):
        raise Infeasible(
            f"no device type of the cluster can run {problem.names[op]}",
            remedy="Give its `time_s` a type that the cluster file has, or add such devices.",
        )
    for index, group in enumerate(groups.members):
        allowed = np.isfinite(groups.time_s[index])
        if not allowed.any():
            raise Infeasible(
                f"{_shown(problem, group)} belong on one device, and no device type can run all of them",
                remedy="Give their `time_s` a type in common, or take them apart: `colocate`"
                + (" and paths between them" if problem.goal.contiguous else "")
                + " hold them together.",
            )
        room = float(problem.capacity_bytes[allowed].max())
        if groups.memory_bytes[index] > room:
            raise Infeasible(
                f"{_shown(problem, group)} {'need' if len(group) > 1 else 'needs'}"
                f" {format_bytes(int(groups.memory_bytes[index]))} on one device;"
                f" the largest that can run {'them' if len(group) > 1 else 'it'} has {format_bytes(int(room))} to use",
                remedy="Add a device with more memory, or split what belongs together.",
            )
    total, room = float(groups.memory_bytes.sum()), float(problem.capacity_bytes.sum())
    if total > room:
        raise Infeasible(
            f"the ops need {format_bytes(int(total))}, all devices together have {format_bytes(int(room))} to use",
            remedy="Add devices, or devices with more memory.",
        )


def _shown(problem: Problem, group: tuple[int, ...]) -> str:
    names = [problem.names[op] for op in group]
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def spread(groups: Groups, places: Iterable[int]) -> tuple[int, ...]:
    """The rank of every op from those of groups."""
    ranks = list(places)
    return tuple(ranks[group] for group in groups.of)
