"""What sums gradients on a rank, and what shares out the parameters that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from autopart.program.reductions import GradientSum, gradient_sums
from autopart.runtime.flat import Sharers
from autopart.runtime.gradients import GradientSummer
from autopart.runtime.heap import return_freed_memory
from autopart.runtime.lending import Lender
from autopart.runtime.package import Package
from autopart.runtime.tree import Tree
from autopart.runtime.world import World, members
from autopart.runtime.zero import ZeroGroup


def divided(package: Package, rank: int) -> tuple[list[GradientSum], list[GradientSum]]:
    """The sums that a rank takes part in: of parameters that it holds, and of those that the ranks of the sum share out."""
    frozen = {row.name for row in package.parameters if not row.trainable}
    held: list[GradientSum] = []
    shared: list[GradientSum] = []
    for each in gradient_sums(package.program):
        if rank not in each.ranks:
            continue
        apart = each.shared_out(frozen)
        rest = [name for name in each.parameters if name not in apart]
        held += [replace(each, parameters=tuple(rest), zero=0)] if rest else []
        shared += [replace(each, parameters=apart)] if apart else []
    return held, shared


def summers(sums: Sequence[GradientSum], world: World, tree: Tree, bucket_bytes: int) -> list[GradientSummer]:
    """Of gradients of whole parameters."""
    held = dict(tree.named_parameters())
    return [
        GradientSummer(
            [held[name] for name in each.parameters],
            world.sums[members(each.ranks)],
            world.wire,
            overlap=len(each.stages) == 1,
            bucket_bytes=bucket_bytes,
        )
        for each in sums
    ]


def share_out(sums: Sequence[GradientSum], world: World, tree: Tree, lender: Lender, bucket_bytes: int) -> list[ZeroGroup]:
    """Puts this rank's part into the tree in place of each parameter, and lends the whole one to whoever computes with it."""
    if sums and world.device.type == "cpu":
        return_freed_memory()
    groups = []
    for each in sums:
        parameters: dict[str, nn.Parameter] = {name: tree.get_parameter(name) for name in each.parameters}
        ranks = members(each.ranks)
        sharers = Sharers(ranks.index(world.rank), len(ranks), world.gathers[ranks], world.sums[ranks], world.wire)
        group = ZeroGroup(parameters, sharers, each.zero, world.device, lender, bucket_bytes=bucket_bytes)
        for name, part in group.parts.items():
            tree.put_parameter(name, part)
            tree.lend(name, partial(group.read, name))
        groups.append(group)
    return groups
