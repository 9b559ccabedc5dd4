"""Stages on meshes of replicas and columns, written by hand: messages between unlike meshes, sums, weights in parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autopart.errors import RunError
from autopart.ir.graph import Size
from autopart.program.lower import with_actions
from autopart.program.match import match
from autopart.program.program import Program, StageSpec, Transfer
from autopart.program.text import format_actions
from autopart.runtime import DistributedModule
from autopart.sharding.placement import Partial, Replicate, Shard
from tests.parity.parity import close, compare
from tests.ranks import run_ranks

SOURCE = '''
import torch
from torch import Tensor

from autopart.runtime import Input, Partial, Replicate, Shard, Size, Stage, Transfer, Tree, Value, comm

BATCH, MICROBATCHES, SCHEDULE, PRECISION, RANKS = {batch}, {microbatches}, "1f1b", "float64", {ranks}
B = Size("b")


class Stage0(Stage):
    ranks, shares, columns, weights, random = {first}
    gives = ("h", "scale2", "total")

    def forward(self, m: Tree, x: Tensor):
        self.drawn = torch.rand(4)
        up = torch.tanh(x @ m.up.weight + m.up.bias) + m.offset * m.table
        h = comm.all_reduce(up @ m.down.weight, self.tensor) + m.down.bias
        return h, m.scale * m.scale, h.sum(0)


class Stage1(Stage):
    ranks, shares, columns, weights, random = {second}
    gives = ("loss",)

    def forward(self, m: Tree, t: Tensor, h: Tensor, scale2: Tensor, total: Tensor):
        a, b, c = (h @ m.qkv).reshape(h.shape[0], 3, -1).unbind(1)
        y = h + comm.all_reduce((a * torch.tanh(b) + c) @ m.out, self.tensor)
        loss = ((y * scale2 + m.scale - t) ** 2).sum() / BATCH + (total * m.push).sum() / BATCH
        return comm.to_partial(loss, self.tensor)


INPUTS = (Input(Value("x", (B, 6), "float64"), ("x",), 0), Input(Value("t", (B, 6), "float64"), ("t",), 0))
TRANSFERS = (
    Transfer("h", 0, 1, (B, 6), "float64", Shard(0), True),
    Transfer("scale2", 0, 1, (6,), "float64", Replicate(), True),
    Transfer("total", 0, 1, (6,), "float64", Partial(), True),
)
STAGES = (Stage0, Stage1)
PROGRAM = """
{program}"""
'''
TRANSFERS = (
    Transfer("h", 0, 1, (Size("b"), 6), "float64", Shard(0), True),
    Transfer("scale2", 0, 1, (6,), "float64", Replicate(), True),
    Transfer("total", 0, 1, (6,), "float64", Partial(), True),
)
FIRST, SECOND = ("up.weight", "up.bias", "down.weight", "down.bias", "scale"), ("scale", "qkv", "out", "push")
BUFFERS = ("offset", "table")
SHARDS = {
    "up.weight": Shard(1, 1, 4),
    "up.bias": Shard(0, 1, 4),
    "offset": Shard(0, 1, 4),
    "table": Shard(0, 1, 4),
    "down.weight": Shard(0, 1, 4),
    "qkv": Shard(1, 3, 5),
    "out": Shard(0, 1, 5),
}


class Model(nn.Module):
    """What the two stages are of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)

        def made(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(sizes, dtype=torch.float64) / 2)

        self.up, self.down = nn.ParameterDict(), nn.ParameterDict()
        self.up["weight"], self.up["bias"], self.down["weight"], self.down["bias"] = made(6, 8), made(8), made(8, 6), made(6)
        self.scale, self.qkv, self.out, self.push = made(6), made(6, 3 * 5 * 2), made(5 * 2, 6), made(6)
        self.register_buffer("offset", torch.randn(8, dtype=torch.float64))
        self.register_buffer("table", torch.randn(8, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        up = torch.tanh(x @ self.up["weight"] + self.up["bias"]) + self.offset * self.table
        h = up @ self.down["weight"] + self.down["bias"]
        a, b, c = (h @ self.qkv).reshape(h.shape[0], 3, -1).unbind(1)
        y = h + (a * torch.tanh(b) + c) @ self.out
        scaled = y * self.scale * self.scale + self.scale - t
        return (scaled**2).sum() / x.shape[0] + (h.sum(0) * self.push).sum() / x.shape[0]


@dataclass(frozen=True)
class Mesh:
    """Samples by replica, weights by column."""

    shares: tuple[int, ...]
    weights: tuple[int, ...] = (1,)

    @property
    def size(self) -> int:
        return len(self.shares) * len(self.weights)


PAIRS = [
    (Mesh((2, 1), (3, 1)), Mesh((3,))),
    (Mesh((3,)), Mesh((1, 2), (1, 1))),
    (Mesh((1, 2), (1, 2)), Mesh((2, 1), (1, 1))),
    (Mesh((3,), (1, 1, 1)), Mesh((1, 2), (2, 3))),
    (Mesh((3,), (1, 1)), Mesh((3,), (1, 1, 1, 1))),
]
MICROBATCHES = 3


def program_of(first: Mesh, second: Mesh, order: list[int]) -> Program:
    held, made = ((FIRST, BUFFERS), (SECOND, ())), []
    for index, (mesh, (parameters, buffers)) in enumerate(zip((first, second), held, strict=True)):
        start = first.size if index else 0
        ranks = tuple(order[start : start + mesh.size])
        stage = StageSpec(index, ranks, mesh.shares, (), parameters, buffers, tensor=len(mesh.weights), weights=mesh.weights)
        made.append(stage)
    batch = sum(first.shares) * MICROBATCHES
    program = with_actions(Program(batch, MICROBATCHES, "1f1b", tuple(made), TRANSFERS, {}, SHARDS))
    match(program)
    return program


def write(folder: Path, program: Program, model: Model) -> None:
    first, second = ((s.ranks, s.shares, s.tensor, s.weights, s.index == 0) for s in program.stages)
    folder.mkdir(exist_ok=True)
    (folder / "stages.py").write_text(
        SOURCE.format(
            batch=program.batch_size,
            microbatches=MICROBATCHES,
            ranks=len(program.actions),
            first=first,
            second=second,
            program=format_actions(program.actions),
        )
    )

    def row(name: str, tensor: Tensor) -> dict[str, Any]:
        stages = [stage.index for stage in program.stages if name in (*stage.parameters, *stage.buffers)]
        shard = SHARDS.get(name)
        split = {"shard": [shard.dim, shard.outer, shard.units]} if shard else {}
        return {"name": name, "shape": list(tensor.shape), "dtype": "float64", "stages": stages, **split}

    buffers = [{**row(name, tensor), "persistent": name != "table"} for name, tensor in model.named_buffers()]
    table = {"parameters": [row(name, p) for name, p in model.named_parameters()], "buffers": buffers}
    (folder / "tensors.json").write_text(json.dumps(table))
    torch.save({"table": model.table}, folder / "constants.pt")


def batch_of(size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    return {name: torch.randn(size, 6, generator=generator, dtype=torch.float64) for name in ("x", "t")}


@dataclass
class Ran:
    loss: Tensor
    gradients: dict[str, Tensor]
    norm: Tensor
    state: dict[str, Tensor]
    again: Tensor
    sizes: dict[str, tuple[int, ...]]
    drawn: Tensor | None
    refused: str


def _run(_: int, folder: Path, state: dict[str, Tensor], batch: dict[str, Tensor], norm_type: float) -> Ran:
    module = DistributedModule(folder, timeout_s=20.0, seed=4)
    module.load_state_dict(state)
    loss = module.train_step(batch)
    gradients = module.full_gradients()
    norm = module.clip_grad_norm_(0.5, norm_type)
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    sizes = {name: tuple(tensor.shape) for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    trained = module.full_state_dict()
    again = module.eval_loss(batch)
    with pytest.raises(RunError) as caught:
        module.load_state_dict({**state, "up.weight": state["up.weight"][:, :2]})
    stage = module._executor.stage if module._executor else None
    return Ran(loss, gradients, norm, trained, again, sizes, getattr(stage, "drawn", None), str(caught.value))


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("norm_type", [2.0, float("inf")])
def test_meshes_train_as_one_device(first: Mesh, second: Mesh, norm_type: float, tmp_path: Path) -> None:
    model, ranks = Model(), first.size + second.size
    program = program_of(first, second, [*range(1, ranks, 2), *range(0, ranks, 2)])
    write(tmp_path / "package", program, model)
    state, batch = {name: tensor.clone() for name, tensor in model.state_dict().items()}, batch_of(program.batch_size)
    ran = run_ranks(ranks, _run, tmp_path / "package", state, batch, norm_type)

    wanted = model(**batch)
    wanted.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5, norm_type)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for each in ran:
        close("loss", each.loss, wanted.detach())
        close("norm", each.norm, norm)
        close("loss after a step", each.again, model(**batch).detach())
        assert "up.weight is (6, 2), the plan has (6, 8)" in each.refused
    compare("gradient of ", ran[0].gradients, gradients)
    compare("after a step ", ran[0].state, model.state_dict())
    _check_sizes(program, ran)
    _check_numbers(program, ran)


def _check_sizes(program: Program, ran: list[Ran]) -> None:
    """Each rank holds its units and no more."""
    whole = dict((*Model().named_parameters(), *Model().named_buffers()))
    for stage in program.stages:
        for name in (*stage.parameters, *stage.buffers):
            by_column = [ran[rank].sizes[name] for rank in stage.replica(0)]
            assert [ran[rank].sizes[name] for rank in stage.ranks] == by_column * len(stage.shares)
            if name in SHARDS:
                assert sum(size[SHARDS[name].dim] for size in by_column) == whole[name].shape[SHARDS[name].dim]
            else:
                assert set(by_column) == {tuple(whole[name].shape)}


def _check_numbers(program: Program, ran: list[Ran]) -> None:
    """Random numbers follow the replica, whatever the column."""
    stage = program.stages[0]
    found = [[ran[rank].drawn for rank in stage.replica(replica)] for replica in range(len(stage.shares))]
    for columns in found:
        assert all(torch.equal(columns[0], each) for each in columns)  # type: ignore[arg-type]
    assert len({str(columns[0]) for columns in found}) == len(found)
