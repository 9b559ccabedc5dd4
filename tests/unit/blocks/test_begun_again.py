"""What a checkpoint runs once more, beside what PyTorch's does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from autopart.frontend.load import loaded_from
from autopart.pipeline import front_end
from autopart.plans import Settings
from autopart.pricing.table import BlockTable
from cost_models.hardware import DeviceType

CPU = DeviceType("cpu-core", 2**34, 1e10, {"float32": 5e10}, 1e-6, kind="cpu")
ROWS = 4
FORWARD = {"addmm": "linear", "gelu": "gelu", "relu": "relu", "tanh": "tanh", "native_layer_norm": "layer_norm"}


class Counted(TorchDispatchMode):
    """Forward ops that were run."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        self.kinds += [FORWARD[name]] if name in FORWARD else []
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)],
        [nn.LayerNorm(6), nn.Linear(6, 8), nn.ReLU()],
        [nn.Linear(6, 6), nn.Tanh()],
    ],
    ids=["ends in a product", "ends in what it keeps", "keeps its result"],
)
def test_as_many_as_pytorch_runs(layers: list[nn.Module]) -> None:
    body = nn.Sequential(*layers)
    loaded = loaded_from(nn.Sequential(body), lambda size: (torch.zeros(size, 6),), loss=torch.sum, precision="float32")
    source = front_end(loaded, Settings(granularity="layer"))
    (block,) = source.blocks.blocks
    table = BlockTable(source.blocks, "float32", "sgd", ROWS)
    with Counted() as counted:
        output = checkpoint(body, torch.randn(ROWS, 6, requires_grad=True), use_reentrant=False)
        ran = len(counted.kinds)
        output.sum().backward()
    again = counted.kinds[ran:]
    kinds = [table.op(name).kind.split(".")[1] for name in block.ops]
    assert kinds[: len(again)] == again
    expected = sum(table.op_s(table.op(name), CPU, ROWS)[0] for name in block.ops[: len(again)])
    assert table.again_s(CPU, ROWS).sum() == pytest.approx(expected)
