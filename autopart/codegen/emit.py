"""Program -> the files of a package: ``stages.py`` for people and the executor, ``train.py`` to start it, ``tensors.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from autopart.blocks.blocks import Blocks
from autopart.codegen import layout
from autopart.codegen.body import result_name
from autopart.codegen.functions import SHORT, Function, Unit, classes, function, units
from autopart.codegen.header import docstring
from autopart.codegen.names import Namer
from autopart.codegen.stages import Source, stage_class
from autopart.codegen.train import TRAIN
from autopart.ir.graph import GlobalSize, Graph, Input, Size, Value
from autopart.plans import Plan
from autopart.program.program import Program, Transfer
from autopart.program.text import format_actions

STAGES_FILE, TRAIN_FILE, TENSORS_FILE = "stages.py", "train.py", "tensors.json"


@dataclass(frozen=True)
class Notes:
    """What the docstring says beside the plan itself, where it is known: device name by rank, memory by rank."""

    devices: Mapping[int, str] = ()  # type: ignore[assignment]
    memory_bytes: Mapping[int, int] = ()  # type: ignore[assignment]


def emit(program: Program, blocks: Blocks, plan: Plan, *, notes: Notes | None = None) -> dict[str, str]:
    """The package's files by name."""
    return {
        STAGES_FILE: stages_source(program, blocks, plan, notes or Notes({}, {})),
        TRAIN_FILE: TRAIN,
        TENSORS_FILE: tensors_json(program, blocks.sharded.graph),
        "__init__.py": "",
    }


def stages_source(program: Program, blocks: Blocks, plan: Plan, notes: Notes) -> str:
    """``stages.py``."""
    every = units(blocks)
    graph = blocks.sharded.graph
    names = shared_names(program, blocks)
    values = {**graph.values, **{value.name: value for op in blocks.sharded.prologue for value in op.outputs}}
    functions = _functions(every, plan, graph, names, values)
    source = Source(blocks, program, names, values, functions, plan.settings.precision == "bfloat16")
    by_name = {unit.block.name: unit for unit in every}
    code: list[str] = []
    for written in dict.fromkeys(functions.values()):
        code += ["", "", *written.lines]
    for stage in plan.stages:
        code += ["", "", *stage_class(source, stage, [by_name[name] for name in stage.blocks])]
    tables = ["", "", *_tables(program, blocks, plan, names)]
    constants = _constants(program, plan)
    head = docstring(program, plan, notes.devices, notes.memory_bytes)
    return "\n".join([*head, "", *_imports("\n".join([*code, *tables])), "", *constants, *code, *tables]) + "\n"


def shared_names(program: Program, blocks: Blocks) -> dict[str, str]:
    """Python names of the values that the whole module knows: inputs, statistics, what stages send, the loss."""
    graph, namer = blocks.sharded.graph, Namer()
    found = {graph.loss: namer.take("loss")}
    statistics = set(blocks.sharded.statistics)
    for source in graph.inputs:
        if source.value.name not in statistics:
            found[source.value.name] = namer.take(source.value.name)
    for name in blocks.sharded.statistics:
        found[name] = namer.take("count")
    for transfer in program.transfers:
        if transfer.value not in found:
            found[transfer.value] = namer.take(result_name(graph.producer[transfer.value], "", last=True))
    return found


def _functions(
    every: Sequence[Unit], plan: Plan, graph: Graph, names: Mapping[str, str], values: Mapping[str, Value]
) -> dict[str, Function]:
    """By block name. A short block that occurs once is written where it runs, unless it is recomputed."""
    again = {name for stage in plan.stages if stage.recompute for name in stage.blocks}
    hints = {name: text for name, text in names.items() if name not in graph.producer}
    namer, found = Namer(), {}
    for members in classes(every, graph):
        checkpointed = any(unit.block.name in again and unit.block.recomputable for unit in members)
        if len(members) == 1 and len(members[0].ops) <= SHORT and not checkpointed:
            continue
        written = function(
            members, graph, values, frozenset({graph.loss}), namer, hints, autocast=plan.settings.precision == "bfloat16"
        )
        found.update({unit.block.name: written for unit in members})
    return found


def _imports(code: str) -> list[str]:
    """What the code refers to, sorted as ruff does."""

    def used(word: str) -> bool:
        return re.search(rf"(?<![\w.\"]){word}\b", code) is not None

    lines = ["import torch"] if used(r"torch\.") or used("torch") else []
    lines += ["import torch.nn.functional as F"] if used(r"F\.") else []
    lines += ["from torch import Tensor"] if used("Tensor") else []
    lines += ["from torch.utils.checkpoint import checkpoint"] if used("checkpoint") else []
    words = (
        "Axis",
        "Input",
        "Partial",
        "Replicate",
        "Shard",
        "Size",
        "Stage",
        "Transfer",
        "Tree",
        "Value",
        "comm",
        "no_autocast",
    )
    runtime = layout.bracketed("from autopart.runtime import ", [word for word in words if used(word)], "", 0)
    return [*lines, "", *runtime]


def _constants(program: Program, plan: Plan) -> list[str]:
    ranks = len(program.actions) + len(plan.unused_ranks)
    return [
        f"BATCH = {program.batch_size}  # samples of the global batch",
        f"MICROBATCHES = {program.microbatches}",
        f'SCHEDULE = "{program.schedule}"',
        f'PRECISION = "{plan.settings.precision}"',
        f"RANKS = {ranks}  # of the cluster, used or not",
    ]


def _tables(program: Program, blocks: Blocks, plan: Plan, names: Mapping[str, str]) -> list[str]:
    """What the runtime reads: the batch, the messages, the stages, the program."""
    statistics = set(blocks.sharded.statistics)
    inputs = [_input(source, names) for source in blocks.sharded.graph.inputs if source.value.name not in statistics]
    transfers = [_transfer(transfer, names) for transfer in program.transfers]
    lines = ['B = Size("b")  # samples: of the batch, a microbatch, or one rank\'s rows of it']
    lines += ["", "# The tensors of a batch: name, sizes, dtype; where in the batch; which dim has the samples."]
    lines += layout.bracketed("INPUTS = (", inputs, ")", 0, always=True)
    lines += [
        "",
        "# What stages send: value, from stage, to stage, sizes, dtype; how it lies over replicas; whether a gradient comes back.",
    ]
    lines += (
        layout.bracketed("TRANSFERS = (", transfers, ")", 0, always=True)
        if transfers
        else ["TRANSFERS: tuple[Transfer, ...] = ()"]
    )
    stages = [f"Stage{stage.index}" for stage in plan.stages]
    lines += ["", f"STAGES = ({stages[0]},)" if len(stages) == 1 else layout.bracketed("STAGES = (", stages, ")", 0)[0]]
    lines += [
        "",
        "# Which rank does what, in order. 1F0: forward of stage 1 for microbatch 0; B: backward; <r, >r: receive from, send to rank r;",
    ]
    lines += [
        "# n*(...): n rounds, each for the next microbatch; S: gradients are summed over the ranks that hold them; U: update."
    ]
    return [*lines, 'PROGRAM = """', format_actions(program.actions).rstrip("\n"), '"""']


def _input(source: Input, names: Mapping[str, str]) -> str:
    value = f'Value("{names[source.value.name]}", {_sizes(source.value.shape)}, "{source.value.dtype}")'
    path = ", ".join(f'"{key}"' if isinstance(key, str) else str(key) for key in source.path)
    return f"Input({value}, ({path}{',' if len(source.path) == 1 else ''}), {source.batch_dim})"


def _transfer(transfer: Transfer, names: Mapping[str, str]) -> str:
    sizes = f'{_sizes(transfer.shape)}, "{transfer.dtype}"'
    placement = repr(transfer.placement).replace("dim=", "").replace(", outer=1", "")
    return f'Transfer("{names[transfer.value]}", {transfer.source}, {transfer.target}, {sizes}, {placement}, {transfer.differentiable})'


def _sizes(shape: Sequence[int | Size | GlobalSize]) -> str:
    """A shape as Python; ``B`` is the number of samples."""
    items = [_size(size) for size in shape]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _size(size: int | Size | GlobalSize) -> str:
    if isinstance(size, int):
        return str(size)
    if size == Size("b"):
        return "B"
    return f'{type(size).__name__}("{size.expression}")'


def tensors_json(program: Program, graph: Graph) -> str:
    """Parameters and buffers with the stages that hold them, one a line."""
    holders: dict[str, list[int]] = {}
    for stage in program.stages:
        for name in (*stage.parameters, *stage.buffers):
            holders.setdefault(name, []).append(stage.index)
    parameters = [
        _row(p.name, p.value, holders, {"trainable": p.trainable, **({"tied": list(p.tied)} if p.tied else {})})
        for p in graph.parameters
    ]
    buffers = [_row(b.name, b.value, holders, {"persistent": b.persistent}) for b in graph.buffers]
    tables = [
        f'"{name}": [\n  ' + ",\n  ".join(rows) + "\n ]" if rows else f'"{name}": []'
        for name, rows in (("parameters", parameters), ("buffers", buffers))
    ]
    return "{\n " + ",\n ".join(tables) + "\n}\n"


def _row(name: str, value: Value, holders: Mapping[str, list[int]], more: Mapping[str, object]) -> str:
    row = {"name": name, "shape": list(value.shape), "dtype": value.dtype, "stages": holders[name], **more}
    return json.dumps(row)


def model_name(path: str) -> str:
    return PurePath(path).name
