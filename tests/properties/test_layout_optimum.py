"""The per-op problem's optimum against an integer program of the same tables, and against layouts drawn at random."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from ortools.sat.python import cp_model

from autopart.tensor.eliminate import Table, minimize
from tests.fronts import front
from tests.parity.layouts import bare_network

SCALE = 1e10  # integers for the integer program


@pytest.mark.parametrize(("name", "weights"), [("mlp", (1, 1)), ("gpt2", (1, 1)), ("dlrm", (3, 1)), ("resnet", (1, 1, 1))])
def test_as_an_integer_program(name: str, weights: tuple[int, ...]) -> None:
    net = bare_network(front(name), weights)
    cost, values = minimize(net.sizes, net.tables)
    assert price(net.tables, values) == pytest.approx(cost, rel=1e-12)
    assert cost == pytest.approx(solved(net.sizes, net.tables), rel=1e-6)


@pytest.mark.parametrize("name", ["llama", "mixtral", "unet"])
def test_no_layout_is_cheaper(name: str) -> None:
    net = bare_network(front(name), (1, 1))
    cost, _ = minimize(net.sizes, net.tables)
    lot = random.Random(name)
    legal = [Table(table.variables, np.where(np.isfinite(table.cost), 0.0, np.inf)) for table in net.tables]
    for _ in range(50):
        lots = [Table((v,), np.array([lot.random() for _ in range(size)])) for v, size in enumerate(net.sizes)]
        _, other = minimize(net.sizes, [*legal, *lots])
        assert np.isfinite(price(net.tables, other))
        assert cost <= price(net.tables, other) * (1 + 1e-12)


def price(tables: list[Table], values: tuple[int, ...]) -> float:
    return sum(float(table.cost[tuple(values[v] for v in table.variables)]) for table in tables)


def solved(sizes: list[int], tables: list[Table]) -> float:
    """By CP-SAT: a boolean for every value of a variable and every entry of a table, which goes with its values alone."""
    model = cp_model.CpModel()
    chosen = [[model.new_bool_var("") for _ in range(size)] for size in sizes]
    for each in chosen:
        model.add_exactly_one(each)
    terms: list[cp_model.LinearExprT] = []
    for table in tables:
        cells = {
            cell: model.new_bool_var("")
            for cell in itertools.product(*map(range, table.cost.shape))
            if np.isfinite(table.cost[cell])
        }
        for axis, variable in enumerate(table.variables):
            for value, literal in enumerate(chosen[variable]):
                model.add(sum(on for cell, on in cells.items() if cell[axis] == value) == literal)
        terms += [round(float(table.cost[cell]) * SCALE) * on for cell, on in cells.items()]
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False
    solver.parameters.max_time_in_seconds = 120
    solver.parameters.relative_gap_limit = 1e-7
    assert solver.solve(model) == cp_model.OPTIMAL
    return solver.objective_value / SCALE
