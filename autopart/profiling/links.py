"""``autopart profile --links``: how long messages and collectives take between the ranks of a cluster, run on all of them.

For every path one pair of ranks plays ping-pong over sizes; half of a round trip is a message. Then collectives run, and are
compared with what the formulas say of the links as measured. A message of gloo costs its ranks processor time as well; that is
measured along, in seconds in which the device can't compute: what the process used, over the share of a core that it gets.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath

import torch
import torch.distributed as dist

from autopart.cluster.cluster import Cluster, topology
from autopart.cluster.load import load_cluster
from autopart.errors import RunError
from autopart.profiling import pace
from autopart.profiling.pace import Pace, own_pace
from autopart.profiling.paths import Collective, Links, Path, paths, with_links, with_messages
from autopart.profiling.report import format_links
from autopart.profiling.rewrite import rewritten
from autopart.runtime.exchange import exchange, gather
from autopart.runtime.world import failing_as, leave
from cost_models import collective
from cost_models.links import fit

Say = Callable[[str], None]

SIZES: Mapping[int, tuple[int, int]] = {64: (30, 60), 2**16: (16, 48), 2**18: (10, 30), 2**20: (8, 18), 2**22: (8, 12)}
"""Bytes of a message, and how often it goes there and back: timed alone, or between bursts of computing under a quota."""
COLLECTIVE_SIZES: Mapping[int, tuple[int, int]] = {2**12: (5, 24), 2**18: (5, 24), 2**20: (5, 12), 2**23: (5, 6)}
APART_S = 0.005
FORMULAS: Mapping[str, Callable[[float, collective.Topology], float]] = {
    "all_reduce": collective.all_reduce_s,
    "all_gather": collective.ring_all_gather_s,
    "all_to_all": collective.all_to_all_s,
}


@dataclass(frozen=True)
class _Here:
    """Of this process its rank, and where its messages lie."""

    rank: int
    device: torch.device

    def settle(self) -> None:
        """Until what was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def profile_links(devices: str, output: str | None, say: Say) -> str:
    """Measures the cluster of a file, on every rank of it. On rank 0 writes the file with what was measured; what to print."""
    cluster = load_cluster(devices, measured=False)
    here = _join(cluster)
    with failing_as(f"measuring links on rank {here.rank}"):
        found = measure(cluster, here, say)
    leave()
    if here.rank:
        return ""
    if output:
        FilePath(output).write_text(rewritten(FilePath(devices).read_text(encoding="utf-8"), devices, found), encoding="utf-8")
    return format_links(found)


def _join(cluster: Cluster) -> _Here:
    """Into the process group, by torchrun's environment."""
    count = len(cluster.ranks)
    remedy = f"Start it on all ranks: torchrun --nproc-per-node {count} -m autopart profile --links --devices {cluster.path}"
    if "WORLD_SIZE" not in os.environ:
        raise RunError(f"the cluster has {count} ranks, this process is alone", where=cluster.path, remedy=remedy)
    if int(os.environ["WORLD_SIZE"]) != count:
        started = os.environ["WORLD_SIZE"]
        raise RunError(f"{started} processes were started, the cluster has {count} ranks", where=cluster.path, remedy=remedy)
    cuda = torch.cuda.is_available()
    with failing_as("joining the other ranks"):
        dist.init_process_group("nccl" if cuda else "gloo")
    if not cuda:
        return _Here(dist.get_rank(), torch.device("cpu"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return _Here(dist.get_rank(), device)


def measure(cluster: Cluster, here: _Here, say: Say) -> Links:
    """Paths, then collectives; every rank returns the same."""
    paces: list[Pace] = [Pace(1.0, 0.0)] * dist.get_world_size()
    dist.all_gather_object(paces, own_pace())
    seconds: dict[Path, dict[int, float]] = {}
    cpu: dict[tuple[Path, int], dict[int, float]] = {}
    for path in paths(cluster):
        say(f"measuring {path.name(cluster)}")
        dist.barrier()
        mine = _ping_pong(here, path.ranks, paces) if here.rank in path.ranks else {}
        both = _everybodys(mine)
        seconds[path] = {size: times_s for size, (times_s, _) in both[path.ranks[0]].items()}
        for rank, times in both.items():
            cpu[path, rank] = {size: used_s / paces[rank].share for size, (_, used_s) in times.items()}
    fits = {path: fit(list(times), list(times.values())) for path, times in seconds.items()}
    used = {} if here.device.type == "cuda" else {place: fit(list(times), list(times.values())) for place, times in cpu.items()}
    measured = with_messages(with_links(cluster, fits), used)
    return Links(dist.get_backend(), fits, used, tuple(_collectives(measured, here, paces, say)), measured)


def _everybodys(mine: dict[int, tuple[float, float]]) -> dict[int, dict[int, tuple[float, float]]]:
    """By rank, of the ranks that measured something."""
    found: list[dict[int, tuple[float, float]]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, mine)
    return {rank: times for rank, times in enumerate(found) if times}


def _ping_pong(here: _Here, ranks: tuple[int, int], paces: Sequence[Pace]) -> dict[int, tuple[float, float]]:
    """By size: the seconds of a message one way, as the first of the two sees it, and processor seconds of one end."""
    first = here.rank == ranks[0]
    peer = ranks[1] if first else ranks[0]
    hello = torch.ones(1, dtype=torch.uint8, device=here.device)
    answer, found = torch.empty_like(hello), {}
    meet = partial(_there_and_back, here, peer, hello, answer, first=first)
    for nbytes, (alone, sustained) in SIZES.items():
        sent = torch.ones(nbytes, dtype=torch.uint8, device=here.device)
        turn = partial(_there_and_back, here, peer, sent, torch.empty_like(sent), first=first)
        of_both = [paces[rank] for rank in ranks]
        took_s, used_s = pace.seconds(turn, paces[here.rank], of_both, alone=alone, sustained=sustained, before=meet)
        found[nbytes] = took_s / 2, used_s / 2
    return found


def _there_and_back(here: _Here, peer: int, sent: torch.Tensor, received: torch.Tensor, *, first: bool) -> None:
    """The receive is posted before anything is sent, as in training."""
    coming = dist.irecv(received, peer)
    assert coming is not None, "this rank is in the group"
    if not first:
        coming.wait()
        here.settle()
    going = dist.isend(sent, peer)
    assert going is not None, "this rank is in the group"
    if first:
        coming.wait()
    going.wait()
    here.settle()


def _collectives(cluster: Cluster, here: _Here, paces: Sequence[Pace], say: Say) -> list[Collective]:
    """Over the first node of every group, and over all ranks."""
    firsts = [min(rank.rank for rank in cluster.ranks if rank.group == index) for index in range(len(cluster.groups))]
    nodes = [tuple(range(first, first + group.devices_per_node)) for first, group in zip(firsts, cluster.groups, strict=True)]
    found = []
    for ranks in dict.fromkeys([*(node for node in nodes if len(node) > 1), tuple(range(len(cluster.ranks)))]):
        if len(ranks) < 2:
            continue
        group, of_all = dist.new_group(ranks), [paces[rank] for rank in ranks]
        for name, formula in FORMULAS.items():
            say(f"measuring {name} over {len(ranks)} ranks")
            for nbytes in COLLECTIVE_SIZES:
                dist.barrier()
                mine_s = _collective_s(here, name, nbytes, group, of_all) if here.rank in ranks else math.inf
                last = torch.tensor([mine_s], dtype=torch.float64, device=here.device)
                dist.all_reduce(last, dist.ReduceOp.MIN)
                found.append(Collective(name, ranks, nbytes, float(last), formula(nbytes, topology(cluster, ranks))))
    return found


def _collective_s(here: _Here, name: str, nbytes: int, group: dist.ProcessGroup, paces: Sequence[Pace]) -> float:
    """Of this rank. As in training they do not come at one time; the last one's time is the shortest."""
    count, place = dist.get_world_size(group), dist.get_rank(group)
    size = nbytes // 4 // count
    whole = torch.zeros(size * count, dtype=torch.float32, device=here.device)
    other, part = torch.zeros_like(whole), torch.zeros(size, device=here.device)
    calls: Mapping[str, Callable[[], Sequence[dist.Work]]] = {
        "all_reduce": lambda: [dist.all_reduce(whole, group=group, async_op=True)],
        "all_gather": lambda: gather(part, whole, place, group),
        "all_to_all": lambda: exchange(_parts(whole, count), _parts(other, count), place, group),
    }

    def call() -> None:
        for work in calls[name]():
            work.wait()
        here.settle()

    def apart() -> None:
        dist.barrier(group)
        pace.compute(place * APART_S)

    alone, sustained = COLLECTIVE_SIZES[nbytes]
    return pace.seconds(call, paces[place], paces, alone=alone, sustained=sustained, before=apart)[0]


def _parts(row: torch.Tensor, count: int) -> Sequence[torch.Tensor]:
    return row.view(count, -1).unbind()
