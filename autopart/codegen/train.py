"""The emitted ``train.py``: a plain training loop, the same for every plan, for its user to edit."""

from __future__ import annotations

TRAIN = '''"""Trains the model that stages.py splits. One process for each used rank (or for each rank of the cluster):

    torchrun --nproc-per-node N train.py --steps 10

Weights come from --checkpoint, or weights.pt beside this file; the batch from --data, or batch.pt beside this file.
This loop is yours to edit: DistributedModule works with any optimizer, scheduler and loader.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from autopart.runtime import DistributedModule, ShardSampler, command, pick, samples_in

HERE = Path(__file__).parent


def main() -> None:
    arguments = parse()
    module = DistributedModule(HERE, seed=arguments.seed, backend=arguments.backend, device=arguments.device)
    module.load_checkpoint(arguments.checkpoint)
    optimizer = optimizers(arguments.lr)[arguments.optimizer](module.parameters())
    if arguments.timeline:
        module.record()
    losses = []
    for step, batch in zip(range(arguments.steps), batches(module, arguments.data), strict=False):
        loss = module.train_step(batch, local=True)
        if arguments.clip:
            module.clip_grad_norm_(arguments.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if module.is_first:
            print(f"step {step + 1:4d}  loss {losses[-1]:.6f}", flush=True)
    if arguments.timeline:
        timeline = module.recorded()
        if module.is_first:
            arguments.timeline.write_text(json.dumps(timeline))
    if arguments.save:
        state = module.full_state_dict()
        if module.is_first:
            torch.save(state, arguments.save)
    if arguments.losses and module.is_first:
        arguments.losses.write_text(json.dumps(losses))


def batches(module: DistributedModule, path: Path) -> Iterator[Any]:
    """This rank's rows of every global batch, over and over, from a file of what example_inputs returns."""
    data = torch.load(path, weights_only=True, mmap=True)  # what no rank reads stays in the file
    sampler = ShardSampler(module, samples_in(module, data), shuffle=False)
    while True:
        for rows in sampler:
            yield pick(module, data, rows)


def optimizers(lr: float) -> dict[str, Any]:
    return {
        "sgd": lambda parameters: torch.optim.SGD(parameters, lr=lr),
        "momentum": lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
        "adam": lambda parameters: torch.optim.Adam(parameters, lr=lr),
        "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=lr),
        "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=lr),
        "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=lr),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the split model.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=list(optimizers(0.0)), default="adamw")
    parser.add_argument("--clip", type=float, help="largest norm of all gradients together")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "weights.pt", help="state dict of the unsplit model")
    parser.add_argument("--data", type=Path, default=HERE / "batch.pt", help="torch.save of what example_inputs gives")
    parser.add_argument("--save", type=Path, help="where the trained state dict goes")
    parser.add_argument("--losses", type=Path, help="where the losses go, as JSON")
    parser.add_argument("--timeline", type=Path, help="where the times of all computations go, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of dropout")
    parser.add_argument("--backend", choices=("gloo", "nccl"), help="default: nccl where there are GPUs")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda under nccl, cpu under gloo")
    return parser.parse_args()


if __name__ == "__main__":
    command(main)
'''
