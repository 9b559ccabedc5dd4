"""The constraint solver, so that Ctrl-C stops it and reaches whoever called it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ortools.sat.python import cp_model


def make_solver() -> cp_model.CpSolver:
    """One worker and a fixed seed: the same search every time. Signals are left alone: a solver that catches an interrupt would
    swallow it, and leave the next one to end the process.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.catch_sigint_signal = False
    return solver


def run(solver: cp_model.CpSolver, model: cp_model.CpModel) -> cp_model.CpSolverStatus:
    """Solve beside the main thread, which so hears of Ctrl-C at once."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(solver.solve, model)
        try:
            return running.result()
        except KeyboardInterrupt:
            solver.stop_search()
            raise
