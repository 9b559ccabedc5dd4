"""Emitted code, for random models under random plans: it computes what the graph means, says the program, is well formed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autopart.blocks.blocks import Blocks
from autopart.codegen.emit import emit
from autopart.frontend.interpret import run
from autopart.ir.graph import Graph, Value
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.runtime import Axis, Package, Tree, read_package
from autopart.runtime.tree import torch_dtype
from tests.programs import random_case

SEEDS = range(0, 160, 2)  # every fourth of them is grouped as a real model is


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Blocks, Program, Path]]:
    """A package for every seed."""
    root, found = tmp_path_factory.mktemp("emitted"), {}
    for seed in SEEDS:
        blocks, plan, _ = random_case(seed)
        program = lower(blocks, plan)
        folder = root / f"seed_{seed}"
        folder.mkdir()
        for name, text in emit(program, blocks, plan).items():
            (folder / name).write_text(text)
        found[seed] = blocks, program, folder
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stages_compute_the_graph(emitted: dict[int, tuple[Blocks, Program, Path]], seed: int) -> None:
    blocks, program, folder = emitted[seed]
    graph, tensors = blocks.sharded.graph, dict(_tensors(blocks.sharded.graph, program.batch_size))
    wanted = _interpreted(graph, tensors, program.batch_size)
    found = _staged(read_package(folder), graph, tensors)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_program_reads_back(emitted: dict[int, tuple[Blocks, Program, Path]], seed: int) -> None:
    _, program, folder = emitted[seed]
    read = read_package(folder).program
    assert [replace(t, value="") for t in read.transfers] == [replace(t, value="") for t in program.transfers]
    assert [t.value for t in read.transfers] == [_named(program, read)[t.value] for t in program.transfers]
    assert [replace(s, inputs=()) for s in read.stages] == [replace(s, inputs=()) for s in program.stages]
    assert read.actions == program.actions
    assert (read.batch_size, read.microbatches, read.schedule) == (program.batch_size, program.microbatches, program.schedule)


def test_the_code_is_formatted_and_has_no_loose_ends(emitted: dict[int, tuple[Blocks, Program, Path]]) -> None:
    folder = next(iter(emitted.values()))[2].parent
    for command in (["format", "--check", "--line-length", "120"], ["check", "--select", "F,I,E,W", "--line-length", "120"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def _named(program: Program, read: Program) -> dict[str, str]:
    """Python names of transferred values; two values never share one."""
    names = {t.value: other.value for t, other in zip(program.transfers, read.transfers, strict=True)}
    assert len(set(names.values())) == len(names)
    return names


def _tensors(graph: Graph, batch: int) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(batch)

    def filled(value: Value) -> Tensor:
        shape, dtype = value.shape_at(batch), torch_dtype(value.dtype)
        if not dtype.is_floating_point:
            return torch.randint(0, 2, shape, generator=generator, dtype=dtype)
        return torch.randn(shape, generator=generator, dtype=dtype)

    for leaf in (*graph.inputs, *graph.buffers):
        yield leaf.value.name, filled(leaf.value)
    for parameter in graph.parameters:
        yield parameter.value.name, filled(parameter.value).requires_grad_(parameter.trainable)


def _interpreted(graph: Graph, tensors: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    values = run(graph, tensors, global_batch=batch, comm_kernels={"comm.to_partial": lambda x: x})
    return _results(values[graph.loss], {p.name: tensors[p.value.name] for p in graph.parameters})


def _staged(package: Package, graph: Graph, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All stages one after the other in this process, on the whole batch."""
    tree = Tree()
    for parameter in graph.parameters:
        tree.put_parameter(parameter.name, nn.Parameter(tensors[parameter.value.name].detach().clone(), parameter.trainable))
    for buffer in graph.buffers:
        tree.put_buffer(buffer.name, tensors[buffer.value.name].clone(), persistent=buffer.persistent)
    batch = package.program.batch_size
    known = {mine.value.name: tensors[whole.value.name] for mine, whole in zip(package.inputs, graph.inputs, strict=False)}
    torch.manual_seed(1)
    for kind in package.stages:
        stage = kind()
        stage.replicas = Axis(0, (0,), (batch,), batch)
        if stage.prologue is not None:
            stage.prologue(tree, *(known[name] for name in stage.counts()))
        given = stage.forward(tree, *(known[name] for name in stage.takes()))
        known.update(zip(stage.gives, (given,) if len(stage.gives) == 1 else given, strict=True))
    return _results(known["loss"], dict(tree.named_parameters()))


def _results(loss: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    trainable = {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
    grads = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    found = {name: grad for name, grad in zip(trainable, grads, strict=True) if grad is not None}
    return {"loss": loss.detach(), **found}


def test_the_code_passes_mypy(emitted: dict[int, tuple[Blocks, Program, Path]]) -> None:
    files = []
    for seed in (0, 8, 16, 24):
        folder = emitted[seed][2]
        files.append(folder.parent / f"stages_{seed}.py")
        files[-1].write_text((folder / "stages.py").read_text())
    train = next(iter(emitted.values()))[2] / "train.py"
    # torch's own types cost half a minute: names, calls and returns are checked without them
    options = ["--config-file=", f"--cache-dir={folder.parent / 'cache'}", "--follow-imports=skip", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *options]
    done = subprocess.run([*command, *map(str, files), str(train)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
