"""What the formula says a boundary takes is what the simulator's messages take, where counts of devices tell where ends are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.planner.decode import place
from autopart.planner.problem import Part, columns_of, replicas_of
from autopart.planner.routes import half_s, make_routes
from autopart.planner.shares import Parts
from autopart.pricing.table import Cut
from autopart.program.lower import with_actions
from autopart.program.program import Program, StageSpec
from autopart.simulate import simulate
from autopart.simulate.timeline import Message
from tests.programs import costs_of, random_shares, spec, transfer

CLUSTERS = Path(__file__).parents[2] / "examples" / "clusters"
DRAWS = 1200


@dataclass(frozen=True)
class Pair:
    """Two stages on a cluster, for one value of ``width`` float32 a row that has a gradient."""

    cluster: Cluster
    parts: tuple[Parts, Parts]
    stages: tuple[StageSpec, StageSpec]
    width: int

    @property
    def rows(self) -> int:
        return sum(self.stages[0].shares)

    @property
    def formula_s(self) -> float:
        """Both ways, as two stages pay it together."""
        nbytes = float(4 * self.width * self.rows)
        cut = Cut(np.array([0.0, nbytes, 0.0]), np.array([0.0, nbytes, 0.0]))
        halves = sum(half_s(each, self.cluster, cut, self.rows)[1] for each in self.parts)
        return max(float(halves), make_routes(self.parts, self.cluster, cut, self.rows).seconds(0, 1, 1))

    def simulated_s(self) -> tuple[float, float]:
        """Of the values, and of the gradients, which all leave together: nothing is computed, the last rank waits for nobody."""
        arrived: dict[int, float] = {}
        for message in self._play({}, gradient=False):
            arrived[message.receiver] = max(arrived.get(message.receiver, 0.0), message.end_s)
        forward_s = max(arrived.values())
        late = {rank: forward_s - at for rank, at in arrived.items()}
        return forward_s, max(message.end_s for message in self._play(late, gradient=True)) - forward_s

    def _play(self, late_s: dict[int, float], *, gradient: bool) -> Sequence[Message]:
        value = transfer(0, 1, width=self.width, gradient=gradient)
        program = with_actions(Program(self.rows, 1, "1f1b", self.stages, (value,), {}))
        costs = costs_of(program, [0.0, 0.0], [0.0, 0.0])
        of = {key: replace(own, forward_s=late_s.get(key[1], 0.0)) for key, own in costs.of.items()}
        return simulate(program, replace(costs, of=of), self.cluster).messages


def random_pair(rng: Random, cluster: Cluster) -> Pair | None:
    rows, tensor = rng.choice((4, 6, 8, 12, 16)), rng.choice((1, 1, 1, 2))
    parts = random_parts(rng, cluster, rows, tensor), random_parts(rng, cluster, rows, tensor)
    if parts[0] is None or parts[1] is None:
        return None
    used = Counter[int]()
    for part in (*parts[0], *parts[1]):
        used[part.group] += part.devices
    if any(count > cluster.groups[group].devices for group, count in used.items()):
        return None
    ranks = place(parts, cluster)
    if ranks is None:
        return None
    specs = [spec(i, ranks[i], replicas_of(each), tensor=columns_of(each)) for i, each in enumerate(parts)]
    return Pair(cluster, (parts[0], parts[1]), (specs[0], specs[1]), rng.choice((64, 4096, 10**6)))


def random_parts(rng: Random, cluster: Cluster, rows: int, tensor: int) -> Parts | None:
    """Of one group, seldom of two; even shares where they divide, or uneven ones."""
    groups = sorted(rng.sample(range(len(cluster.groups)), min(len(cluster.groups), rng.choice((1, 1, 1, 1, 2)))))
    most = [cluster.groups[g].count * (cluster.groups[g].devices_per_node // tensor) for g in groups]
    if min(most) < 1:
        return None
    counts = [rng.randint(1, room) for room in most]
    if sum(counts) > rows:
        return None
    even = rows % sum(counts) == 0 and rng.random() < 0.6
    shares = list((rows // sum(counts),) * sum(counts) if even else random_shares(rng, rows, sum(counts)))
    return tuple(
        Part(g, tuple(sorted((shares.pop() for _ in range(n)), reverse=True)), tensor)
        for g, n in zip(groups, counts, strict=True)
    )


def known(pair: Pair) -> bool:
    """Whether counts say where both ends are and what shares a way: one group each, apart or in the only node of theirs; over an
    exception, whose messages are as slow as it one by one, even shares; inside a node one sender, or one receiver, or pairs.
    """
    if any(len(parts) > 1 for parts in pair.parts):
        return False
    (one,), (other,) = pair.parts
    a, b = pair.cluster.groups[one.group], pair.cluster.groups[other.group]
    even = len(set(one.samples)) == len(set(other.samples)) == 1
    if one.group != other.group:
        link, uplinks = pair.cluster.network(one.group, other.group), (a.network, b.network)
        return even or link.bandwidth_bytes_per_s == min(each.bandwidth_bytes_per_s for each in uplinks)
    return a.count == 1 and (one.samples == other.samples or 1 in (len(one.samples), len(other.samples)))


def hands_free(cluster: Cluster) -> Cluster:
    """The cluster with devices that handle messages beside computing."""
    free = [replace(group, device=replace(group.device, message_cpu_s=0.0, byte_cpu_s=0.0)) for group in cluster.groups]
    return replace(cluster, groups=tuple(free))


@pytest.mark.parametrize("name", ["mixed.yaml", "uniform.yaml", "cpus.yaml"])
def test_a_boundary_takes_as_long_as_its_messages(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the way alone: what handling messages takes from computing is in the simulation only."""
    rng, cluster = Random(1), hands_free(load_cluster(CLUSTERS / name))
    pairs = [pair for pair in (random_pair(rng, cluster) for _ in range(DRAWS)) if pair]
    exact = [pair for pair in pairs if known(pair)]
    for pair in exact:
        forward_s, backward_s = pair.simulated_s()
        assert forward_s == pytest.approx(backward_s, rel=1e-9)
        assert pair.formula_s == pytest.approx(forward_s + backward_s, rel=1e-9)
    with capsys.disabled():
        print(f" [{name}: {len(exact)} of {len(pairs)} are exact] ", end="")  # noqa: T201  how far the formula reaches is a result
    assert len(exact) > 200


def test_a_slow_link_is_seen_where_the_best_way_out_of_both_groups_is_fast() -> None:
    """Halves are of the fast ways, the whole way is the slow one."""
    mixed = load_cluster(CLUSTERS / "mixed.yaml")
    cut = Cut(np.array([0.0, 1e6, 0.0]), np.array([0.0, 1e6, 0.0]))
    places = ((Part(0, (4, 4)),), (Part(2, (4, 4)),))
    halves = sum(float(half_s(parts, mixed, cut, 8)[1]) for parts in places)
    slow = mixed.network(0, 2)
    way_s = make_routes(places, mixed, cut, 8).seconds(0, 1, 1)
    piece_s = 0.5e6 / slow.bandwidth_bytes_per_s
    uplink_s = 0.5e6 / mixed.groups[2].network.bandwidth_bytes_per_s
    assert way_s == pytest.approx(2 * (slow.latency_s + piece_s + uplink_s))
    assert way_s > 1.5 * halves


def test_halves_are_never_more_than_the_way_to_any_other_group() -> None:
    """So that what is extra makes up the whole: for stages of equally many columns."""
    rng, cluster = Random(2), load_cluster(CLUSTERS / "mixed.yaml")
    for _ in range(DRAWS):
        pair = random_pair(rng, cluster)
        if pair and all(len(parts) == 1 for parts in pair.parts) and pair.parts[0][0].group != pair.parts[1][0].group:
            nbytes = float(4 * pair.width * pair.rows)
            cut = Cut(np.array([0.0, nbytes, 0.0]), np.array([0.0, nbytes, 0.0]))
            halves = sum(float(half_s(parts, cluster, cut, pair.rows)[1]) for parts in pair.parts)
            assert halves <= make_routes(pair.parts, cluster, cut, pair.rows).seconds(0, 1, 1) * (1 + 1e-9)
