"""Elimination against trying everything, and against the same problem as an integer program."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from autopart.tensor.eliminate import Table, minimize


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[Table]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=7))
    tables = []
    for _ in range(draw(st.integers(0, 9))):
        variables = draw(st.permutations(range(len(sizes))))[: draw(st.integers(0, min(3, len(sizes))))]
        shape = [sizes[v] for v in variables]
        entries = draw(
            st.lists(st.integers(0, 20), min_size=int(np.prod(shape, dtype=int)), max_size=int(np.prod(shape, dtype=int)))
        )
        cost = np.array(entries, dtype=float).reshape(shape)
        tables.append(Table(tuple(variables), np.where(cost == 20, np.inf, cost)))
    return sizes, tables


def total(tables: list[Table], values: tuple[int, ...]) -> float:
    return sum(float(table.cost[tuple(values[v] for v in table.variables)]) for table in tables)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_as_trying_everything(problem: tuple[list[int], list[Table]]) -> None:
    sizes, tables = problem
    cost, values = minimize(sizes, tables)
    assert cost == min(total(tables, each) for each in itertools.product(*map(range, sizes)))
    assert total(tables, values) == cost


@pytest.mark.parametrize("seed", range(5))
def test_as_an_integer_program(seed: int) -> None:
    """A ring with chords of 10 variables: as tables, and as booleans with implications."""
    rng = np.random.default_rng(seed)
    sizes = [3] * 10
    pairs = [(v, (v + k) % 10) for v in range(10) for k in (1, 3)]
    tables = [Table(pair, rng.integers(0, 100, (3, 3)).astype(float)) for pair in pairs]
    model = cp_model.CpModel()
    chosen = [[model.new_bool_var(f"{v}={i}") for i in range(3)] for v in range(10)]
    for each in chosen:
        model.add_exactly_one(each)
    terms = []
    for table in tables:
        a, b = table.variables
        for i, j in itertools.product(range(3), range(3)):
            both = model.new_bool_var("")
            model.add_bool_or([chosen[a][i].negated(), chosen[b][j].negated(), both])
            terms.append(int(table.cost[i, j]) * both)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False
    assert solver.solve(model) == cp_model.OPTIMAL
    assert minimize(sizes, tables)[0] == solver.objective_value
