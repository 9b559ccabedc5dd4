from dataclasses import replace

from autopart.program.program import Program, StageSpec
from autopart.program.reductions import GradientSum, gradient_sums
from autopart.sharding.placement import Shard
from tests.programs import spec


def sums(*stages: StageSpec, shards: tuple[str, ...] = ()) -> list[GradientSum]:
    return list(gradient_sums(Program(4, 1, "1f1b", stages, (), {}, {name: Shard(0, 1, 2) for name in shards})))


def test_one_rank_sums_nothing() -> None:
    assert sums(spec(0, (0,), (4,), "ab")) == []
    assert sums(spec(0, (0,), (4,), "ab"), spec(1, (1,), (4,), "c")) == []


def test_replicas_sum_what_they_hold() -> None:
    assert sums(spec(0, (3, 1), (2, 2), "ab")) == [GradientSum((0,), (3, 1), ("a", "b"))]


def test_a_tied_parameter_is_summed_over_all_its_stages() -> None:
    first, second = spec(0, (0,), (4,), "ab"), spec(1, (1, 2), (2, 2), "bc")
    assert sums(first, second) == [GradientSum((0, 1), (0, 1, 2), ("b",)), GradientSum((1,), (1, 2), ("c",))]


def test_what_is_whole_is_summed_over_all_ranks_and_a_shard_over_its_column() -> None:
    stage = spec(0, (0, 1, 2, 3), (2, 2), "abcd", tensor=2)
    assert sums(stage, shards=("a", "c")) == [
        GradientSum((0,), (0, 1, 2, 3), ("b", "d")),
        GradientSum((0,), (0, 2), ("a", "c")),
        GradientSum((0,), (1, 3), ("a", "c")),
    ]


def test_one_replica_sums_nothing_of_its_shards() -> None:
    assert sums(spec(0, (0, 1), (4,), "ab", tensor=2), shards=("a",)) == [GradientSum((0,), (0, 1), ("b",))]


def test_a_tied_shard_is_summed_column_by_column() -> None:
    stages = spec(0, (0, 1), (4,), "a", tensor=2), spec(1, (2, 3, 4, 5), (2, 2), "a", tensor=2)
    assert sums(*stages, shards=("a",)) == [GradientSum((0, 1), (0, 2, 4), ("a",)), GradientSum((0, 1), (1, 3, 5), ("a",))]


def test_zero_is_the_stages_level_where_it_shares_with_nobody() -> None:
    first = replace(spec(0, (0, 1), (2, 2), "ab"), zero=2)
    second = replace(spec(1, (2, 3), (2, 2), "bc"), zero=1)
    assert [(group.parameters, group.zero) for group in sums(first, second)] == [(("a",), 2), (("b",), 0), (("c",), 1)]
