"""Writes two_branches.json: a small training graph with two branches, in the form that `autopart plan graph.json` reads.

Copy this to write the numbers of your own profiler down. `python examples/profiles/make_two_branches.py > graph.json`
"""

from __future__ import annotations

import json
from typing import Any

FORWARD = {  # milliseconds on an accelerator, MB of weights, MB of output, what it reads
    "words": (1.0, 120, 4, []),
    "encode1": (6.0, 60, 4, ["words"]),
    "encode2": (6.0, 60, 4, ["encode1"]),
    "image": (2.0, 1, 12, []),
    "convolve1": (9.0, 10, 6, ["image"]),
    "convolve2": (7.0, 40, 3, ["convolve1"]),
    "mix": (3.0, 20, 2, ["encode2", "convolve2"]),
    "head": (2.0, 30, 1, ["mix"]),
}
CPU_SLOWER, BACKWARD = 8.0, 2.0


def op(name: str, ms: float, memory_mb: float, output_mb: float, **more: Any) -> dict[str, Any]:
    times = {"accelerator": ms / 1e3}
    if not name.startswith(("convolve", "image")):
        times["cpu"] = ms * CPU_SLOWER / 1e3  # a type that is missing can't run the op
    return {"name": name, "time_s": times, "memory_bytes": round(memory_mb * 1e6), "output_bytes": round(output_mb * 1e6), **more}


def profile() -> dict[str, Any]:
    ops, edges = [], []
    for name, (ms, weights, output, inputs) in FORWARD.items():
        ops.append(op(name, ms, weights, output, colocate=name))
        edges += [[producer, name] for producer in inputs]
    for name, (ms, _, output, inputs) in reversed(FORWARD.items()):
        gradient = max([FORWARD[producer][2] for producer in inputs], default=0)
        ops.append(op(f"{name}_grad", ms * BACKWARD, output, gradient, backward=True, colocate=name))
        edges += [[name, f"{name}_grad"]] + [[f"{name}_grad", f"{producer}_grad"] for producer in inputs]
    return {"format": 1, "kind": "profile", "ops": ops, "edges": edges}


if __name__ == "__main__":
    print(json.dumps(profile(), indent=1))
