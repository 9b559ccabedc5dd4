"""Model files, live modules, big models, precisions."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autopart.errors import ModelError
from autopart.frontend.empty import parameters_without_memory
from autopart.frontend.gate import check_trace
from autopart.frontend.internals import FakeTensor
from autopart.frontend.load import examples, load, loaded_from, split_spec
from autopart.frontend.trace import trace
from autopart.ir.verify import verify

MODEL = """
from torch import nn
import torch
import neighbour

class Big(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(1000, width, padding_idx=0)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) for _ in range(4)))
        self.head = nn.Linear(width, 1000, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.arange(float(width)))

    def forward(self, tokens):
        return self.head(self.layers(self.embed(tokens)) * self.scale)

def model():
    return Big(neighbour.WIDTH)

def huge():
    return Big(30000)

def example_inputs(batch_size):
    return {"tokens": torch.randint(0, 1000, (batch_size,))}

def example_targets(batch_size):
    return torch.randint(0, 1000, (batch_size,))

loss = nn.functional.cross_entropy
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "big.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "neighbour.py").write_text("WIDTH = 12\n", encoding="utf-8")
    return str(tmp_path / "big.py")


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_file_in_every_precision(path: str, precision: str) -> None:
    loaded = load(path, precision=precision)
    found = trace(loaded)
    verify(found.graph)
    assert check_trace(loaded, found)
    wanted = "float64" if precision == "float64" else "float32"
    assert {parameter.value.dtype for parameter in found.graph.parameters} == {wanted}
    assert [source.path for source in found.graph.inputs] == [("tokens",), ("targets", 0)]
    assert loaded.name == found.graph.name == "big"


def test_a_file_of_a_package_imports_from_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here").mkdir()
    (tmp_path / "made_here" / "widths.py").write_text("WIDTH = 12\n", encoding="utf-8")
    inside = MODEL.replace("import neighbour", "from made_here import widths as neighbour")
    (tmp_path / "made_here" / "big.py").write_text(inside, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert load("made_here/big.py").name == "big"
    assert sys.path == before


def test_a_big_model_takes_no_memory(path: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load(f"{path}:huge", empty=True)
    found = trace(loaded)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert sum(parameter.value.nbytes(1) for parameter in found.graph.parameters) > 13 << 30
    assert grown < 1 << 20, f"{grown >> 10} MiB for a model of 13 GiB"
    assert {parameter.tied for parameter in found.graph.parameters} == {(), ("head.weight",)}
    assert not check_trace(loaded, found)


def test_an_empty_model_traces_to_the_same_graph(path: str) -> None:
    assert trace(load(path, empty=True)).graph == trace(load(path)).graph


def test_buffers_of_an_empty_model_are_real(path: str) -> None:
    module = load(path, empty=True).module
    assert all(isinstance(parameter, FakeTensor) for parameter in module.parameters())
    assert torch.equal(module.get_buffer("scale"), torch.arange(12.0))


@pytest.mark.parametrize("change", ["double()", "to(torch.bfloat16)", "to('cpu')", "half().float()"])
def test_an_empty_model_can_be_converted(change: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "converted.py").write_text(
        f"from big import *\nfrom big import model as made\ndef model(): return made().{change}\n"
    )
    real, empty = (load(str(tmp_path / "converted.py"), empty=empty).module for empty in (False, True))
    expected = {name: (p.shape, p.dtype) for name, p in real.named_parameters(remove_duplicate=False)}
    assert {name: (p.shape, p.dtype) for name, p in empty.named_parameters(remove_duplicate=False)} == expected
    assert len(list(empty.parameters())) == len(list(real.parameters())), "tied parameters stay tied"
    assert list(empty.state_dict()) == list(real.state_dict())


def test_an_empty_layer_can_be_copied() -> None:
    """Without a warning: nn.TransformerEncoder copies its layer."""
    with parameters_without_memory():
        module = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)
    parameters = dict(module.named_parameters())
    assert len(parameters) == 3 * 12
    assert all(isinstance(parameter, FakeTensor) for parameter in parameters.values())


def test_an_empty_recurrent_model_can_be_converted() -> None:
    with parameters_without_memory():
        module = nn.LSTM(3, 4).double()
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    assert all(a is b for a, b in zip(module.all_weights[0], module.parameters(), strict=True))


def test_parameters_are_registered_as_ever_afterwards() -> None:
    with parameters_without_memory():
        nn.Linear(2, 2)
    assert not isinstance(nn.Linear(2, 2).weight, FakeTensor)


def test_specs() -> None:
    assert split_spec("a/b.py") == ("a/b.py", "model")
    assert split_spec("a/b.py:large") == ("a/b.py", "large")
    assert split_spec("C:/b.py") == ("C:/b.py", "model")


def test_one_batch_of_tensors_is_cycled() -> None:
    loaded = loaded_from(nn.Linear(2, 1), (torch.tensor([[1.0, 2.0], [3.0, 4.0]]),), loss=lambda y: y.mean())
    (found,) = examples(loaded, 5)
    assert found.tensor[:, 0].tolist() == [1.0, 3.0, 1.0, 3.0, 1.0]
    assert (found.name, found.path, found.batch_dim) == ("input", (0,), 0)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, features: dict[str, Tensor], order: list[Tensor], weight: Tensor) -> Tensor:
        return (self.fc(features["dense"]) * order[0] + order[1].T).mean() * weight


def test_nested_inputs_have_paths_and_dims() -> None:
    def inputs(n: int) -> tuple[object, ...]:
        return {"dense": torch.randn(n, 3)}, [torch.randn(n, 3), torch.randn(3, n)], torch.tensor(2.0)

    loaded = loaded_from(Nested(), inputs, batch_dims={"order_1": 1})
    found = trace(loaded)
    assert check_trace(loaded, found)
    assert [(i.value.name, i.path, i.batch_dim) for i in found.graph.inputs] == [
        ("features_dense", (0, "dense"), 0),
        ("order_0", (1, 0), 0),
        ("order_1", (1, 1), 1),
        ("weight", (2,), None),
    ]


def test_labels_that_are_the_inputs_are_two_inputs() -> None:
    def inputs(n: int) -> dict[str, Tensor]:
        x = torch.randn(n, 3)
        return {"input": x}

    x = torch.randn(4, 3)
    loaded = loaded_from(nn.Linear(3, 3), {"input": x}, loss=nn.functional.mse_loss, example_targets=(x,))
    found = trace(loaded)
    assert check_trace(loaded, found)
    assert [len(found.graph.users[source.value.name]) for source in found.graph.inputs] == [1, 1]


def test_frozen_submodules_in_eval_mode_stay_so() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Dropout(0.5))
    model[1].eval()
    graph = trace(loaded_from(model, (torch.randn(4, 3),), loss=lambda y: y.mean())).graph
    assert [op.module for op in graph.ops if op.kind == "aten.dropout.default"] == ["2"]


def test_the_users_module_keeps_its_precision() -> None:
    model = nn.Linear(2, 2)
    loaded = loaded_from(model, (torch.randn(4, 2),), loss=lambda y: y.mean(), precision="float64")
    assert model.weight.dtype == torch.float32
    assert loaded.module.weight.dtype == torch.float64


def test_no_such_precision() -> None:
    with pytest.raises(ModelError, match="unknown precision 'float8'"):
        loaded_from(nn.Linear(2, 2), (torch.randn(4, 2),), precision="float8")
