"""Layouts drawn at random: any that is legal may come out, however slow."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np

from autopart.cluster.load import load_cluster
from autopart.pipeline import Front
from autopart.pricing.table import BlockTable
from autopart.tensor.assign import text_of
from autopart.tensor.eliminate import Table, minimize
from autopart.tensor.network import Network, network
from autopart.tensor.plan import prices_of
from cost_models.collective import Topology

CLUSTER = """\
nodes:
  - name: box
    devices: {type: cpu-core, count: 8}
    interconnect: {bandwidth: 10 GB/s, latency: 10 us}
"""
Text = tuple[tuple[str, str], ...]


def drawn_layout(source: Front, weights: tuple[int, ...], seed: int) -> Text:
    """One of the model's layouts on such columns, as a plan says it: seconds are replaced by lots, which favour a split."""
    net = bare_network(source, weights)
    lot = random.Random(seed)
    free = [Table(table.variables, np.where(np.isfinite(table.cost), 0.0, np.inf)) for table in net.tables]
    lots = [Table((v,), np.array([lot.random() for _ in range(size)])) for v, size in enumerate(net.sizes)]
    for key, options in net.ways.items():
        whole = [3.0 * (option.whole and len(options) > 1) for option in options]
        lots.append(Table((net.variables[key],), np.array(whole)))
    _, values = minimize(net.sizes, [*free, *lots])
    return tuple(text_of(net, values).items())


def bare_network(source: Front, weights: tuple[int, ...]) -> Network:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.yaml"
        path.write_text(CLUSTER)
        group = load_cluster(str(path)).groups[0]
    table = BlockTable(source.blocks, "float64", "sgd", 12)
    return network(source.blocks, prices_of(table, weights, group.device, 2, Topology((len(weights),), group.interconnect)))
