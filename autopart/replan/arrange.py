"""Which of equal devices does what: the arrangement of a plan that leaves most of the training state where it is.

Nodes of one group are equal, and so are the devices of a node. Exchanging what two of them do changes neither price nor
simulation; a replica that was priced within a node stays there. The best exchange is an assignment of what nodes do to nodes, and
inside each pair of an assignment of what devices do to devices; both are solved exactly.

With ZeRO it is exact but for one thing: which part of a stage's state a rank has follows from the order of rank numbers (process
groups are sorted), so that exchanging ranks within a stage changes nothing. There the assignment goes by the parts before the
exchange, and ``replan`` takes it only where it does move less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from ortools.graph.python.linear_sum_assignment import SimpleLinearSumAssignment

from autopart.cluster.cluster import Cluster
from autopart.plans import Plan
from autopart.replan.overlap import Shares

Values = tuple[tuple[int, ...], ...]
"""[n][n]: what a pair is worth, the larger the better."""


def arranged(plan: Plan, held: Shares, same: Mapping[int, int], cluster: Cluster) -> Plan:
    """The plan with its ranks exchanged. ``held`` has the bytes of ranks of the plan that each old rank had already; ``same`` has
    old ranks by new ones.
    """
    doing: dict[int, int] = {}  # rank that does what a rank of the plan does
    for group in range(len(cluster.groups)):
        doing |= _exchange(_nodes(cluster, group), held, same)
    stages = tuple(replace(stage, ranks=tuple(doing[rank] for rank in stage.ranks)) for stage in plan.stages)
    used = {rank for stage in stages for rank in stage.ranks}
    return replace(plan, stages=stages, unused_ranks=tuple(r.rank for r in cluster.ranks if r.rank not in used))


def _nodes(cluster: Cluster, group: int) -> list[list[int]]:
    nodes: dict[int, list[int]] = {}
    for rank in cluster.ranks:
        if rank.group == group:
            nodes.setdefault(rank.node, []).append(rank.rank)
    return list(nodes.values())


def _exchange(nodes: Sequence[Sequence[int]], held: Shares, same: Mapping[int, int]) -> dict[int, int]:
    """New ranks by ranks of the plan, all of one group."""

    def worth(devices: Sequence[int], tasks: Sequence[int]) -> Values:
        was = [same.get(device) for device in devices]
        return tuple(tuple(0 if w is None else held.get((w, task), 0) for task in tasks) for w in was)

    pairs = [[worth(node, tasks) for tasks in nodes] for node in nodes]
    totals = tuple(tuple(sum(v[i][j] for i, j in enumerate(best(v))) for v in row) for row in pairs)
    found: dict[int, int] = {}
    for node, tasks in enumerate(best(totals)):
        for device, task in enumerate(best(pairs[node][tasks])):
            found[nodes[tasks][task]] = nodes[node][device]
    return found


@lru_cache(maxsize=2**14)
def best(values: Values) -> tuple[int, ...]:
    """The column of each row, each column once, worth most together; of equal ones one that leaves most rows with their own."""
    size = len(values)
    if not any(map(any, values)):
        return tuple(range(size))
    worth = np.array(values, dtype=np.int64) * (size + 1) + np.eye(size, dtype=np.int64)
    rows, columns = np.divmod(np.arange(size * size), size)
    problem = SimpleLinearSumAssignment()
    problem.add_arcs_with_cost(rows, columns, (worth.max() - worth).ravel())
    status = problem.solve()
    assert status == problem.OPTIMAL, f"assignment of {size} ended with {status}"
    return tuple(problem.right_mate(row) for row in range(size))
