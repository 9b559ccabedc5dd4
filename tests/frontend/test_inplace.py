"""In-place code of many kinds: functional in the graph, and equal to the model at another batch size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autopart.errors import TraceError
from autopart.frontend.gate import check_trace
from autopart.frontend.load import loaded_from
from autopart.frontend.trace import Traced, trace


class Net(nn.Module):
    """A layer, buffers of several kinds, and a body under test."""

    def __init__(self, body: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.register_buffer("queue", torch.arange(30.0).reshape(5, 6))
        self.register_buffer("average", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, self.fc(x)).square().mean()


def slices(net: Net, h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[:, 1:] = h[:, :-1]
    out[:, 0] = 3.0
    return out


def chained(net: Net, h: Tensor) -> Tensor:
    h = h * 1.0
    h[:, 1:4][:, 0].mul_(2.0)
    return h


def reread(net: Net, h: Tensor) -> Tensor:
    h = h * 1.0
    left = h[:, :3]
    flat = h.view(-1)
    left.add_(1.0)
    flat.mul_(2.0)
    return left + h[:, 3:]


def transposed(net: Net, h: Tensor) -> Tensor:
    h = h * 1.0
    h.t()[1].zero_()
    h.unsqueeze(0).permute(2, 0, 1)[2] += 5.0
    return h


def masked(net: Net, h: Tensor) -> Tensor:
    h = h.clone()
    h.masked_fill_(h < 0, -1.0)
    h.clamp_(max=0.5)
    return h


def parts(net: Net, h: Tensor) -> Tensor:
    columns = torch.zeros(6, 3).index_add_(0, torch.tensor([0, 2, 2]), torch.ones(3, 3))
    return h @ columns


def constant(net: Net, h: Tensor) -> Tensor:
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    scale += 1
    scale[2] = 0.0
    return h * scale


def silent(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        scale = h * 2
        scale[:, 0] = 1.0
    return h * scale


def moving_average(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        net.average.mul_(0.9).add_(h.mean(0), alpha=0.1)
        net.count += 1
    return h * net.average


def replaced(net: Net, h: Tensor) -> Tensor:
    before = h * net.average
    net.average = 0.5 * net.average + h.detach().mean(0)
    return before + h * net.average


def queued(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        net.queue[:2] = h[:2]
        net.queue = torch.roll(net.queue, 1, 0)
    return h @ net.queue.T


BODIES = (slices, chained, reread, transposed, masked, parts, constant, silent, moving_average, replaced, queued)


def traced(body: Callable[[Net, Tensor], Tensor]) -> tuple[Traced, bool]:
    torch.manual_seed(0)
    loaded = loaded_from(Net(body), lambda n: (torch.randn(n, 4),), precision="float64")
    found = trace(loaded)
    return found, check_trace(loaded, found)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_in_place_code_means_the_same(body: Callable[[Net, Tensor], Tensor]) -> None:
    found, equal = traced(body)
    assert equal
    for op in found.graph.ops:
        assert set(op.mutates) <= {"queue", "average", "count"}
        assert op.mutates or not op.kind.split(".")[1].endswith("_"), op


def test_a_buffers_update_stands_where_its_value_is_known() -> None:
    """Not at the end of the model: the stage that has the value has the buffer."""
    found, _ = traced(replaced)
    position = next(i for i, op in enumerate(found.graph.ops) if op.mutates)
    made = found.graph.ops[position - 1]
    assert found.graph.ops[position].inputs == ("average", made.outputs[0].name)
    assert position < len(found.graph.ops) - 3


def hidden_write(net: Net, h: Tensor) -> Tensor:
    h = h * 1.0
    with torch.no_grad():
        h[:, 0] = 0.0
    return h


def overlapping(net: Net, h: Tensor) -> Tensor:
    h = h * 1.0
    h.as_strided((3,), (2,)).add_(1.0)
    return h


def parameter_write(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        net.fc.weight.clamp_(-1, 1)
    return h


REFUSED = {
    "carries gradients": hidden_write,
    "through aten.as_strided": overlapping,
    "writes into the parameter fc.weight": parameter_write,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_functional_twin_is_refused(message: str) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        traced(REFUSED[message])
    assert "test_inplace.py:" in caught.value.where
