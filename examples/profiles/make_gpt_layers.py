"""Writes gpt_layers.json: a GPT of 24 layers and 1.3 billion parameters by layers, as Metis and Galvatron measure them.

Nobody measured these numbers: they are what autopart's own cost model makes of the layers' sizes on the types of
examples/clusters/two_generations.yaml, in 16 bits, with attention that keeps no matrix. Copy the form and write down your own.
`PYTHONPATH=. python examples/profiles/make_gpt_layers.py > layers.json`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopart.cluster.load import load_cluster
from cost_models.collective import Topology, all_reduce_s
from cost_models.compute import op_s
from cost_models.memory import update_traffic_bytes

LAYERS, HIDDEN, SEQUENCE, WORDS = 24, 2048, 2048, 50304
CLUSTER = Path(__file__).parents[1] / "clusters/two_generations.yaml"
BATCHES, DEGREES = (1, 4), (1, 2, 4)
NUMBER = 2  # bytes of an activation


@dataclass(frozen=True, slots=True)
class Kind:
    """A layer by its sizes: flops of a sample forward, parameters, bytes that a sample keeps on one of ``tensor`` devices."""

    name: str
    flops: float
    parameters: int
    kept: dict[int, int]
    sums: int  # all-reduces between the devices of a degree, each way


def kinds() -> Iterator[Kind]:
    """Activations of a layer as Korthikanti et al. count them (Reducing Activation Recomputation, 2022, section 4): 10 of 34
    values are whole on every device.
    """
    values, table = SEQUENCE * HIDDEN, WORDS * HIDDEN
    yield Kind("embedding", 0.0, table + values, dict.fromkeys(DEGREES, values * NUMBER), 1)
    flops = 24 * SEQUENCE * HIDDEN**2 + 4 * SEQUENCE**2 * HIDDEN
    kept = {tensor: round(values * (10 + 24 / tensor)) for tensor in DEGREES}
    for number in range(LAYERS):
        yield Kind(f"layer{number}", flops, 12 * HIDDEN**2 + 13 * HIDDEN, kept, 2)
    logits = {tensor: values * NUMBER + SEQUENCE * WORDS * 4 // tensor for tensor in DEGREES}
    yield Kind("head", 2 * SEQUENCE * table, table, logits, 1)


def rows(kind: Kind) -> Iterator[dict[str, Any]]:
    for group in load_cluster(CLUSTER).groups:
        for tensor in DEGREES:
            update = kind.parameters / tensor * update_traffic_bytes("adamw", "bfloat16")
            update_s = float(op_s(group.device, 0, update, op_class="elementwise"))
            for batch in BATCHES:
                passed = batch * SEQUENCE * HIDDEN * NUMBER
                flops, nbytes = kind.flops * batch / tensor, 8 * passed / tensor
                forward_s = float(op_s(group.device, flops, nbytes, "float16"))
                between_s = kind.sums * all_reduce_s(passed, Topology((tensor,), group.interconnect)) if tensor > 1 else 0.0
                times = {"forward_s": forward_s + between_s, "backward_s": 2 * forward_s + between_s, "update_s": update_s}
                short = {key: float(f"{seconds:.4g}") for key, seconds in times.items()}
                yield {"type": group.device.name, "tensor": tensor, "batch": batch, **short}


def layer(kind: Kind) -> dict[str, Any]:
    """Parameters in 4 bytes, as ``--precision bfloat16`` keeps them."""
    return {
        "name": kind.name,
        "parameter_bytes": 4 * kind.parameters,
        "activation_bytes": {str(tensor): nbytes for tensor, nbytes in kind.kept.items()},
        "output_bytes": SEQUENCE * HIDDEN * NUMBER,
        "table": list(rows(kind)),
    }


def text() -> str:
    """JSON with a row on a line."""
    found = []
    for each in map(layer, kinds()):
        table = ",\n    ".join(map(json.dumps, each.pop("table")))
        found.append(f'  {json.dumps(each)[:-1]}, "table": [\n    {table}]}}')
    return '{"format": 1, "kind": "profile", "ops": [\n' + ",\n".join(found) + "\n]}"


if __name__ == "__main__":
    print(text())
