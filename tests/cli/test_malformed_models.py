"""Model files with one mistake each: every one ends in exit status 2 and one message that names place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import CLUSTER, MODEL, assert_refused, run

FORWARD = "        x = torch.tanh(self.middle(x))\n"
FIRST = "        x = torch.tanh(self.encoder(x))\n"
RETURN = "        return self.head(x)\n"
MAKE = "    return Net()\n"
INPUTS = "    return (torch.randn(batch_size, 4),)\n"
LOSS = "    return F.cross_entropy(output, target)\n"
TARGETS = "    return (torch.randint(3, (batch_size,)),)\n"

STRAIGHT_THROUGH = """\
class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Net(nn.Module):
"""

EDITS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "syntax error": ("def model():", "def model(:", ("model.py:19", "syntax error")),
    "not indented": (MAKE, "return Net()\n", ("model.py:20", "syntax error")),
    "null byte": ("import torch\n", "import torch\x00\n", ("model.py:", "syntax error")),
    "unknown import": ("import torch\n", "import torch\nimport tourch\n", ("model.py:2", "No module named 'tourch'")),
    "raises at import": ("class Net", "1 / 0\n\n\nclass Net", ("model.py:6", "ZeroDivisionError", "1 / 0")),
    "exits at import": ("class Net", "raise SystemExit(3)\n\n\nclass Net", ("model.py:6", "SystemExit")),
    "no model": ("def model():", "def modell():", ("model.py", "defines no model()", "Add a function model()")),
    "model is the module": (f"def model():\n{MAKE}", "model = None\n", ("model.py",)),
    "model returns nothing": (MAKE, "    Net()\n", ("model.py", "nothing (None)", "return")),
    "model returns the class": (MAKE, "    return Net\n", ("model.py", "expected a torch.nn.Module")),
    "model raises": (MAKE, "    raise RuntimeError('out of luck')\n", ("model.py:20", "RuntimeError: out of luck")),
    "model wants arguments": (
        "def model():",
        "def model(width):",
        ("model.py: model() raised TypeError", "'width'", "without arguments"),
    ),
    "no example_inputs": ("def example_inputs", "def inputs", ("model.py", "example_inputs(batch_size)")),
    "inputs are a tensor": (INPUTS, "    return torch.randn(batch_size, 4)\n", ("model.py", "return (x,)")),
    "inputs are a list": (INPUTS, "    return [torch.randn(batch_size, 4)]\n", ("model.py", "tuple")),
    "no inputs": (INPUTS, "    return ()\n", ("module Net", "missing 1 required positional argument: 'x'")),
    "inputs hold a number": (INPUTS, "    return (torch.randn(batch_size, 4), 3)\n", ("model.py", "int 3", "expected a tensor")),
    "inputs ignore batch_size": (INPUTS, "    return (torch.randn(8, 4),)\n", ("model.py", "[8, 4]", "Use batch_size")),
    "inputs vary elsewhere": (
        INPUTS,
        "    return (torch.randn(batch_size, batch_size),)\n",
        ("model.py", "not only its batch dim"),
    ),
    "inputs raise": (INPUTS, "    return (torch.randn(batch_size, -4),)\n", ("model.py:24", "RuntimeError")),
    "inputs take no argument": (
        "example_inputs(batch_size)",
        "example_inputs()",
        ("model.py: example_inputs() raised TypeError", "with a number of samples"),
    ),
    "inputs of another width": (INPUTS, "    return (torch.randn(batch_size, 5),)\n", ("model.py:14",)),
    "inputs by a wrong keyword": (
        INPUTS,
        "    return {'y': torch.randn(batch_size, 4)}\n",
        ("module Net", "unexpected keyword argument 'y'"),
    ),
    "one input too many": (INPUTS, "    return (torch.randn(batch_size, 4),) * 2\n", ("Net", "forward()", "3 were given")),
    "batch_dims beyond the dims": ("class Net", "batch_dims = 7\n\n\nclass Net", ("model.py", "batch_dims", "7")),
    "targets ignore batch_size": (TARGETS, "    return (torch.randint(3, (9,)),)\n", ("model.py", "target", "[9]")),
    "targets are a dict": (TARGETS, "    return {'y': torch.randint(3, (batch_size,))}\n", ("model.py", "tuple")),
    "too many targets": (TARGETS, "    return (torch.randint(3, (batch_size,)),) * 2\n", ("model.py", "loss()")),
    "no loss": ("def loss", "def lost", ("model.py", "loss(output, *targets)")),
    "loss of a whole number": (LOSS, "    return output.argmax(1).sum()\n", ("model.py", "int64", "floating-point")),
    "loss by sample": (LOSS, "    return F.cross_entropy(output, target, reduction='none')\n", ("[batch]", "scalar")),
    "loss is a number": (f"def loss(output, target):\n{LOSS}", "loss = 3\n", ("model.py", "loss is int 3")),
    "loss returns nothing": (LOSS, "    F.cross_entropy(output, target)\n", ("model.py", "nothing", "scalar")),
    "loss is detached": (
        LOSS,
        "    return F.cross_entropy(output, target).detach()\n",
        ("model.py", "does not depend on any trainable"),
    ),
    "nothing to train": (MAKE, "    return Net().requires_grad_(False)\n", ("no trainable parameter", "requires_grad")),
    "if on values": (FORWARD, f"        if x.sum() > 0:\n    {FORWARD}", ("model.py:15", "values")),
    "item": (FORWARD, "        x = x * x.max().item()\n", ("model.py:15", "values")),
    "tolist": (FORWARD, "        x = x * x[0].tolist()[0]\n", ("model.py:15",)),
    "numpy": (FORWARD, "        x = torch.from_numpy(x.detach().numpy())\n", ("model.py:15",)),
    "sizes by values": (FORWARD, "        x = x[x.sum(1) > 0]\n", ("model.py:15",)),
    "fixed batch in a view": (FORWARD, "        x = x.view(7, 64)\n", ("model.py:15", "x.size(0)")),
    "fixed batch in a loop": (FORWARD, "        x = torch.stack([row for row in x])\n", ("model.py:15", "batch")),
    "branch on the batch size": (FORWARD, f"        if x.size(0) > 6:\n    {FORWARD}", ("model.py:15", "batch")),
    "sizes that do not fit": (
        FORWARD,
        "        x = torch.tanh(self.head(self.head(x)))\n",
        ("model.py:15", "sizes that do not fit", "[batch, 3] X [64, 3]"),
    ),
    "forward raises": (FORWARD, "        raise ValueError('not today')\n", ("model.py:15", "not today")),
    "forward without an end": (FIRST, "        return self.forward(x)\n", ("model.py:14", "RecursionError")),
    "own autograd function": (FORWARD, "        x = Sign.apply(x)\n", ("Sign", "backward")),
}


@pytest.mark.parametrize("case", EDITS)
def test_one_thing_is_wrong(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, words = EDITS[case]
    assert MODEL.count(old) == 1, "the edit does not apply"
    text = MODEL.replace(old, new)
    if "Sign" in new:
        text = text.replace("class Net(nn.Module):\n", STRAIGHT_THROUGH)
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(text)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("plan.json").write_text("precious")
    done = run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24")
    assert_refused(done, *words)
    assert Path("plan.json").read_text() == "precious"
