"""ExportedProgram -> Graph: the passes, in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from autopart.frontend import cleanup
from autopart.frontend.dtypes import pin_dtypes
from autopart.frontend.examples import Example
from autopart.frontend.functional import functionalize
from autopart.frontend.internals import temporary_buffers_of
from autopart.frontend.lift import Draft, lift, value_of
from autopart.ir.graph import Buffer, Graph, Input, Op, Parameter, Value

PREFIX = "model"


def normalize(
    program: ExportedProgram, module: nn.Module, examples: Sequence[Example], name: str
) -> tuple[Graph, dict[str, torch.Tensor]]:
    """The graph of an exported wrapper around ``module``, and the tensors of its parameters, buffers and constants by name."""
    draft = lift(program, PREFIX)
    leaves = _Leaves(draft, module)
    draft = cleanup.drop_identities(draft)
    draft = pin_dtypes(draft)
    draft = functionalize(draft)
    draft = cleanup.drop_copies(draft)
    draft = cleanup.spell(draft)
    draft = cleanup.drop_identities(draft)
    draft = cleanup.drop_needless_detach(draft, leaves.trainable)
    draft = cleanup.drop_dead(draft)
    draft = cleanup.merge_equal(draft, leaves.of_kind(InputKind.PARAMETER))
    draft = cleanup.hoist_updates(draft)
    draft = cleanup.snapshot_written(draft)
    return assemble(draft, program, module, examples, name)


def assemble(
    draft: Draft, program: ExportedProgram, module: nn.Module, examples: Sequence[Example], name: str
) -> tuple[Graph, dict[str, torch.Tensor]]:
    """Gives every value its final name and lists inputs, parameters, buffers and constants."""
    names = Names()
    tensors: dict[str, torch.Tensor] = {}
    renames: dict[str, str] = {}
    parameters = _parameters(module, names, tensors)
    buffers = _buffers(module, names, tensors)
    canonical = _canonical(module)
    users = iter(examples)
    inputs: list[Input] = []
    used = {item for op in draft.ops for item in op.inputs}
    for holder, (kind, target) in draft.leaves.items():
        if kind in (InputKind.PARAMETER, InputKind.BUFFER):
            renames[holder] = canonical[target.removeprefix(f"{PREFIX}.")]
        elif kind == InputKind.USER_INPUT:
            example = next(users)
            renames[holder] = names.take(example.name)
            inputs.append(
                Input(replace(value_of(holder, draft.fakes[holder]), name=renames[holder]), example.path, example.batch_dim)
            )
        elif holder in used:
            assert kind == InputKind.CONSTANT_TENSOR, f"no place for {kind} {target}"
            constant = f"_constant_{sum(not buffer.persistent and buffer.name.startswith('_constant_') for buffer in buffers)}"
            renames[holder] = names.take(constant)
            tensors[renames[holder]] = program.constants[target]
            buffers.append(
                Buffer(constant, replace(value_of(holder, draft.fakes[holder]), name=renames[holder]), persistent=False)
            )
    ops = tuple(_named(op, names, renames) for op in draft.ops)
    graph = Graph(name, tuple(inputs), tuple(parameters), tuple(buffers), ops, renames.get(draft.loss, draft.loss))
    return graph, tensors


class Names:
    """Unique names: the first of a kind as it is, then ``_1``, ``_2``."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        name = wanted
        while name in self._taken:
            self._next[wanted] = self._next.get(wanted, 0) + 1
            name = f"{wanted}_{self._next[wanted]}"
        self._taken.add(name)
        return name


def _named(op: Op, names: Names, renames: dict[str, str]) -> Op:
    """The op under its final name; its results are called like it."""
    name = names.take(f"{op.module}:{op.kind.split('.')[1].strip('_')}")
    for index, value in enumerate(op.outputs):
        renames[value.name] = name if len(op.outputs) == 1 else f"{name}.{index}"
    return replace(cleanup.renamed(op, renames), name=name)


def _parameters(module: nn.Module, names: Names, tensors: dict[str, torch.Tensor]) -> list[Parameter]:
    aliases: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    found = []
    for name, parameter in module.named_parameters():
        tensors[names.take(name)] = parameter
        tied = tuple(aliases[id(parameter)][1:])
        found.append(Parameter(name, plain_value(name, parameter), parameter.requires_grad, tied))
    return found


def _buffers(module: nn.Module, names: Names, tensors: dict[str, torch.Tensor]) -> list[Buffer]:
    temporary = {
        f"{path}.{name}" if path else name for path, owner in module.named_modules() for name in temporary_buffers_of(owner)
    }
    found = []
    for name, buffer in module.named_buffers():
        tensors[names.take(name)] = buffer
        found.append(Buffer(name, plain_value(name, buffer), name not in temporary))
    return found


def plain_value(name: str, tensor: torch.Tensor) -> Value:
    return Value(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _canonical(module: nn.Module) -> dict[str, str]:
    """The one name of a parameter or buffer by any of its names."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, tensor in (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)):
        found[name] = first.setdefault(id(tensor), name)
    return found


class _Leaves:
    """Placeholders of a draft by what they stand for."""

    def __init__(self, draft: Draft, module: nn.Module) -> None:
        self._leaves = draft.leaves
        frozen = {name for name, parameter in module.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
        self.trainable = {
            holder
            for holder in self.of_kind(InputKind.PARAMETER)
            if re.sub(rf"^{PREFIX}\.", "", draft.leaves[holder][1]) not in frozen
        }

    def of_kind(self, kind: InputKind) -> set[str]:
        return {holder for holder, (found, _) in self._leaves.items() if found == kind}
