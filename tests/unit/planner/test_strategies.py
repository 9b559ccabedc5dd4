"""Options: shares that are as fast as can be, device counts, what pins leave."""

from __future__ import annotations

from itertools import product
from random import Random

from autopart.planner.problem import Part
from autopart.planner.shares import Pool, even_parts, fastest_parts
from autopart.planner.strategies import (
    FURTHER,
    OPTIONS,
    OptionSketch,
    Pins,
    device_counts,
    enumerate_settings,
    microbatch_counts,
    tensor_degrees,
)


def pool(devices: int, sample_s: float = 1.0, node_size: int = 8, fixed_s: float = 0.0, memory: float = 1.0) -> Pool:
    return Pool(devices, node_size, fixed_s, sample_s, memory)


def never(_parts: tuple[Part, ...], _microbatches: int) -> bool:
    return False


def test_shares_follow_speed() -> None:
    parts = fastest_parts([pool(2, 1.0), pool(1, 2.0)], (2, 1), 10)
    assert parts == (Part(0, (4, 4)), Part(1, (2,)))


def test_shares_are_as_fast_as_any_integers() -> None:
    rng = Random(0)
    for _ in range(200):
        pools = [pool(n, rng.uniform(0.2, 3), fixed_s=rng.choice((0.0, rng.uniform(0, 4)))) for n in (2, 1)]
        samples = rng.randint(3, 12)
        found = fastest_parts(pools, (2, 1), samples)
        assert sum(sum(part.samples) for part in found) == samples
        assert slowest_s(pools, found) <= best_s(pools, samples) + 1e-9


def slowest_s(pools: list[Pool], parts: tuple[Part, ...]) -> float:
    return max(pools[part.group].fixed_s + max(part.samples) * pools[part.group].sample_s for part in parts)


def best_s(pools: list[Pool], samples: int) -> float:
    """Of every way to give two devices of the first pool and one of the second at least one sample each."""
    ways = [(a, b, samples - a - b) for a, b in product(range(1, samples), repeat=2) if samples - a - b >= 1]
    return min(slowest_s(pools, (Part(0, (a, b)), Part(1, (c,)))) for a, b, c in ways)


def test_even_shares_differ_by_one() -> None:
    assert even_parts((2, 2), 7) == (Part(0, (2, 2)), Part(1, (2, 1)))


def test_small_clusters_try_every_count_and_large_ones_powers_and_nodes() -> None:
    assert len(device_counts([pool(3), pool(2)])) == 4 * 3 - 1
    large = device_counts([pool(64), pool(64)])
    alone = sorted(a for a, b in large if b == 0)
    assert alone == [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64]
    assert (64, 64) in large
    assert (4, 16) in large
    assert (1, 16) not in large


def test_pins_leave_what_they_ask_for() -> None:
    settings = enumerate_settings([pool(4), pool(4)], 24, roomy=never, pins=Pins(data=3, microbatches=2))
    assert [setting.microbatches for setting in settings] == [2]
    assert {sum(part.devices for part in option.parts) for option in settings[0].options} == {3}


def test_a_roomy_option_needs_neither_recomputation_nor_other_shares() -> None:
    tight = enumerate_settings([pool(2)], 4, roomy=never, pins=Pins(zero=0))
    roomy = enumerate_settings([pool(2)], 4, roomy=lambda _parts, _microbatches: True)
    assert not any(option.recompute for setting in roomy for option in setting.options)
    assert sum(len(setting.options) for setting in tight) == 2 * sum(len(setting.options) for setting in roomy)


def test_shares_towards_memory_are_listed_where_memory_is_tight() -> None:
    settings = enumerate_settings([pool(1, memory=1.0), pool(1, memory=3.0)], 8, roomy=never, pins=Pins(data=2, microbatches=1))
    shares = {tuple(part.samples[0] for part in option.parts) for option in settings[0].options}
    assert {(4, 4), (2, 6)} <= shares


def test_a_model_that_mixes_samples_has_one_microbatch_and_one_without_a_batch_one_replica() -> None:
    assert [s.microbatches for s in enumerate_settings([pool(2)], 8, roomy=never, one_microbatch=True)] == [1]
    whole = enumerate_settings([pool(2)], 1, roomy=never, one_replica=True)
    assert {option.parts for option in whole[0].options} == {(Part(0, (1,)),)}


def test_numbers_of_options_and_microbatches_stay_bounded() -> None:
    settings = enumerate_settings([pool(128), pool(128), pool(128)], 5040, roomy=never)
    assert max(len(setting.options) for setting in settings) <= OPTIONS + FURTHER
    divisors = microbatch_counts(5040, only_one=False, pinned=None)
    assert divisors[0] == 1
    assert divisors[-1] == 5040
    assert len(divisors) <= 22
    assert all(5040 % n == 0 for n in divisors)


def always(_parts: tuple[Part, ...], _microbatches: int) -> bool:
    return True


def everywhere(_group: int, _tensor: int) -> bool:
    return True


def teams_of(options: tuple[OptionSketch, ...]) -> set[tuple[int, tuple[tuple[int, int], ...]]]:
    """(tensor degree, (group, replicas) of each part) of the options that have one."""
    return {
        (option.parts[0].tensor, tuple((part.group, len(part.samples)) for part in option.parts))
        for option in options
        if option.parts[0].tensor > 1
    }


def test_teams_are_powers_of_two_and_what_divides_a_node() -> None:
    assert tensor_degrees(1) == ()
    assert tensor_degrees(8) == (2, 4, 8)
    assert tensor_degrees(12) == (2, 3, 4, 6, 8, 12)


def test_teams_fill_nodes_but_never_leave_them() -> None:
    (setting,) = enumerate_settings([pool(12, node_size=6)], 8, roomy=always, splits=everywhere, pins=Pins(microbatches=1))
    found = teams_of(setting.options)
    most = {tensor: max(counts[0][1] for t, counts in found if t == tensor) for tensor, _ in found}
    assert most == {2: 6, 3: 4, 4: 2, 6: 2}
    assert all(sum(option.parts[0].samples) == 8 for option in setting.options)


def test_stages_of_teams_of_two_groups() -> None:
    pools = [pool(4, node_size=4), pool(2, node_size=2), pool(3, node_size=1)]
    (setting,) = enumerate_settings(pools, 8, roomy=always, splits=everywhere, pins=Pins(microbatches=1))
    alone = {(2, ((0, 1),)), (2, ((0, 2),)), (4, ((0, 1),)), (2, ((1, 1),))}
    assert teams_of(setting.options) == alone | {(2, ((0, 1), (1, 1))), (2, ((0, 2), (1, 1)))}


def test_where_the_model_can_not_be_split_nothing_is() -> None:
    only_two = enumerate_settings([pool(4, node_size=4)], 4, roomy=always, splits=lambda _group, tensor: tensor == 2)
    assert {tensor for setting in only_two for tensor, _ in teams_of(setting.options)} == {2}
    assert not any(teams_of(setting.options) for setting in enumerate_settings([pool(4, node_size=4)], 4, roomy=always))


def test_a_pinned_degree_leaves_no_other() -> None:
    for pins in (Pins(tensor=2), Pins(tensor=2, data=2), Pins(tensor=1)):
        settings = enumerate_settings([pool(4, node_size=4)], 4, roomy=never, splits=everywhere, pins=pins)
        options = [option for setting in settings for option in setting.options]
        assert {part.tensor for option in options for part in option.parts} == {pins.tensor}
        assert pins.data is None or {len(option.parts[0].samples) for option in options} == {pins.data}


def test_without_a_batch_dim_columns_remain() -> None:
    (setting,) = enumerate_settings([pool(4, node_size=4)], 1, roomy=always, splits=everywhere, one_replica=True)
    assert {(part.tensor, part.samples) for option in setting.options for part in option.parts} == {
        (1, (1,)),
        (2, (1,)),
        (4, (1,)),
    }


def test_zero_is_for_replicas_whose_memory_is_tight() -> None:
    (tight,) = enumerate_settings([pool(2)], 4, roomy=never, pins=Pins(microbatches=2))
    assert {option.zero for option in tight.options if len(option.parts[0].samples) == 2} == {0, 1, 2, 3}
    assert {option.zero for option in tight.options if len(option.parts[0].samples) == 1} == {0}
    (one,) = enumerate_settings([pool(2)], 4, roomy=never, pins=Pins(microbatches=1))
    assert {option.zero for option in one.options} == {0, 2, 3}
    (roomy,) = enumerate_settings([pool(2)], 4, roomy=always, pins=Pins(microbatches=1))
    assert {option.zero for option in roomy.options} == {0}
    (pinned,) = enumerate_settings([pool(2)], 4, roomy=always, pins=Pins(microbatches=1, zero=1))
    assert {(len(option.parts[0].samples), option.zero) for option in pinned.options} == {(1, 0), (2, 1)}


def test_single_devices_without_zero_are_the_same_whatever_comes_on_top() -> None:
    pools = [pool(6, memory=1.0), pool(4, memory=3.0, node_size=4)]
    more = enumerate_settings(pools, 24, roomy=never, splits=everywhere)
    plain = enumerate_settings(pools, 24, roomy=never, pins=Pins(tensor=1, zero=0))
    for a, b in zip(more, plain, strict=True):
        assert a.options[: len(b.options)] == b.options
