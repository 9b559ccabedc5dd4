"""What is wrong with a model is said in one message: what, where, what to do."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from autopart.errors import InputError, ModelError, TraceError
from autopart.frontend.gate import check_trace
from autopart.frontend.load import load
from autopart.frontend.trace import trace

GOOD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x):
        {forward}

def model():
    return Net()

def example_inputs(batch_size):
    return (torch.randn(batch_size, 4),)
"""
BODY = "return self.fc(x).mean()"


def source(forward: str = BODY, **replaced: str) -> str:
    text = GOOD.replace("{forward}", textwrap.indent(textwrap.dedent(forward), " " * 8).strip())
    for old, new in replaced.items():
        text = text.replace({"model": "return Net()", "inputs": "return (torch.randn(batch_size, 4),)"}[old], new)
    return text


def checked(spec: Path) -> bool:
    loaded = load(str(spec))
    return check_trace(loaded, trace(loaded))


def complaint(tmp_path: Path, text: str | None, spec: str = "net.py") -> InputError:
    if text is not None:
        (tmp_path / "net.py").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        checked(tmp_path / spec)
    assert "\n\n" not in str(caught.value)
    return caught.value


def test_the_sound_file_passes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(source(), encoding="utf-8")
    assert checked(tmp_path / "net.py")


def test_no_file(tmp_path: Path) -> None:
    assert "no such file" in str(complaint(tmp_path, None))


def test_a_directory(tmp_path: Path) -> None:
    assert "is a directory" in str(complaint(tmp_path, None, "."))


FILES = {
    "syntax": (source() + "\ndef broken(:\n", "net.py:20: syntax error"),
    "import": ("import no_such_package\n", "net.py:1: the file raised ModuleNotFoundError: No module named 'no_such_package'"),
    "exit": ("import sys\nsys.exit(3)\n", "net.py:2: the file raised SystemExit: 3"),
    "no model": (source().replace("def model", "def other"), "defines no model()"),
    "model is no function": (source() + "\nmodel = 3\n", "model is int 3, expected a function"),
    "no example_inputs": (source().replace("def example_inputs", "def inputs"), "defines no example_inputs(batch_size)"),
    "factory raises": (source(model="return Net(3)"), "net.py:15: model() raised TypeError"),
    "factory returns nothing": (source(model="Net()"), "model() returned nothing (None), expected a torch.nn.Module"),
    "nothing to train": (source(model="return Net().requires_grad_(False)"), "no trainable parameter"),
    "inputs raise": (source(inputs="return (torch.randn(batch_size, 4) @ torch.ones(5),)"), "net.py:18: example_inputs() raised"),
    "a bare tensor": (source(inputs="return torch.randn(batch_size, 4)"), "expected a tuple or a dict of tensors"),
    "no tensors": (source(inputs="return ()"), "gives no tensors"),
    "a number among the inputs": (source(inputs="return (torch.randn(batch_size, 4), 0.5)"), "is float 0.5, expected a tensor"),
    "inputs ignore batch_size": (source(inputs="return (torch.randn(8, 4),)"), "dim 0 should be the batch size 3"),
    "two dims follow the batch": (
        source(inputs="return (torch.randn(batch_size, batch_size),)"),
        "not only its batch dim changes",
    ),
    "another batch dim": (source() + "\nbatch_dims = {'x': 1}\n", "dim 1 should be the batch size 3"),
    "no such dim": (source() + "\nbatch_dims = 2\n", "batch_dims says 2 for x, which has 2 dims"),
    "loss is no function": (source() + "\nloss = 1.0\n", "loss is float 1.0, expected a function"),
    "targets are no tensors": (
        source() + "\nloss = nn.functional.mse_loss\n\ndef example_targets(batch_size):\n    return None\n",
        "example_targets(3) returned nothing (None)",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file(tmp_path: Path, name: str) -> None:
    text, message = FILES[name]
    error = complaint(tmp_path, text)
    assert isinstance(error, ModelError)
    assert message in str(error)
    assert "net.py" in error.where


def test_a_factory_that_is_not_there(tmp_path: Path) -> None:
    assert "defines no large()" in str(complaint(tmp_path, source(), "net.py:large"))


STE = """
class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient
"""
TRACES = {
    "a branch on values": ("h = self.fc(x)\nif h.sum() > 0:\n    h = 2 * h\nreturn h.mean()", 13, "depends on a tensor's values"),
    "item": ("h = self.fc(x)\nreturn h.mean() * h.max().item()", 13, "read out of a tensor's values"),
    "boolean indexing": ("h = self.fc(x)\nreturn h[h > 0].mean()", 13, "read out of a tensor's values"),
    "a hard-coded view": ("return self.fc(x).view(8, 2, 2).mean()", 12, "does not follow the batch size: shape '[8, 2, 2]'"),
    "len": ("return self.fc(x).sum() / len(x)", 12, "one fixed number of samples"),
    "a loop over samples": ("return sum(row.sum() for row in self.fc(x))", 12, "one fixed number of samples"),
    "a branch on the batch size": ("h = self.fc(x)\nif x.size(0) > 6:\n    h = 2 * h\nreturn h.mean()", 13, "assumes batch > 6"),
    "wrong sizes": ("return (self.fc(x) + torch.ones(3)).mean()", 12, "at non-singleton dimension 1"),
    "an exception": ("raise KeyError('head')", 12, "KeyError: 'head'"),
    "numpy": ("return (self.fc(x) * torch.from_numpy(x.numpy())).mean()", 12, "can't be traced"),
    "a custom function": ("return Round.apply(self.fc(x)).mean()", 12, "custom autograd function Round"),
    "autocast": ("with torch.autocast('cpu', torch.bfloat16):\n    return self.fc(x).float().mean()", 13, "switches autocast on"),
    "a written parameter": (
        "with torch.no_grad():\n    self.fc.weight.mul_(0.9)\nreturn self.fc(x).mean()",
        13,
        "parameter fc.weight",
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_forward_that_can_not_be_traced(tmp_path: Path, name: str) -> None:
    forward, line, message = TRACES[name]
    text = source(forward)
    error = complaint(tmp_path, text + STE if "Round" in text else text)
    assert isinstance(error, TraceError)
    assert message in str(error)
    assert error.where.startswith(f"net.py:{line}"), error.where
    assert error.remedy


NO_LOSS = {
    "a tensor of sizes [batch, 4]": "return self.fc(x)",
    "holds nothing": "return {'logits': self.fc(x)}",
    "holds a float": "return {'loss': 1.0}",
}


@pytest.mark.parametrize("message", NO_LOSS)
def test_no_scalar_loss(tmp_path: Path, message: str) -> None:
    error = complaint(tmp_path, source(NO_LOSS[message]))
    assert message in str(error)
    assert "loss(output, *targets)" in error.remedy


def test_a_loss_that_nothing_trains(tmp_path: Path) -> None:
    assert "does not depend on any trainable parameter" in str(complaint(tmp_path, source("return self.fc(x).detach().mean()")))


def test_state_in_plain_attributes(tmp_path: Path) -> None:
    error = complaint(tmp_path, source("self.calls += 1\nreturn self.fc(x).mean() * self.calls"))
    assert "is not the model: loss in a second step" in str(error)


def test_what_only_real_tensors_refuse(tmp_path: Path) -> None:
    text = source(inputs="return (torch.randint(5, (batch_size, 4)),)")
    error = complaint(tmp_path, text)
    assert "the model fails on its example inputs: RuntimeError: mat1 and mat2 must have the same dtype" in str(error)
    assert error.where.startswith("net.py:12")


def test_a_mask_that_must_hold_for_all_samples(tmp_path: Path) -> None:
    """torch.export assumes that the mask picks every sample where the sizes don't fit otherwise."""
    error = complaint(tmp_path, source("h = self.fc(x)\nreturn (h[h.sum(1) > 0] * x).mean()"))
    assert "read out of a tensor's values" in str(error)
    assert error.where.startswith("net.py:13")


def test_infinite_buffers_are_equal(tmp_path: Path) -> None:
    text = source("return (self.fc(x) + self.mask).softmax(1).mean()").replace(
        "self.calls = 0", "self.register_buffer('mask', torch.tensor([0.0, 0.0, 0.0, float('-inf')]))"
    )
    (tmp_path / "net.py").write_text(text)
    assert checked(tmp_path / "net.py")


def test_an_inner_module_is_named(tmp_path: Path) -> None:
    text = source(
        "h = self.fc(x)\nreturn h.mean() if h.sum() > 0 else h.sum()", model="return nn.Sequential(nn.Linear(4, 4), Net())"
    )
    assert complaint(tmp_path, text).where == "net.py:13 (in module 1)"
