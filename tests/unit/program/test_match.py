"""What the faults of a program look like; that none slips through is a property test."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from autopart.program.match import check_pieces, match
from autopart.program.pieces import pieces
from autopart.program.program import Action, Kind, Program
from autopart.program.steps import ProgramError
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from tests.programs import chain, spec, transfer


def changed(program: Program, rank: int, change: Callable[[list[Action]], object]) -> Program:
    actions = list(program.actions[rank])
    change(actions)
    return replace(program, actions={**program.actions, rank: tuple(actions)})


def fault(program: Program) -> str:
    with pytest.raises(ProgramError) as caught:
        match(program)
    return str(caught.value)


def test_good_programs_pass() -> None:
    for schedule in ("1f1b", "gpipe"):
        match(chain([(3, 1), (2, 2), (1, 2, 1)], 5, schedule, skips=[(0, 2)]))


def test_a_forgotten_receive_shows_both_ranks() -> None:
    program = changed(chain([(1,), (1,)], 4), 1, lambda actions: actions.remove(Action(Kind.RECEIVE, 1, 2, 0)))
    assert fault(program) == (
        "forward messages of rank 0 to rank 1 don't match: "
        "sends microbatch 2 where microbatch 3 is received and microbatch 2 is due\n"
        "  rank 0   0F0 >1  0F1 >1  <1 0B0  [0F2 >1]  <1 0B1  0F3 >1  <1 0B2 ...\n"
        "  rank 1   ... 1B1 >0  1F2  1B2 >0  [<0 1F3]  1B3 >0  1S  1U"
    )


def test_a_message_to_the_wrong_rank() -> None:
    program = chain([(1,), (1,), (1,)], 2)

    def redirect(actions: list[Action]) -> None:
        at = actions.index(Action(Kind.SEND, 0, 0, 1))
        actions[at] = replace(actions[at], peer=2)

    assert "forward messages of rank 0 to rank 1 don't match" in fault(changed(program, 0, redirect))


def test_a_missing_backward() -> None:
    program = changed(chain([(1,)], 2), 0, lambda actions: actions.remove(Action(Kind.BACKWARD, 0, 1, -1, True)))
    assert fault(program) == "rank 0: 0S out of turn\n  rank 0   0F0  0B0  0F1  [0S]  0U"


def test_a_backward_before_its_forward() -> None:
    def hurry(actions: list[Action]) -> None:
        actions[0], actions[1] = actions[1], actions[0]

    assert fault(changed(chain([(1,)], 1), 0, hurry)) == "rank 0: 0B0 out of turn\n  rank 0   [0B0]  0F0  0S  0U"


def test_a_missing_end() -> None:
    assert "ends without all of 0U" in fault(changed(chain([(1,)], 1), 0, lambda actions: actions.pop()))


def test_replicas_that_part_ways() -> None:
    """Each list is fine by itself, but a collective in F or B would meet another."""
    gpipe, alternating = chain([(1, 1)], 2, "gpipe"), chain([(1, 1)], 2)
    mixed = replace(gpipe, actions={0: gpipe.actions[0], 1: alternating.actions[1]})
    assert fault(mixed).startswith("ranks 0 and 1 of one stage part ways\n  rank 0   0F0  [0F1]  0B0")


def test_a_deadlock_names_its_circle() -> None:
    """The last stage runs all forwards first while the one before waits for the first gradient."""
    program, gpipe = chain([(1,), (1,)], 4), chain([(1,), (1,)], 4, "gpipe")
    text = fault(replace(program, actions={0: program.actions[0], 1: gpipe.actions[1]}))
    assert text.startswith("deadlock: 0B0 waits for 1B0 waits for 1F3 waits for ")
    assert "  rank 0   0F0 >1  0F1 >1  [<1 0B0]" in text
    assert "[1B0 >0]" in text


def test_lists_for_other_ranks() -> None:
    program = chain([(1,), (1,)], 1)
    assert "lists are of ranks [0]" in fault(replace(program, actions={0: program.actions[0]}))


def test_a_send_away_from_its_computation() -> None:
    def later(actions: list[Action]) -> None:
        actions[1], actions[2] = actions[2], actions[1]

    assert fault(changed(chain([(1,), (1,)], 2, "gpipe"), 0, later)).startswith("rank 0: >1 after 0F0 does not stand after it")


@pytest.mark.parametrize("columns", [(1, 1), (1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("placement", [Shard(0), Replicate(), Partial()])
def test_pieces_that_leave_something_out(placement: Placement, columns: tuple[int, int]) -> None:
    source = spec(0, range(2 * columns[0]), (3, 1), tensor=columns[0])
    target = spec(1, range(10, 10 + 2 * columns[1]), (2, 2), tensor=columns[1])
    value = transfer(0, 1, placement)
    good = pieces(value, source, target)
    check_pieces(value, source, target, good)
    for bad in (good[1:], (*good, good[0])):
        with pytest.raises(ProgramError, match="the pieces of v0_1 from stage 0 to 1 don't fit"):
            check_pieces(value, source, target, bad)


def test_a_column_reads_from_one_column() -> None:
    """Both have the rows; but then neither would get the gradient of all of them."""
    source, target = spec(0, (0, 1), (2,), tensor=2), spec(1, (2, 3), (1, 1))
    first, second = pieces(transfer(0, 1), source, target)
    with pytest.raises(ProgramError, match="don't fit"):
        check_pieces(transfer(0, 1), source, target, (first, replace(second, source_rank=1)))


def test_ranks_that_are_no_mesh() -> None:
    program = chain([(1, 1)], 1)
    bad = replace(program, stages=(replace(program.stages[0], tensor=2),))
    assert fault(bad) == "stage 0 has 2 replicas of 2 columns on ranks [0, 1]"


def test_rows_that_shift() -> None:
    source, target = spec(0, (0,), (4,)), spec(1, (1, 2), (2, 2))
    first, second = pieces(transfer(0, 1), source, target)
    for bad in (replace(second, source_start=1), replace(second, rows=3), replace(second, target_rank=0)):
        with pytest.raises(ProgramError):
            check_pieces(transfer(0, 1), source, target, (first, bad))
