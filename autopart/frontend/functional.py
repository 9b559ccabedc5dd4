"""In-place ops -> functional ops, exactly: what an in-place op wrote through a view is scattered back into the whole.

Writes into an activation become new values; later reads, of other views too, see the new value, as autograd does it on one
device. A write into a buffer stays (``aten.add_.Tensor`` with ``mutates``); one into part of a buffer becomes a new whole
and ``aten.copy_``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch.export.graph_signature import InputKind

from autopart.errors import TraceError
from autopart.frontend.internals import schema_of, share_memory
from autopart.frontend.lift import COPIES, STATISTICS, Draft, value_of
from autopart.ir.graph import Argument, Op, Ref, Symbol

# Views whose write-back is a scatter with the same arguments.
SCATTERS = {
    "aten.slice.Tensor": "aten.slice_scatter.default",
    "aten.select.int": "aten.select_scatter.default",
    "aten.diagonal.default": "aten.diagonal_scatter.default",
}
# Views that only reshape: the inverse is a reshape to the whole's sizes.
RESHAPES = (
    "aten.view.default", "aten.reshape.default", "aten.unsqueeze.default", "aten.squeeze.default", "aten.squeeze.dim",
    "aten.squeeze.dims", "aten.flatten.using_ints", "aten.unflatten.int", "aten._unsafe_view.default", "aten.view_as.default",
)  # fmt: skip
SAME = ("aten.alias.default", "aten.contiguous.default", "aten.to.dtype", "aten.to.dtype_layout", "aten.detach_.default")
SWAPS = ("aten.transpose.int", "aten.t.default", "aten.numpy_T.default", "aten.mT.default")
MAXIMUM = 2**63 - 1
DRAWS = {"bernoulli": ("bernoulli", "p"), "normal": ("normal_functional", "default")}


@dataclass
class _State:
    """What is known halfway through the ops.

    ``current`` is the newest version of a written value; ``views`` maps a value that shares memory with another to that other
    value, the op that made it, and its index among the op's results; ``writes`` counts the writes into a root, ``stamps``
    says how many of them a view has seen.
    """

    draft: Draft
    ops: list[Op] = field(default_factory=list)
    current: dict[str, str] = field(default_factory=dict)
    views: dict[str, tuple[str, Op, int]] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    count: int = 0


def functionalize(draft: Draft) -> Draft:
    """The same draft with in-place ops on activations replaced."""
    if not any(op.mutates for op in draft.ops):
        return draft
    state = _State(draft)
    for op in draft.ops:
        _step(state, op)
    return Draft(draft.leaves, state.ops, draft.fakes, set(), state.current.get(draft.loss, draft.loss))


def _step(state: _State, op: Op) -> None:
    for name in op.inputs:
        _refresh(state, name)
    renamed = {name: state.current.get(name, name) for name in op.inputs}
    if op.kind in STATISTICS or not op.mutates:
        state.ops.append(_rename(op, renamed))
        _note_views(state, op)
        return
    if len(op.mutates) == 1 and len(op.outputs) == 1 and (kind := _without_out(op)):
        made = _fresh(state, op.name, state.draft.fakes[op.outputs[0].name])
        value, kwargs = value_of(made, state.draft.fakes[made]), tuple(item for item in op.kwargs if item[0] != "out")
        _step(state, replace(op, name=made, kind=kind, kwargs=kwargs, outputs=(value,), mutates=()))
        op = replace(op, kind="aten.copy_.default", args=(Ref(op.mutates[0]), Ref(made)), kwargs=())
        renamed = {name: state.current.get(name, name) for name in op.inputs}
    if len(op.mutates) != 1 or len(op.outputs) > 1 or not op.kind.split(".")[1].endswith("_"):
        raise _refusal(op, f"{op.kind} writes in place in a way that can't be followed")
    _write(state, op, renamed)


def _without_out(op: Op) -> str:
    """The kind that returns what this one writes into ``out``; "" where it has no ``out``."""
    packet, overload = op.kind.removeprefix("aten.").split(".")
    overloads = getattr(torch.ops.aten, packet, None)
    if overloads is None or not any(name == "out" for name, _ in op.kwargs):
        return ""

    def inputs(name: str) -> list[tuple[str, str]]:
        arguments = schema_of(getattr(overloads, name)).arguments
        return [(each.name, str(each.type)) for each in arguments if not each.is_out]

    plain = (name for name in overloads.overloads() if "out" not in name and inputs(name) == inputs(overload))
    return next((f"aten.{packet}.{name}" for name in plain), "")


def _write(state: _State, op: Op, renamed: dict[str, str]) -> None:
    target = op.mutates[0]
    root = _root(state, target)
    kind, path = state.draft.leaves.get(root, (None, ""))
    if kind == InputKind.PARAMETER:
        raise _refusal(op, f"the forward pass writes into the parameter {path.removeprefix('model.')}")
    if kind == InputKind.BUFFER and _same_memory(state, target) == root:
        if op.outputs[0].name in state.draft.silent:
            renamed = {name: _detached(state, op, new) for name, new in renamed.items() if name != target}
        op_now = _rename(op, renamed)
        state.ops.append(replace(op_now, args=(Ref(root), *op_now.args[1:]), mutates=(root,), outputs=()))
        _alias_result(state, op, target)
        return
    if op.outputs[0].name in state.draft.silent and root not in state.draft.silent and kind is None:
        raise _refusal(op, "an in-place write under no_grad into a value that carries gradients")
    written = _functional(state, op, renamed)
    if op.outputs[0].name in state.draft.silent:
        written = _detached(state, op, written)
    _propagate(state, target, written, op)
    _alias_result(state, op, target)
    if kind == InputKind.BUFFER:
        whole = state.current.pop(root)
        state.ops.append(
            replace(
                op,
                name=f"{op.name}@",
                kind="aten.copy_.default",
                args=(Ref(root), Ref(whole)),
                kwargs=(),
                outputs=(),
                mutates=(root,),
            )
        )


def _same_memory(state: _State, name: str) -> str:
    """What a value is but for its name: results of in-place ops are their targets."""
    while name in state.views and state.views[name][1].kind == "aten.alias.default":
        name = state.views[name][0]
    return name


def _alias_result(state: _State, op: Op, target: str) -> None:
    """The result of an in-place op is its target."""
    for output in op.outputs:
        identity = replace(op, kind="aten.alias.default", args=(Ref(target),), kwargs=(), mutates=())
        state.views[output.name] = (target, identity, 0)
        state.stamps[output.name] = -1  # stale: derived when it is read


def _functional(state: _State, op: Op, renamed: dict[str, str]) -> str:
    """Appends the functional twin of an in-place op and returns its result."""
    packet, overload = op.kind.removeprefix("aten.").split(".")
    base = packet.removesuffix("_")
    name = _fresh(state, op.name, state.draft.fakes[op.mutates[0]])
    output = value_of(name, state.draft.fakes[name])
    op = replace(_rename(op, renamed), name=name, outputs=(output,), mutates=())
    rest = op.args[1:]
    if base in ("copy", "fill", "zero"):
        return _overwrite(state, op, rest[0] if rest else 0)
    base, overload = DRAWS.get(base, (base, overload))
    packets = getattr(torch.ops.aten, base, None)
    if packets is None or overload not in packets.overloads():
        raise _refusal(op, f"{op.kind} has no functional form")
    state.ops.append(replace(op, kind=f"aten.{base}.{overload}"))
    return name


def _detached(state: _State, op: Op, written: str) -> str:
    """What is written under no_grad carries no gradient."""
    fake = state.draft.fakes[written]
    if not (fake.is_floating_point() or fake.is_complex()):
        return written
    name = _fresh(state, written, fake)
    state.ops.append(
        replace(
            op,
            name=name,
            kind="aten.detach.default",
            args=(Ref(written),),
            kwargs=(),
            outputs=(value_of(name, fake),),
            mutates=(),
        )
    )
    return name


def _overwrite(state: _State, op: Op, source: Argument) -> str:
    """The value of ``copy_`` and ``fill_``: the source, in the target's dtype and sizes."""
    output = op.outputs[0]
    if not isinstance(source, Ref):
        dtype = Symbol(f"torch.{output.dtype}")
        state.ops.append(replace(op, kind="aten.full.default", args=(output.shape, source), kwargs=(("dtype", dtype),)))
        return op.name
    name, fake = source.name, state.draft.fakes[source.name]
    if value_of("", fake).dtype != output.dtype:
        cast = _fresh(state, f"{op.name}.to", fake.to(state.draft.fakes[op.name].dtype))
        value = value_of(cast, state.draft.fakes[cast])
        state.ops.append(
            replace(
                op,
                name=cast,
                kind="aten.to.dtype",
                args=(Ref(name), Symbol(f"torch.{output.dtype}")),
                kwargs=(),
                outputs=(value,),
            )
        )
        name = cast
    if value_of("", fake).shape == output.shape:
        return name
    state.ops.append(replace(op, kind="aten.expand.default", args=(Ref(name), output.shape), kwargs=()))
    return op.name


def _propagate(state: _State, target: str, written: str, op: Op) -> None:
    """Makes ``written`` the newest version of ``target`` and scatters it back into what it is a view of."""
    root = _root(state, target)
    state.writes[root] = state.writes.get(root, 0) + 1
    while True:
        state.current[target] = written
        state.stamps[target] = state.writes[root]
        if target not in state.views:
            return
        parent, view, index = state.views[target]
        _refresh(state, parent, upto=state.writes[root] - 1)
        written = _scatter(state, parent, view, index, written, op)
        target = parent


def _scatter(state: _State, parent: str, view: Op, index: int, written: str, op: Op) -> str:
    whole, rest = state.current.get(parent, parent), tuple(_renamed(arg, state.current) for arg in view.args[1:])
    fake = state.draft.fakes[parent]
    value = value_of(parent, fake)
    if view.kind in SAME:
        return written
    kind: str
    args: tuple[Argument, ...]
    if view.kind == "aten.slice.Tensor" and fake.is_complex():
        kind, args = _splice(state, parent, view, whole, written)
    elif view.kind in SCATTERS:
        kind, args = SCATTERS[view.kind], (Ref(whole), Ref(written), *rest)
    elif view.kind in RESHAPES:
        kind, args = "aten.reshape.default", (Ref(written), value.shape)
    elif view.kind in SWAPS:
        kind, args = view.kind, (Ref(written), *rest)
    elif view.kind == "aten.permute.default":
        dims = [dim % fake.dim() for dim in view.args[1]]  # type: ignore[union-attr,operator]
        kind, args = "aten.permute.default", (Ref(written), tuple(dims.index(i) for i in range(len(dims))))
    elif view.kind in ("aten.split.Tensor", "aten.chunk.default", "aten.unbind.int"):
        kind, args = _scatter_part(state, view, index, whole, written)
    else:
        raise _refusal(op, f"an in-place write through {view.kind}")
    name = _fresh(state, parent, fake)
    state.ops.append(replace(op, name=name, kind=kind, args=args, kwargs=(), outputs=(value_of(name, fake),), mutates=()))
    return name


def _splice(state: _State, parent: str, view: Op, whole: str, written: str) -> tuple[str, tuple[Argument, ...]]:
    """A complex slice_scatter as a cat: autograd has no derivative for the former."""
    defaults: tuple[Argument, ...] = (0, 0, MAXIMUM, 1)
    dim, start, stop, step = (*view.args[1:], *defaults[len(view.args) - 1 :])
    if not isinstance(dim, int) or not isinstance(start, int | None) or not isinstance(stop, int | None) or step != 1:
        raise _refusal(view, "an in-place write into strided or batch-sized parts of a complex tensor")
    parts = []
    for first, last in ((0, start or 0), (MAXIMUM if stop is None else stop, MAXIMUM)):
        piece = torch.ops.aten.slice.Tensor(state.draft.fakes[parent], dim, first, last)
        name = _fresh(state, parent, piece)
        slicing = replace(view, name=name, args=(Ref(whole), dim, first, last), kwargs=(), outputs=(value_of(name, piece),))
        empty = not isinstance(piece.shape[dim], torch.SymInt) and piece.shape[dim] == 0
        state.ops += [] if empty else [slicing]
        parts.append(() if empty else (Ref(name),))
    return "aten.cat.default", ((*parts[0], Ref(written), *parts[1]), dim)


def _scatter_part(state: _State, view: Op, index: int, whole: str, written: str) -> tuple[str, tuple[Argument, ...]]:
    position = 0 if view.kind == "aten.unbind.int" else 1
    dim = view.args[-1] if len(view.args) == position + 2 else dict(view.kwargs).get("dim", 0)
    assert isinstance(dim, int)
    if view.kind == "aten.unbind.int":
        return "aten.select_scatter.default", (Ref(whole), Ref(written), dim, index)
    sizes = [state.draft.fakes[output.name].shape[dim] for output in view.outputs]
    if not all(isinstance(size, int) for size in sizes):
        raise _refusal(view, "an in-place write into a part of the batch")
    start = sum(sizes[:index])
    return "aten.slice_scatter.default", (Ref(whole), Ref(written), dim, start, start + sizes[index])


def _refresh(state: _State, name: str, upto: int | None = None) -> None:
    """Derives a view again where what it looks at was written since."""
    if name not in state.views:
        return
    root = _root(state, name)
    version = state.writes.get(root, 0) if upto is None else upto
    if state.stamps.get(name, 0) >= version:
        return
    parent, view, index = state.views[name]
    _refresh(state, parent, upto)
    state.stamps[name] = version
    if view.kind == "aten.alias.default":
        state.current[name] = state.current.get(parent, parent)
        return
    names = [_fresh(state, output.name, state.draft.fakes[output.name]) for output in view.outputs]
    outputs = tuple(value_of(fresh, state.draft.fakes[fresh]) for fresh in names)
    args = (Ref(state.current.get(parent, parent)), *(_renamed(arg, state.current) for arg in view.args[1:]))
    state.ops.append(replace(view, name=names[0], args=args, outputs=outputs))
    state.current[name] = names[index]


def _note_views(state: _State, op: Op) -> None:
    """Remembers which results share memory with the first argument."""
    if not op.args or not isinstance(op.args[0], Ref) or op.kind in COPIES:
        return
    parent = op.args[0].name
    for index, output in enumerate(op.outputs):
        if output.name not in state.views and share_memory(state.draft.fakes[parent], state.draft.fakes[output.name]):
            state.views[output.name] = (parent, op, index)
            state.stamps[output.name] = state.writes.get(_root(state, parent), 0)


def _root(state: _State, name: str) -> str:
    while name in state.views:
        name = state.views[name][0]
    return name


def _fresh(state: _State, base: str, fake: torch.Tensor) -> str:
    state.count += 1
    name = f"{base}~{state.count}"
    state.draft.fakes[name] = fake
    return name


def _rename(op: Op, names: dict[str, str]) -> Op:
    return replace(
        op,
        args=tuple(_renamed(arg, names) for arg in op.args),
        kwargs=tuple((key, _renamed(arg, names)) for key, arg in op.kwargs),
        mutates=tuple(names.get(name, name) for name in op.mutates),
    )


def _renamed(arg: Argument, names: dict[str, str]) -> Argument:
    if isinstance(arg, Ref):
        return Ref(names.get(arg.name, arg.name))
    if isinstance(arg, tuple):
        return tuple(_renamed(item, names) for item in arg)
    return arg


def _refusal(op: Op, what: str) -> TraceError:
    where = f"{op.source} (in module {op.module})" if op.module else op.source
    return TraceError(
        what, where=where, remedy="Write it without the in-place operation, for example with torch.where or torch.cat."
    )
