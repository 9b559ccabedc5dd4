"""What pieces carry, counted row by row: every target has its rows, and no gradient is lost or counted twice."""

from __future__ import annotations

from collections import Counter
from random import Random

from autopart.program.pieces import pieces
from autopart.program.program import StageSpec
from autopart.sharding.placement import Partial, Replicate, Shard
from tests.programs import random_shares, spec, transfer

CASES = 500
Held = dict[tuple[int, int], int]  # by column and row


def random_pair(rng: Random) -> tuple[StageSpec, StageSpec]:
    rows, start, found = rng.randint(1, 9), 0, []
    for index in range(2):
        shares, tensor = random_shares(rng, rows, rng.randint(1, min(rows, 4))), rng.randint(1, 4)
        ranks = list(range(start, start + len(shares) * tensor))
        rng.shuffle(ranks)
        found.append(spec(index, ranks, shares, tensor=tensor))
        start += len(ranks)
    return found[0], found[1]


def first_row(stage: StageSpec, rank: int) -> int:
    return sum(stage.shares[: stage.place(rank)[0]])


def test_rows_arrive_once_and_their_gradients_add_up() -> None:
    for seed in range(CASES):
        rng = Random(seed)
        source, target = random_pair(rng)
        rows = range(sum(source.shares))
        grads = {(column, row): rng.randint(1, 99) for column in range(target.tensor) for row in rows}
        arrived: Counter[tuple[int, int]] = Counter()
        back = Counter[int]()
        for piece in pieces(transfer(0, 1), source, target):
            for offset in range(piece.rows):
                row = first_row(source, piece.source_rank) + piece.source_start + offset
                assert row == first_row(target, piece.target_rank) + piece.target_start + offset
                column = target.place(piece.target_rank)[1]
                arrived[column, row] += 1
                back[row] += grads[column, row]
        assert arrived == Counter(grads.keys())
        assert back == {row: sum(grads[column, row] for column in range(target.tensor)) for row in rows}


def test_a_replicated_value_arrives_once_on_every_rank() -> None:
    for seed in range(CASES):
        source, target = random_pair(Random(seed))
        found = pieces(transfer(0, 1, Replicate()), source, target)
        assert sorted(piece.target_rank for piece in found) == sorted(target.ranks)


def test_partial_terms_add_up_in_every_column() -> None:
    """Forward the terms of one source column; back the gradient, which each of its ranks gets from every column that reads."""
    for seed in range(CASES):
        source, target = random_pair(Random(seed))
        found = pieces(transfer(0, 1, Partial()), source, target)
        readers: Counter[int] = Counter()
        for column in range(target.tensor):
            senders = [piece.source_rank for piece in found if target.place(piece.target_rank)[1] == column]
            columns = {source.place(rank)[1] for rank in senders}
            assert len(columns) == 1
            assert sorted(senders) == sorted(source.column(*columns).ranks)
            readers.update(columns)
        assert sum(readers.values()) == target.tensor
        assert max(readers.values()) - min(readers[column] for column in range(source.tensor)) <= 1


def test_columns_are_read_evenly() -> None:
    for seed in range(CASES):
        source, target = random_pair(Random(seed))
        links = {
            (source.place(piece.source_rank)[1], target.place(piece.target_rank)[1])
            for piece in pieces(transfer(0, 1, Shard(0)), source, target)
        }
        assert len(links) == target.tensor
        readers = Counter(column for column, _ in links)
        assert max(readers.values()) <= -(-target.tensor // source.tensor)
