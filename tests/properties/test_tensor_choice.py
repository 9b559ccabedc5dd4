"""What the per-op problem and the planner choose for a GPT of real width, by bytes sent rather than by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.pipeline import Front, Limits, decide
from autopart.planner.meshes import Mesh, make_index
from autopart.plans import ModelRef, Plan, Settings
from autopart.sharding.placement import Shard
from autopart.tensor.plan import local_plan
from autopart.tensor.reshard import BACKWARD, volume
from tests.fronts import front_of
from tests.zoo import Entry

HIDDEN, TOKENS, ROWS = 768, 512, 4
FAST, SLOW = "{bandwidth: 300 GB/s, latency: 3 us}", "{bandwidth: 1 Gb/s, latency: 100 us}"
CLUSTER = """\
nodes:
  - name: box
    devices: {{type: A100-80GB, count: {count}}}
    interconnect: {interconnect}
    network: {{bandwidth: 10 Gb/s, latency: 50 us}}
"""


@cache
def gpt() -> Front:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    def ids(n: int) -> dict[str, torch.Tensor]:
        tokens = torch.zeros(n, TOKENS, dtype=torch.int64)
        return {"input_ids": tokens, "labels": tokens}

    config = GPT2Config(
        n_layer=4, n_embd=HIDDEN, n_head=12, n_positions=TOKENS, use_cache=False, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return front_of(Entry(lambda: GPT2LMHeadModel(config), ids).loaded("float32"))


def cluster_of(folder: Path, interconnect: str, count: int = 8) -> Cluster:
    path = folder / "cluster.yaml"
    path.write_text(CLUSTER.format(interconnect=interconnect, count=count))
    return load_cluster(str(path))


def sent(blocks: Blocks, tensor: int, rows: int) -> dict[str, float]:
    """Bytes that each column sends in the forward pass, by block."""
    ops = {op.name: op for op in blocks.sharded.graph.ops}
    values = blocks.sharded.graph.values
    found = {}
    for block in blocks.blocks:
        collectives = [ops[name] for name in block.ops if ops[name].kind in BACKWARD]
        found[block.name] = sum(
            volume(op.kind, max(values[name].nbytes(rows) for name in (op.inputs[0], op.outputs[0].name)), tensor)
            for op in collectives
        )
    return found


def mesh_of(folder: Path, interconnect: str, tensor: int) -> Mesh:
    index = make_index(gpt().blocks, cluster_of(folder, interconnect), 8 * ROWS, Settings(), ModelRef(""))
    return index.meshes(0, tensor)[0]


@pytest.mark.parametrize("tensor", [2, 4])
def test_no_more_than_megatron_sends(tensor: int, tmp_path: Path) -> None:
    """Two all_reduces of the activations a layer and direction (the first layer also takes the embedding over); a column holds
    its part of every matrix of a layer.
    """
    mesh = mesh_of(tmp_path, FAST, tensor)
    blocks = mesh.table.blocks
    by_block = sent(blocks, tensor, ROWS)
    activations = ROWS * TOKENS * HIDDEN * 4
    megatron = 2 * 2 * (tensor - 1) / tensor * activations
    for layer in range(1, 4):
        own = sum(nbytes for name, nbytes in by_block.items() if name.startswith(f"transformer.h.{layer}."))
        assert 0 < own <= megatron * (1 + 1e-9)
    whole = {p.name: p.value.numel(1) for p in gpt().blocks.sharded.graph.parameters}
    held = {p.name: p.value.numel(1) for p in blocks.sharded.graph.parameters}
    matrices = [name for name in whole if ".h." in name and "ln_" not in name and name.endswith("weight")]
    assert all(held[name] * tensor == whole[name] for name in matrices)


def planned(folder: Path, interconnect: str, batch: int) -> tuple[Plan, float]:
    """The plan, and the bytes that a column of it sends to the others in a forward pass."""
    cluster = cluster_of(folder, interconnect, 4)
    plan = decide(gpt(), cluster, batch, Settings(), Limits(gap=0.02, time_limit_s=20.0))
    index = make_index(gpt().blocks, cluster, batch, Settings(), ModelRef(""))
    local = local_plan(index.table, plan, cluster)
    tensor = max(stage.tensor for stage in plan.stages)
    return plan, sum(sent(local.blocks, tensor, max(max(stage.shares) for stage in plan.stages)).values())


def test_tensors_are_split_over_fast_links_only(tmp_path: Path) -> None:
    """One sample leaves a choice of columns and stages: columns where links are fast, none where they are slow."""
    fast, slow = planned(tmp_path, FAST, 1), planned(tmp_path, SLOW, 1)
    assert fast[1] > 0
    assert slow[1] == 0
    assert fast[0].estimate is not None
    assert slow[0].estimate is not None
    assert fast[0].estimate.step_time_s < slow[0].estimate.step_time_s


def test_many_samples_over_slow_links_are_shared_out(tmp_path: Path) -> None:
    """As replicas or stages: their messages are worth it at ten times the bandwidth, those of columns are not."""
    plan, nbytes = planned(tmp_path, "{bandwidth: 10 Gb/s, latency: 100 us}", 64)
    assert nbytes == 0
    assert len([rank for stage in plan.stages for rank in stage.ranks]) > 1


def test_plans_name_their_layouts(tmp_path: Path) -> None:
    """A plan says how columns split tensors; read again it is the same."""
    plan, _ = planned(tmp_path, FAST, 1)
    stage = next(stage for stage in plan.stages if stage.tensor > 1)
    assert any(text.startswith("S(") for name, text in stage.layouts.items() if name.endswith("weight"))
    index = make_index(gpt().blocks, cluster_of(tmp_path, FAST, 4), 1, Settings(), ModelRef(""))
    again = local_plan(index.table, plan, cluster_of(tmp_path, FAST, 4))
    assert all(isinstance(shard, Shard) for shard in again.shards.values())
    assert {name for name, text in stage.layouts.items() if "*" not in name and text.startswith("S(") and ":" not in name} <= set(
        again.shards
    )
