"""Models with ops of their own, split: loss, gradients and training as on one device; the op goes where the package goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopart.errors import InputError
from autopart.frontend.load import loaded_from
from autopart.runtime.package import read_package
from tests import custom_ops
from tests.commands import CLUSTER, MODEL, run
from tests.fronts import front_of
from tests.parity.drawn import assert_parity_under_drawn_plans
from tests.parity.parity import Case, Part, compiled
from tests.zoo.batches import floats, labels

OWN_OP = """\
import torch


@torch.library.custom_op("autopart_in_a_file::scaled", mutates_args=())
def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * 1.5


scaled.register_fake(lambda x: torch.empty_like(x))
scaled.register_autograd(lambda ctx, grad: grad * 1.5)
"""
USING = MODEL.replace("return self.head(x)", "return self.head(scaled(x))")


class ByEveryPath(nn.Module):
    """An op by sample, one that sums over samples, one by integers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.bound = nn.Parameter(torch.full((8,), 2.0))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = custom_ops.soft_clip(self.first(x), self.bound)
        logits = self.head(torch.tanh(self.second(hidden)))
        return F.cross_entropy(logits, y) - 0.1 * custom_ops.pick(logits, y).mean()


class Mixing(ByEveryPath):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = custom_ops.centre(self.first(x))
        logits = self.head(torch.tanh(self.second(hidden)))
        return F.cross_entropy(logits, y) + 0.01 * custom_ops.correlate(hidden, logits).square().sum()


@pytest.mark.parametrize("model", [ByEveryPath, Mixing])
def test_a_split_model_computes_what_one_device_does(model: type[nn.Module]) -> None:
    source = front_of(loaded_from(model(), lambda n: (floats(n, 6), labels(n, 5)), precision="float64"))
    assert bool(source.blocks.sharded.mixing) == (model is Mixing)
    assert_parity_under_drawn_plans(source, model.__name__)


@pytest.mark.parametrize("place", ["model.py", "beside_the_model.py"])
def test_a_package_registers_the_op_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """Local processes, which import nothing but the package, train as the unsplit model does."""
    op = f"autopart_tests_{place.removesuffix('.py')}::scaled"
    own = OWN_OP.replace("autopart_in_a_file::scaled", op)
    monkeypatch.chdir(tmp_path)
    Path("beside_the_model.py").write_text(own)
    Path("model.py").write_text(own + USING if place == "model.py" else "from beside_the_model import scaled\n" + USING)
    Path("cluster.yaml").write_text(CLUSTER)
    assert run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "8", "--data", "2").status == 0
    assert run(capsys, "compile", "plan.json", "-o", "package").status == 0
    assert f'CUSTOM_OPS = {{"{op}": "ops_{place}"}}' in Path("package/stages.py").read_text()
    assert Path(f"package/ops_{place}").read_text() == Path(place).read_text()
    if place == "model.py":
        table = run(capsys, "run", "plan.json", "--steps", "2", "--compare").out.splitlines()
        losses = [line.split() for line in table if line.startswith(("1 ", "2 "))]
        assert len(losses) == 2
        assert all(abs(float(split) - float(whole)) < 1e-5 for _, split, whole, _ in losses)


def test_several_ops_are_listed_as_ruff_would(tmp_path: Path) -> None:
    source = front_of(loaded_from(ByEveryPath(), lambda n: (floats(n, 6), labels(n, 5)), precision="float64"))
    compiled(source, Case((Part((2, 1)),)), tmp_path)
    stages = tmp_path / "stages.py"
    assert stages.read_text().count('": "ops_custom_ops.py",') == 2
    command = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", "--line-length", "120", str(stages)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


def test_an_op_that_nobody_registers_is_named(tmp_path: Path) -> None:
    (tmp_path / "tensors.json").write_text('{"parameters": [], "buffers": []}')
    for place in ("", "ops_model.py", "a_module_that_is_not_installed"):
        (tmp_path / "ops_model.py").write_text("import a_module_that_is_not_installed\n")
        (tmp_path / "stages.py").write_text(f'CUSTOM_OPS = {{"autopart_tests::unheard_of": "{place}"}}\n')
        with pytest.raises(InputError, match="autopart_tests::unheard_of is not registered"):
            read_package(tmp_path)
