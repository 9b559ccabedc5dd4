"""What a simulated step sends, and over which links: ports of devices, uplinks of nodes, boundaries between stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autopart.cluster.cluster import Cluster
from autopart.program.program import Program
from autopart.simulate import Message, Timeline
from autopart.simulate.network import find_path


@dataclass(frozen=True, slots=True)
class LinkUse:
    """One direction of a link over a simulated step. ``busy_s``: carrying bytes; ``waited_s``: what messages stood in its queue
    or in that of their path's other end. ``bandwidth_bytes_per_s`` is its own, a message may go slower.
    """

    name: str
    outward: bool
    messages: int
    nbytes: int
    busy_s: float
    waited_s: float
    bandwidth_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Boundary:
    """What a microbatch moves from one stage to another, and the gradients that come back."""

    source: int
    target: int
    forward_bytes: int
    backward_bytes: int


def link_uses(timeline: Timeline, cluster: Cluster) -> tuple[LinkUse, ...]:
    """Every link that carried something, the busiest first."""
    found: dict[int, list[tuple[Message, float]]] = {}
    for message in timeline.messages:
        path = find_path(cluster, message.sender, message.receiver)
        found.setdefault(path.out, []).append((message, path.out_byte_s))
        found.setdefault(path.into, []).append((message, path.into_byte_s))
    uses = [_use(resource, carried, cluster) for resource, carried in found.items()]
    return tuple(sorted(uses, key=lambda use: (-use.busy_s, use.name, not use.outward)))


def _use(resource: int, carried: Sequence[tuple[Message, float]], cluster: Cluster) -> LinkUse:
    number, ports = resource // 2, len(cluster.ranks)
    if number < ports:
        group = cluster.groups[cluster.ranks[number].group]
        name, link = f"rank {number} inside {cluster.nodes[cluster.ranks[number].node]}", group.interconnect
    else:
        node = number - ports
        owner = next(rank.group for rank in cluster.ranks if rank.node == node)
        name, link = f"network of {cluster.nodes[node]}", cluster.groups[owner].network
    return LinkUse(
        name=name,
        outward=resource % 2 == 0,
        messages=len(carried),
        nbytes=sum(message.nbytes for message, _ in carried),
        busy_s=sum(message.nbytes * byte_s for message, byte_s in carried),
        waited_s=sum(message.start_s - message.ready_s for message, _ in carried),
        bandwidth_bytes_per_s=link.bandwidth_bytes_per_s,
    )


def boundaries(program: Program, sizes: Mapping[bool, Mapping[tuple[int, int], int]]) -> tuple[Boundary, ...]:
    """By pair of stages that talk to each other; ``sizes`` are bytes by direction, sender and receiver (``message_bytes``)."""
    stage_of = {rank: stage.index for stage in program.stages for rank in stage.ranks}
    totals: dict[tuple[int, int], list[int]] = {}
    for backward, pairs in sizes.items():
        for (sender, receiver), nbytes in pairs.items():
            ends = stage_of[sender], stage_of[receiver]
            totals.setdefault(ends[::-1] if backward else ends, [0, 0])[backward] += nbytes
    return tuple(Boundary(*ends, *both) for ends, both in sorted(totals.items()))


def message_bytes(messages: Iterable[Message]) -> dict[bool, dict[tuple[int, int], int]]:
    """Bytes of one microbatch by direction, sender and receiver."""
    found: dict[bool, dict[tuple[int, int], int]] = {False: {}, True: {}}
    for message in messages:
        found[message.backward][message.sender, message.receiver] = message.nbytes
    return found
