"""Says dtypes that torch would take from its default: a graph means the same whatever the default is when it runs."""

from __future__ import annotations

from dataclasses import replace

import torch

from autopart.frontend.cleanup import renamed
from autopart.frontend.internals import schema_of
from autopart.frontend.interpret import overload
from autopart.frontend.lift import Draft, value_of
from autopart.ir.graph import Op, Ref, Symbol

SELECTIONS = ("aten.where.",)


def pin_dtypes(draft: Draft) -> Draft:
    """Adds ``dtype`` to ops that make a floating tensor from sizes, and casts integers where an op makes floats of them."""
    ops: list[Op] = []
    for op in draft.ops:
        if not _takes_default(draft, op):
            ops.append(op)
        elif _has_dtype(op):
            ops.append(replace(op, kwargs=(*op.kwargs, ("dtype", Symbol(f"torch.{op.outputs[0].dtype}")))))
        else:
            ops += _with_casts(draft, op)
    return replace(draft, ops=ops)


def _takes_default(draft: Draft, op: Op) -> bool:
    """Whether a floating result follows from no floating input and no dtype."""
    if len(op.outputs) != 1 or not op.outputs[0].floating or op.kind.startswith(("aten.to.", *SELECTIONS)):
        return False
    if any(isinstance(arg, Symbol) and arg.text.startswith("torch.") for arg in (*op.args, *dict(op.kwargs).values())):
        return False
    return not any(draft.fakes[name].is_floating_point() or draft.fakes[name].is_complex() for name in op.inputs)


def _has_dtype(op: Op) -> bool:
    return any(argument.name == "dtype" for argument in schema_of(overload(op.kind)).arguments)


def _with_casts(draft: Draft, op: Op) -> list[Op]:
    wanted = draft.fakes[op.outputs[0].name].dtype
    casts: list[Op] = []
    names: dict[str, str] = {}
    for source in op.inputs:
        names[source] = name = f"{op.name}^{source}"
        with torch.no_grad():
            draft.fakes[name] = draft.fakes[source].to(wanted)
        value = value_of(name, draft.fakes[name])
        casts.append(
            replace(op, name=name, kind="aten.to.dtype", args=(Ref(source), Symbol(str(wanted))), kwargs=(), outputs=(value,))
        )
    return [*casts, renamed(op, names)]
