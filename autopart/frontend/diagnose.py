"""What goes wrong while tracing, said in the user's terms: the module, the line, the remedy."""

from __future__ import annotations

import io
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

import sympy  # type: ignore[import-untyped]
from torch import nn

from autopart.errors import AutopartError, TraceError
from autopart.frontend.internals import GuardOnDataDependentSymNode, depends_on_values, on_custom_function, on_guard
from autopart.frontend.lift import data_dependent, is_engine

SAMPLES = (*range(2, 98), 211, 499, 1009, 2003)
"""Batch sizes at which an assumption of the tracer is tried. One exception is no more than a broadcast that was ruled out."""

REGISTERED = "torch._library.autograd"  # backwards of torch.library ops: those stay whole in the trace
INLINED = ("torch.utils.checkpoint.",)
FIXED_BATCH = (
    "Take sizes from the tensors, as in x.view(x.size(0), -1) (len(x) is a fixed number), and keep Python branches and "
    "loops off them: every rank runs this code on its own share of the samples."
)
RUNS = "Does the model run on its example inputs? If it does:"


@dataclass
class Findings:
    """What was seen while tracing: assumptions about the batch size, with the places that made them."""

    assumptions: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def watching(model: nn.Module) -> Iterator[Findings]:
    """Collects findings; refuses custom autograd functions, whose backward torch.export would silently drop."""
    findings = Findings()

    def guard(assumption: Any, frame: FrameType) -> None:
        if not _holds(assumption):
            findings.assumptions.append((_readable(assumption), place_of(frame, model)))

    def function(cls: type, frame: FrameType) -> None:
        if f"{cls.__module__}.".startswith(INLINED) or cls.__module__ == REGISTERED:
            return
        raise TraceError(
            f"the custom autograd function {cls.__name__}: its backward would be lost",
            where=place_of(frame, model),
            remedy="Write it with ordinary operations (a straight-through estimator is x + (f(x) - x).detach()), or register it "
            "as an op: torch.library.custom_op with register_autograd.",
        )

    # torch prints the whole graph to stderr when an export fails
    with on_guard(guard), on_custom_function(function), _quiet(), redirect_stderr(io.StringIO()):
        yield findings


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch from printing graphs and stacks of what is said better here."""
    logger = logging.getLogger("torch")
    children = [item for name, item in logging.root.manager.loggerDict.items() if name.startswith("torch.")]
    loggers = [logger, *(child for child in children if isinstance(child, logging.Logger))]
    before = [item.disabled for item in loggers]
    for item in loggers:
        item.disabled = True
    try:
        yield
    finally:
        for item, disabled in zip(loggers, before, strict=True):
            item.disabled = disabled


def _holds(guard: Any) -> bool:
    """Whether an assumption holds for every batch size, but for one at most."""
    if not isinstance(guard, sympy.Basic) or any(map(depends_on_values, guard.free_symbols)):
        return True
    broken = 0
    for size in SAMPLES:
        broken += guard.xreplace({symbol: sympy.Integer(size) for symbol in guard.free_symbols}) == sympy.false
        if broken > 1:
            return False
    return True


def _readable(guard: sympy.Basic) -> str:
    """The assumption with the batch size called so."""
    if isinstance(guard, sympy.Eq) and guard.lhs.is_Symbol and guard.rhs.is_Integer:
        return f"one fixed number of samples ({guard.rhs}, in the example batch)"
    if isinstance(guard, sympy.Eq):
        text = f"{guard.lhs} == {guard.rhs}"
    elif isinstance(guard, sympy.Ne):
        text = f"{guard.lhs} != {guard.rhs}"
    else:
        text = str(guard)
    for symbol in sorted(guard.free_symbols, key=str):
        text = re.sub(rf"\b{symbol}\b", "batch", text)
    return text


class FixedBatchError(TraceError):
    """The model ran, but for some batch sizes only; another example batch may show that it was chance."""


def assumed(findings: Findings) -> FixedBatchError | None:
    """The first assumption about the batch size, as an error."""
    if not findings.assumptions:
        return None
    what, where = findings.assumptions[0]
    return FixedBatchError(f"the code works for some batch sizes only: it assumes {what}", where=where, remedy=FIXED_BATCH)


def explain(error: Exception, findings: Findings, model: nn.Module, file: str) -> AutopartError:
    """The error to show in place of one that torch.export or the model raised. ``file`` is named where no line is known."""
    if isinstance(error, AutopartError):
        return error
    where = place_of_error(error, model) or file
    if isinstance(error, GuardOnDataDependentSymNode) or "data-dependent" in str(error).lower():
        return data_dependent("Python code that depends on a tensor's values", where)
    if "specialized" in str(error) and (assumption := assumed(findings)):
        return assumption
    text = str(error).strip().split("\n")[0]
    if "invalid for input of size" in text or "specialized" in text:
        return FixedBatchError(f"a size that does not follow the batch size: {unsymbolic(text)}", where=where, remedy=FIXED_BATCH)
    if unsymbolic(text) != text:
        advice = f"{RUNS} {FIXED_BATCH[0].lower()}{FIXED_BATCH[1:]}"
        return TraceError(f"sizes that do not fit: {unsymbolic(text)}", where=where, remedy=advice)
    return TraceError(
        f"the model can't be traced: {type(error).__name__}: {unsymbolic(text)}",
        where=where,
        remedy=f"{RUNS} this line needs something that torch.export does not support.",
    )


def unsymbolic(text: str) -> str:
    """Text of torch with the batch size called so."""
    return re.sub(r"\bs\d+\b", "batch", text)


def place_of_error(error: Exception, model: nn.Module) -> str:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return _place(list(reversed(frames)), model)


def place_of(frame: FrameType | None, model: nn.Module) -> str:
    """The innermost line of the user's code on the stack of ``frame``, and the module that it runs in."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return _place(frames, model)


def _place(frames: list[FrameType], model: nn.Module) -> str:
    """``frames`` innermost first; what lies outside the tracing is not looked at."""
    paths = {id(module): path for path, module in model.named_modules()}
    inner = list(takewhile(lambda f: not f.f_code.co_filename.endswith("frontend/trace.py"), frames))
    module = next((f.f_locals["self"] for f in inner if id(f.f_locals.get("self")) in paths), None)
    own = [f for f in inner if not is_engine(f.f_code.co_filename)]
    line = f"{Path(own[0].f_code.co_filename).name}:{own[0].f_lineno}" if own else ""
    if module is None:
        return line
    name = paths[id(module)] or type(module).__name__
    return f"{line} (in module {name})" if line else f"module {name}"
