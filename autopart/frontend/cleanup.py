"""Draft -> Draft passes that drop what does nothing and spell one thing one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch.export.graph_signature import InputKind

from autopart.frontend.internals import share_memory
from autopart.frontend.lift import COPIES, STATISTICS, Draft, value_of
from autopart.ir.graph import Argument, Op, Ref, Symbol

CASTS = (
    "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.to.other", "aten._to_copy.default", "aten.type_as.default",
    "aten.to.prim_Device", "aten.to.prim_dtype",
)  # fmt: skip
VIEWS = (
    "aten.view.default",
    "aten._unsafe_view.default",
    "aten.view_as.default",
    "aten.reshape_as.default",
    "aten.expand_as.default",
)
NOTHING_IF_SAME = (
    "aten.contiguous.default", "aten.slice.Tensor", "aten.expand.default", "aten.expand_as.default", "aten.view.default",
    "aten.reshape.default", "aten.flatten.using_ints", "aten.view_as.default", "aten.reshape_as.default",
)  # fmt: skip
RANDOM_NAMES = ("dropout", "rand", "normal", "bernoulli", "multinomial", "rrelu", "uniform", "exponential", "random", "empty")

Decision = str | Op | None
"""What becomes of an op: another value takes its place (its name), another op does, or it stays (None)."""


def rewrite(draft: Draft, decide: Callable[[Op], Decision]) -> Draft:
    """Applies ``decide`` to every op, in order."""
    names: dict[str, str] = {}
    ops: list[Op] = []
    for op in draft.ops:
        op = renamed(op, names)
        match decide(op):
            case None:
                ops.append(op)
            case Op() as other:
                ops.append(other)
            case str() as name:
                names[op.outputs[0].name] = name
    return Draft(draft.leaves, ops, draft.fakes, draft.silent, names.get(draft.loss, draft.loss))


def renamed(op: Op, names: dict[str, str]) -> Op:
    """The op with values renamed, in every place it names one."""
    if not names or not any(name in names for name in (*op.inputs, *(value.name for value in op.outputs))):
        return op
    return replace(
        op,
        args=tuple(_renamed(arg, names) for arg in op.args),
        kwargs=tuple((key, _renamed(arg, names)) for key, arg in op.kwargs),
        outputs=tuple(replace(value, name=names.get(value.name, value.name)) for value in op.outputs),
        mutates=tuple(names.get(name, name) for name in op.mutates),
    )


def _renamed(arg: Argument, names: dict[str, str]) -> Argument:
    if isinstance(arg, Ref):
        return Ref(names.get(arg.name, arg.name))
    if isinstance(arg, tuple):
        return tuple(_renamed(item, names) for item in arg)
    return arg


def drop_identities(draft: Draft) -> Draft:
    """Drops ops whose result *is* their argument, memory included; casts become ``aten.to.dtype``."""

    def decide(op: Op) -> Decision:
        if not op.args or not isinstance(op.args[0], Ref) or not op.outputs:
            return None
        source, fake = op.args[0].name, draft.fakes[op.outputs[0].name]
        if op.kind in ("aten.alias.default", "aten.lift_fresh.default"):
            return source
        if op.kind == "aten.detach_.default" and draft.leaves.get(source, (None,))[0] != InputKind.PARAMETER:
            return source
        if op.kind in NOTHING_IF_SAME:
            return source if _same(draft.fakes[source], fake) else None
        if op.kind in ("aten.dropout.default", "aten.feature_dropout.default") and (op.args[1] == 0 or not op.args[2]):
            return source
        if op.kind in CASTS:
            return _cast(op, draft.fakes[source], fake)
        return None

    return rewrite(draft, decide)


def _cast(op: Op, source: torch.Tensor, result: torch.Tensor) -> Decision:
    assert isinstance(op.args[0], Ref)
    if source.dtype == result.dtype:
        if _same(source, result):
            return op.args[0].name
        return replace(op, kind="aten.clone.default", args=op.args[:1], kwargs=())
    return replace(op, kind="aten.to.dtype", args=(op.args[0], Symbol(str(result.dtype))), kwargs=())


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether the second is the first: one memory, equal sizes and strides."""
    return (
        share_memory(first, second)
        and first.dtype == second.dtype
        and tuple(first.shape) == tuple(second.shape)
        and first.stride() == second.stride()
        and first.storage_offset() == second.storage_offset()
    )


def drop_copies(draft: Draft) -> Draft:
    """Once nothing is written in place any more, a copy is its source. A copy into another memory layout stays ``contiguous``."""

    def decide(op: Op) -> Decision:
        if op.kind not in (*COPIES, "aten.contiguous.default"):
            return None
        source = op.args[0]
        assert isinstance(source, Ref)
        made = draft.fakes[op.outputs[0].name]
        wanted = dict(op.kwargs).get("memory_format", op.args[1] if len(op.args) > 1 else None)
        if draft.leaves.get(source.name, (None,))[0] == InputKind.BUFFER and _written(draft, source.name):
            return None
        if draft.fakes[source.name].stride() == made.stride() or wanted == Symbol("torch.preserve_format"):
            return source.name
        return replace(op, kind="aten.contiguous.default") if made.is_contiguous() else None

    return rewrite(draft, decide)


def _written(draft: Draft, name: str) -> bool:
    return any(name in op.mutates for op in draft.ops)


def spell(draft: Draft) -> Draft:
    """One spelling: views that only reshape are ``aten.reshape``, squeeze names its dims, a cat skips empty tensors."""

    def decide(op: Op) -> Decision:
        if op.kind in VIEWS:
            sizes: Argument = op.outputs[0].shape if op.kind.endswith("_as.default") else op.args[1]
            kind = "aten.expand.default" if "expand" in op.kind else "aten.reshape.default"
            return replace(op, kind=kind, args=(op.args[0], sizes), kwargs=())
        if op.kind == "aten.squeeze.default":
            assert isinstance(op.args[0], Ref)
            dims = tuple(i for i, size in enumerate(draft.fakes[op.args[0].name].shape) if isinstance(size, int) and size == 1)
            return replace(op, kind="aten.squeeze.dims", args=(op.args[0], dims))
        if op.kind == "aten.cat.default":
            return _cat(draft, op)
        return None

    return rewrite(draft, decide)


def _cat(draft: Draft, op: Op) -> Decision:
    parts = op.args[0]
    assert isinstance(parts, tuple)
    kept = tuple(part for part in parts if isinstance(part, Ref) and not _empty(draft.fakes[part.name]))
    if len(kept) == len(parts) or not kept:
        return None
    result = draft.fakes[op.outputs[0].name]
    if len(kept) == 1 and draft.fakes[kept[0].name].dtype == result.dtype:
        return kept[0].name
    return replace(op, args=(kept, *op.args[1:]))


def _empty(fake: torch.Tensor) -> bool:
    return any(isinstance(size, int) and size == 0 for size in fake.shape)


def drop_needless_detach(draft: Draft, trainable: set[str]) -> Draft:
    """Drops ``detach`` of what no trainable parameter flows into."""
    tainted = set(trainable)

    def decide(op: Op) -> Decision:
        touched = any(name in tainted for name in op.inputs)
        if op.kind == "aten.detach.default":
            assert isinstance(op.args[0], Ref)
            return None if touched else op.args[0].name
        if touched:
            tainted.update(value.name for value in op.outputs)
        return None

    return rewrite(draft, decide)


def drop_dead(draft: Draft) -> Draft:
    """Drops what neither the loss nor a buffer's update needs."""
    needed = {draft.loss}
    kept: list[Op] = []
    for op in reversed(draft.ops):
        if op.mutates or any(value.name in needed for value in op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    return Draft(draft.leaves, kept[::-1], draft.fakes, draft.silent, draft.loss)


def merge_equal(draft: Draft, parameters: set[str]) -> Draft:
    """Merges equal ops that follow from inputs, constants and sizes alone: masks, position ids."""
    tainted = parameters | {name for op in draft.ops for name in op.mutates}
    seen: dict[object, str] = {}

    def decide(op: Op) -> Decision:
        if is_random(op) or op.mutates or any(name in tainted for name in op.inputs):
            tainted.update(value.name for value in op.outputs)
            return None
        if len(op.outputs) != 1:
            return None
        # A constant's type counts: 1, 1.0 and True are equal in Python.
        key = (op.kind, repr(op.args), repr(op.kwargs), op.autocast)
        if key in seen:
            return seen[key]
        seen[key] = op.outputs[0].name
        return None

    return rewrite(draft, decide)


def is_random(op: Op) -> bool:
    """Whether an op draws random numbers (or leaves memory as it finds it)."""
    packet, overload = op.kind.removeprefix("aten.").rsplit(".", 1)
    target = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    tagged = target is not None and torch.Tag.nondeterministic_seeded in target.tags
    return tagged or any(word in packet for word in RANDOM_NAMES)


def snapshot_written(draft: Draft) -> Draft:
    """Lets readers of a buffer that the model writes read a copy.

    Autograd may keep what they read while a later write, of this microbatch or of the next, is under way. Batch norm's own
    statistics are not read elsewhere.
    """
    written = {name for op in draft.ops if op.kind not in STATISTICS for name in op.mutates}
    copies: dict[str, str] = {}
    ops: list[Op] = []
    for op in draft.ops:
        if op.mutates:
            for name in op.mutates:
                copies.pop(name, None)
            ops.append(op)
            continue
        for name in op.inputs:
            if name in written and name not in copies:
                copies[name] = f"{name}!{len(ops)}"
                fake = draft.fakes[copies[name]] = draft.fakes[name].clone()
                value = value_of(copies[name], fake)
                ops.append(
                    replace(op, name=value.name, kind="aten.clone.default", args=(Ref(name),), kwargs=(), outputs=(value,))
                )
        ops.append(renamed(op, copies))
    return replace(draft, ops=ops)


def hoist_updates(draft: Draft) -> Draft:
    """Moves a buffer's ``copy_`` up to where its new value is known and the old one is no longer read."""
    ops = list(draft.ops)
    for update in [op for op in ops if op.kind == "aten.copy_.default"]:
        buffer = update.mutates[0]
        aliases = {name for name, fake in draft.fakes.items() if share_memory(fake, draft.fakes[buffer])}
        position = ops.index(update)
        ops.pop(position)
        while position and not _blocks(ops[position - 1], update, aliases):
            position -= 1
        ops.insert(position, update)
    return replace(draft, ops=ops)


def _blocks(op: Op, update: Op, aliases: set[str]) -> bool:
    makes = {value.name for value in op.outputs} & set(update.inputs)
    return bool(makes) or any(name in aliases for name in op.inputs)
