"""How long the per-op problem takes: of one layer's blocks, and of a whole Llama of 126 layers (that of 405 billion parameters).

    python -m benchmarks.tensor.layouts

Nothing is trained and no weights are made. Tracing is not counted; it is printed beside.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.frontend.load import load
from autopart.pipeline import Front, front_end
from autopart.planner.meshes import make_index
from autopart.plans import ModelRef, Settings
from autopart.tensor.assign import text_of
from autopart.tensor.eliminate import minimize
from autopart.tensor.network import network
from autopart.tensor.plan import prices_of
from cost_models.collective import Topology

MODEL = """\
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def model():
    return LlamaForCausalLM(LlamaConfig(
        num_hidden_layers={layers}, hidden_size=16384, intermediate_size=53248, num_attention_heads=128, num_key_value_heads=8,
        vocab_size=128256, use_cache=False,
    ))


def example_inputs(n):
    tokens = torch.zeros(n, 4096, dtype=torch.int64)
    return {{"input_ids": tokens, "labels": tokens}}
"""
CLUSTER = """\
nodes:
  - name: box
    count: 16
    devices: {type: H100-80GB, count: 8}
    interconnect: {bandwidth: 450 GB/s, latency: 3 us}
    network: {bandwidth: 3200 Gb/s, latency: 5 us}
"""
ROUNDS = 5


def front_of(layers: int, folder: Path) -> Front:
    path = folder / f"llama_{layers}.py"
    path.write_text(MODEL.format(layers=layers))
    settings = Settings(precision="bfloat16")
    return front_end(load(str(path), empty=True, precision=settings.precision), settings)


def measured(front: Front, cluster: Cluster, tensor: int) -> tuple[float, float, int]:
    """Seconds to build and solve the problem and to write its layout out, medians of some rounds; its number of variables."""
    index, group = make_index(front.blocks, cluster, 128, Settings(precision="bfloat16"), ModelRef("")), cluster.groups[0]
    prices = prices_of(index.table, (1,) * tensor, group.device, 1, Topology((tensor,), group.interconnect))
    solve_s, text_s = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        net = network(front.blocks, prices)
        _, values = minimize(net.sizes, net.tables)
        solved = time.perf_counter()
        text_of(net, values)
        solve_s.append(solved - started)
        text_s.append(time.perf_counter() - solved)
    return median(solve_s), median(text_s), len(net.sizes)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cluster.yaml").write_text(CLUSTER)
        cluster = load_cluster(str(folder / "cluster.yaml"))
        say("layers   ops  variables  tracing  tensor  build and solve  write out")
        for layers in (1, 126):
            started = time.perf_counter()
            front = front_of(layers, folder)
            traced_s, ops = time.perf_counter() - started, len(front.blocks.sharded.graph.ops)
            for tensor in (2, 8):
                solve_s, text_s, variables = measured(front, cluster, tensor)
                say(f"{layers:6}  {ops:4}  {variables:9}  {traced_s:5.1f} s  {tensor:6}  {solve_s:13.3f} s  {text_s:7.3f} s")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
