"""Weights go from the unsplit model to the ranks and back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autopart.errors import RunError
from autopart.frontend.load import batch_of, loaded_from
from autopart.runtime import DistributedModule
from tests.fronts import front, front_of
from tests.parity.parity import OPTIMIZERS, Case, Part, close, loss_of, on_ranks, user_batch
from tests.zoo.batches import floats

CASE = Case((Part((2, 4)), Part((6,))), unused=1)
State = dict[str, Tensor]


def there_and_back(module: DistributedModule, batch: Any) -> tuple[State, Tensor, State, Tensor]:
    """Trained, gathered, spoilt, and loaded again by every rank from what rank 0 gathered."""
    optimizer = OPTIMIZERS["adamw"](module.parameters())
    module.train_step(batch)
    optimizer.step()
    state = module.full_state_dict()
    loss = module.eval_loss(batch)
    everywhere = [state]
    torch.distributed.broadcast_object_list(everywhere)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    module.load_state_dict(everywhere[0])
    module.load_constants(torch.load(module.package.folder / "constants.pt"))
    return state, loss, module.full_state_dict(), module.eval_loss(batch)


@pytest.mark.parametrize("name", ["gpt2", "resnet", "lstm", "llama"])
def test_a_full_state_dict_is_the_unsplit_models(name: str) -> None:
    source = front(name)
    ranks = on_ranks(source, CASE, there_and_back, user_batch(source.loaded, CASE.batch))
    state, loss, again, same = ranks[0]
    module = copy.deepcopy(source.loaded.module)
    assert list(state) == list(module.state_dict()) or set(state) == set(module.state_dict())
    module.load_state_dict(state)
    module.eval()
    close("loss", loss, loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).detach())
    assert loss == same
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())
    assert all(not rank[0] and rank[1] == loss for rank in ranks[1:])


def loaded_from_file(module: DistributedModule, path: Path, batch: Any) -> Tensor:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    module.load_checkpoint(path)
    return module.train_step(batch)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_of_the_unsplit_model_loads(suffix: str, tmp_path: Path) -> None:
    source, path = front("gpt2"), tmp_path / f"model{suffix}"
    module = copy.deepcopy(source.loaded.module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    state = module.state_dict()
    if suffix == ".pt":
        torch.save(state, path)
    else:
        files = pytest.importorskip("safetensors.torch")
        files.save_file({name: tensor for name, tensor in state.items() if name != "lm_head.weight"}, path)
    wanted = loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).detach()
    for loss in on_ranks(source, CASE, loaded_from_file, path, user_batch(source.loaded, CASE.batch)):
        close("loss", loss, wanted)


def refusals(module: DistributedModule, good: State, folder: Path) -> list[str]:
    """What every rank says to state dicts that do not fit, before any of them could wait for another."""
    some, other = list(good)[:2]
    missing = {name: tensor for name, tensor in good.items() if name != some}
    bad = [missing, {**good, "extra.weight": torch.zeros(1)}, {**good, other: torch.zeros(3, 1)}]
    said = []
    for state in bad:
        with pytest.raises(RunError) as caught:
            module.load_state_dict(state)
        said.append(str(caught.value))
    (folder / f"text{module.rank}.pt").write_text("no checkpoint")
    for path in (folder / "nowhere.pt", folder / f"text{module.rank}.pt"):
        with pytest.raises(RunError) as caught:
            module.load_checkpoint(path)
        said.append(str(caught.value))
    return said


def test_what_does_not_fit_is_refused_on_every_rank(tmp_path: Path) -> None:
    source = front("mlp")
    for said in on_ranks(source, CASE, refusals, source.loaded.module.state_dict(), tmp_path):
        for text, part in zip(
            said,
            ["missing: 0.weight", "unexpected: extra.weight", "0.bias is (3, 1), the plan has (4,)", "no such", "can't be read"],
            strict=True,
        ):
            assert part in text


class Odd(nn.Module):
    """Parameters with names that Python can't spell, a shared module, and a buffer that no state dict has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict(
            {"a-b": nn.Linear(4, 4), "class": nn.Linear(4, 4), "train_": nn.Linear(4, 4), "007": nn.Linear(4, 4)}
        )
        self.shared = self.layers["a-b"]
        self.register_buffer("offset", torch.arange(4.0), persistent=False)
        self.register_buffer("scale", torch.tensor(0.5))
        self.zero_d = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.layers["a-b"](x) + self.offset)
        x = torch.tanh(self.layers["class"](x)) * self.scale + self.layers["train_"](self.layers["007"](x))
        return (self.shared(x) * self.zero_d).square().mean()


def test_odd_names_and_shared_modules() -> None:
    source = front_of(loaded_from(Odd(), lambda n: (floats(n, 4),), precision="float64"))
    state, loss, again, same = on_ranks(source, CASE, there_and_back, user_batch(source.loaded, CASE.batch))[0]
    module = copy.deepcopy(source.loaded.module)
    module.load_state_dict(state)
    close("loss", loss, loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).detach())
    assert loss == same
    assert state.keys() == again.keys() == module.state_dict().keys()
