"""The script that a user has without autopart: plain_ddp.py model.py weights.pt batch.pt, under torchrun."""

import runpy
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    file, weights, data = sys.argv[1:]
    dist.init_process_group("gloo")
    names = runpy.run_path(file)
    model = names["model"]()
    model.load_state_dict(torch.load(weights, weights_only=True))
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=1e-3)
    inputs, targets = torch.load(data, weights_only=True)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    loss = names["loss"](wrapped(*(each.chunk(ranks)[rank] for each in inputs)), *(each.chunk(ranks)[rank] for each in targets))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    dist.all_reduce(total := loss.detach().clone())
    if rank == 0:
        print(f"step {1:4d}  loss {total.item() / ranks:.6f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
