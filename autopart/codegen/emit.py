"""Program -> the files of a package: ``stages.py`` for people and the executor, ``train.py`` to start it, ``tensors.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import needed_inputs_only
from autopart.codegen import layout
from autopart.codegen.body import result_name
from autopart.codegen.forward import Source
from autopart.codegen.functions import SHORT, Context, Function, Unit, classes, function, results, shared_units, units
from autopart.codegen.header import docstring
from autopart.codegen.names import Namer, class_name
from autopart.codegen.stages import interval, stage_class
from autopart.codegen.train import TRAIN
from autopart.ir.graph import Dim, Graph, Input, PartSize, Size, Value
from autopart.plans import Plan, Stage
from autopart.program.program import Program, Transfer
from autopart.program.text import format_actions
from autopart.sharding.placement import Shard

STAGES_FILE, TRAIN_FILE, TENSORS_FILE = "stages.py", "train.py", "tensors.json"


@dataclass(frozen=True)
class Notes:
    """What the docstring says beside the plan itself, where it is known: device name by rank, memory by rank."""

    devices: Mapping[int, str] = field(default_factory=dict)
    memory_bytes: Mapping[int, int] = field(default_factory=dict)


def emit(
    program: Program,
    blocks: Blocks,
    plan: Plan,
    *,
    whole: Graph | None = None,
    notes: Notes | None = None,
    custom_ops: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The package's files by name. ``whole`` is the graph of one device, where ``blocks`` are those of columns.

    ``custom_ops`` says what registers an op that is not torch's: a file of the package (``ops_….py``) or a module to import.
    """
    return {
        STAGES_FILE: stages_source(program, blocks, plan, notes or Notes(), custom_ops or {}),
        TRAIN_FILE: TRAIN,
        TENSORS_FILE: tensors_json(program, whole or blocks.sharded.graph),
        "__init__.py": "",
    }


def stages_source(program: Program, blocks: Blocks, plan: Plan, notes: Notes, custom_ops: Mapping[str, str]) -> str:
    """``stages.py``."""
    every = units(blocks)
    source = _source(program, blocks, plan, every)
    by_name = {unit.block.name: unit for unit in every}
    code: list[str] = []
    for written in dict.fromkeys((*source.masks.values(), *source.functions.values())):
        code += ["", "", *written.lines]
    for stage in plan.stages:
        code += ["", "", *stage_class(source, stage, [by_name[name] for name in stage.blocks])]
    tables = ["", "", *_tables(program, blocks, plan, source.context.names)]
    head = docstring(program, plan, notes.devices, notes.memory_bytes)
    lines = [*head, "", *_imports("\n".join([*code, *tables])), "", *_constants(program, plan, custom_ops), *code, *tables]
    return "\n".join(lines) + "\n"


def _source(program: Program, blocks: Blocks, plan: Plan, every: Sequence[Unit]) -> Source:
    """Names and functions."""
    graph, namer = blocks.sharded.graph, Namer()
    values = {**graph.values, **{value.name: value for op in blocks.sharded.prologue for value in op.outputs}}
    alone = set(blocks.inputs_only)
    shared = frozenset(value.name for op in graph.ops if op.name in alone for value in op.outputs)
    names = shared_names(program, blocks, namer)
    context = Context(graph, names, values, shared, plan.settings.precision == "bfloat16")
    units_of = {stage.index: _shared_units(blocks, stage) for stage in plan.stages}
    masks = _mask_functions(plan, every, units_of, context, namer)
    return Source(blocks, program, context, _functions(every, plan, context, namer), masks, units_of)


def _shared_units(blocks: Blocks, stage: Stage) -> list[Unit]:
    """What a stage makes from the inputs alone."""
    needed = set(needed_inputs_only(blocks, *interval(blocks, stage)))
    graph = blocks.sharded.graph
    return shared_units([op for op in graph.ops if op.name in needed], graph)


def shared_names(program: Program, blocks: Blocks, namer: Namer) -> dict[str, str]:
    """Python names of the values that the whole module knows: inputs, statistics, what stages send, the loss."""
    graph = blocks.sharded.graph
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


def _functions(every: Sequence[Unit], plan: Plan, context: Context, namer: Namer) -> dict[str, Function]:
    """By block name. A short block that occurs once is written where it runs, unless it is recomputed."""
    again = {name for stage in plan.stages if stage.recompute for name in stage.blocks}
    found = {}
    for members in classes(every, context.graph):
        checkpointed = any(unit.block.name in again and unit.block.recomputable for unit in members)
        if len(members) == 1 and len(members[0].ops) <= SHORT and not checkpointed:
            continue
        name = namer.take(class_name(members[0].block.name))
        written = function(members, name, results(members, context.graph), context)
        found.update({unit.block.name: written for unit in members})
    return found


def _mask_functions(
    plan: Plan, every: Sequence[Unit], units_of: Mapping[int, Sequence[Unit]], context: Context, namer: Namer
) -> dict[tuple[str, ...], Function]:
    """By the names of their ops: what follows from the inputs alone, where it is long."""
    by_name = {unit.block.name: unit for unit in every}
    wanted: dict[tuple[str, ...], tuple[Unit, set[str]]] = {}
    for stage in plan.stages:
        read = {name for block in stage.blocks for name in by_name[block].inputs}
        for unit in units_of[stage.index]:
            if len(unit.ops) > SHORT:
                wanted.setdefault(unit.block.ops, (unit, set()))[1].update(read & set(unit.made))
    return {
        ops: function([unit], namer.take("masks"), tuple(i for i, name in enumerate(unit.made) if name in read), context)
        for ops, (unit, read) in wanted.items()
    }


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
        "GlobalSize",
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


def _constants(program: Program, plan: Plan, custom_ops: Mapping[str, str]) -> list[str]:
    ranks = len(program.actions) + len(plan.unused_ranks)
    return [
        f"BATCH = {program.batch_size}  # samples of the global batch",
        f"MICROBATCHES = {program.microbatches}",
        f'SCHEDULE = "{program.schedule}"',
        f'PRECISION = "{plan.settings.precision}"',
        f"RANKS = {ranks}  # of the cluster, used or not",
        *_custom_ops(custom_ops),
    ]


def _custom_ops(places: Mapping[str, str]) -> list[str]:
    if not places:
        return []
    entries = [f'"{name}": "{place}"' for name, place in sorted(places.items())]
    return [
        "",
        "# What registers the ops that are not torch's own: a file beside this one, or a module.",
        *layout.bracketed("CUSTOM_OPS = {", entries, "}", 0, always=len(entries) > 1),
    ]


def _tables(program: Program, blocks: Blocks, plan: Plan, names: Mapping[str, str]) -> list[str]:
    """What the runtime reads: the batch, the messages, the stages, the program."""
    statistics = set(blocks.sharded.statistics)
    inputs = [_input(source, names) for source in blocks.sharded.graph.inputs if source.value.name not in statistics]
    transfers = [_transfer(transfer, names) for transfer in program.transfers]
    return [
        'B = Size("b")  # samples: of the batch, a microbatch, or one rank\'s rows of it',
        "",
        "# The tensors of a batch: name, sizes, dtype; where in the batch; which dim has the samples.",
        *layout.table("INPUTS", inputs),
        "",
        "# What stages send: value, from and to stage, sizes, dtype; how it lies over replicas; whether a gradient comes back.",
        *(layout.table("TRANSFERS", transfers) if transfers else ["TRANSFERS: tuple[Transfer, ...] = ()"]),
        "",
        *layout.constant("STAGES", [f"Stage{stage.index}" for stage in plan.stages], 0),
        "",
        "# Which rank does what, in order. 1F0: forward of stage 1 for microbatch 0, B: backward; <2: receive from rank 2,",
        "# >2: send to it; n*(...): n rounds, each for the next microbatch; S: sum gradients over their ranks; U: update.",
        'PROGRAM = """',
        format_actions(program.actions).rstrip("\n"),
        '"""',
    ]


def _input(source: Input, names: Mapping[str, str]) -> str:
    value = f'Value("{names[source.value.name]}", {_sizes(source.value.shape)}, "{source.value.dtype}")'
    path = ", ".join(f'"{key}"' if isinstance(key, str) else str(key) for key in source.path)
    return f"Input({value}, ({path}{',' if len(source.path) == 1 else ''}), {source.batch_dim})"


def _transfer(transfer: Transfer, names: Mapping[str, str]) -> str:
    sizes = f'{_sizes(transfer.shape)}, "{transfer.dtype}"'
    placement = repr(transfer.placement).replace("dim=", "").replace(", units=0", "").replace(", outer=1", "")
    stages = f"{transfer.source}, {transfer.target}"
    return f'Transfer("{names[transfer.value]}", {stages}, {sizes}, {placement}, {transfer.differentiable})'


def _sizes(shape: Sequence[Dim]) -> str:
    """A shape as Python; ``B`` is the number of samples."""
    items = [_size(size) for size in shape]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _size(size: Dim) -> str:
    if isinstance(size, int):
        return str(size)
    if size == Size("b"):
        return "B"
    assert not isinstance(size, PartSize), "what crosses stages is whole"
    return f'{type(size).__name__}("{size.expression}")'


def tensors_json(program: Program, graph: Graph) -> str:
    """Parameters and buffers with the stages that hold them, and how columns split them; one a line."""
    holders: dict[str, list[int]] = {}
    for stage in program.stages:
        for name in (*stage.parameters, *stage.buffers):
            holders.setdefault(name, []).append(stage.index)
    parameters = [
        _row(p.name, p.value, holders, {"trainable": p.trainable, **({"tied": list(p.tied)} if p.tied else {})}, program.shards)
        for p in graph.parameters
    ]
    buffers = [_row(b.name, b.value, holders, {"persistent": b.persistent}, program.shards) for b in graph.buffers]
    tables = ",\n".join(f' "{name}": [{_lines(rows)}]' for name, rows in (("parameters", parameters), ("buffers", buffers)))
    return f"{{\n{tables}\n}}\n"


def _lines(rows: Sequence[str]) -> str:
    return "\n  " + ",\n  ".join(rows) + "\n " if rows else ""


def _row(
    name: str, value: Value, holders: Mapping[str, list[int]], more: Mapping[str, object], shards: Mapping[str, Shard]
) -> str:
    row = {"name": name, "shape": list(value.shape), "dtype": value.dtype, "stages": holders[name], **more}
    if name in shards:
        row["shard"] = [shards[name].dim, shards[name].outer, shards[name].units]
    return json.dumps(row)
