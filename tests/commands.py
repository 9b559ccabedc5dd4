"""The command line, called in this process; a small model and cluster to call it with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopart.cli import main

MODEL = """\
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 64)
        self.middle = nn.Linear(64, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        x = torch.tanh(self.encoder(x))
        x = torch.tanh(self.middle(x))
        return self.head(x)


def model():
    return Net()


def example_inputs(batch_size):
    return (torch.randn(batch_size, 4),)


def example_targets(batch_size):
    return (torch.randint(3, (batch_size,)),)


def loss(output, target):
    return F.cross_entropy(output, target)
"""

CLUSTER = """\
nodes:
  - name: fast
    devices: {type: fast-cpu, count: 2}
    interconnect: {bandwidth: 5 GB/s, latency: 30 us}
    network: {bandwidth: 1 Gb/s, latency: 100 us}
  - name: slow
    devices: {type: slow-cpu, count: 2}
    interconnect: {bandwidth: 3 GB/s, latency: 40 us}
    network: {bandwidth: 1 Gb/s, latency: 100 us}
types:
  fast-cpu: {message_cpu: 0 us, memory: 8 GiB, memory_bandwidth: 12 GB/s, flops: {float64: 60 GFLOP/s, float32: 120 GFLOP/s}}
  slow-cpu: {message_cpu: 0 us, memory: 4 GiB, memory_bandwidth: 6 GB/s, flops: {float64: 20 GFLOP/s, float32: 40 GFLOP/s}}
"""
"""So small a model is worth several devices only where messages take nothing from computing."""

BY_HAND = {
    "format": 1,
    "model": {"path": "model.py"},
    "cluster": {"path": "cluster.yaml"},
    "batch_size": 24,
    "schedule": {"name": "1f1b", "microbatches": 2},
    "stages": [
        {"blocks": ["encoder", "middle"], "ranks": [0, 2], "shares": [8, 4]},
        {"blocks": ["head"], "ranks": [1], "shares": [12]},
    ],
}
"""A plan of this model over this cluster, as somebody writes it."""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Done:
    """``autopart`` with these arguments."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse
        status = int(error.code or 0)
    said = capsys.readouterr()
    return Done(status, said.out, said.err)


def assert_refused(done: Done, *words: str, status: int = 2) -> None:
    """One message on stderr that has all the words, nothing on stdout, no traceback."""
    assert done.status == status, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert len(re.findall(r"^autopart( \w+)?: ", done.err, re.MULTILINE)) == 1, done.err
    if not done.err.startswith("usage: "):  # argparse's own form
        assert len(done.err.splitlines()) == 2, f"not what and where, then what to do: {done.err}"
    for word in words:
        assert word in done.err, f"{word!r} is not in {done.err!r}"
