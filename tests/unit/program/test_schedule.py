import pytest

from autopart.program.program import Kind
from autopart.program.schedule import SCHEDULES, in_flight, order
from autopart.program.steps import describe
from tests.programs import chain


def computations(schedule: str, stage: int, stages: int, microbatches: int) -> str:
    return " ".join(describe(action) for action in order(schedule, stage, stages, microbatches))


def test_gpipe_runs_all_forwards_first() -> None:
    assert computations("gpipe", 0, 3, 3) == "0F0 0F1 0F2 0B0 0B1 0B2"


def test_1f1b_warms_up_by_position_from_the_end() -> None:
    assert computations("1f1b", 2, 3, 4) == "2F0 2B0 2F1 2B1 2F2 2B2 2F3 2B3"
    assert computations("1f1b", 1, 3, 4) == "1F0 1F1 1B0 1F2 1B1 1F3 1B2 1B3"
    assert computations("1f1b", 0, 3, 4) == "0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3"
    assert computations("1f1b", 0, 3, 2) == "0F0 0F1 0B0 0B1"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_stage_never_holds_more_than_in_flight(schedule: str) -> None:
    for stages in range(1, 6):
        for microbatches in range(1, 8):
            for stage in range(stages):
                held, most = 0, 0
                for action in order(schedule, stage, stages, microbatches):
                    held += 1 if action.kind is Kind.FORWARD else -1
                    most = max(most, held)
                assert held == 0
                assert most == in_flight(schedule, stages - stage, microbatches)


def test_an_unknown_schedule_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="no schedule 'zigzag'"):
        in_flight("zigzag", 1, 1)


def test_messages_stand_around_their_computation_and_updates_at_the_end() -> None:
    program = chain([(1,), (1,)], 2, "gpipe")
    words = [f"{a.kind.value}{a.peer}" if a.peer >= 0 else describe(a) for a in program.actions[0]]
    assert words == ["0F0", ">1", "0F1", ">1", "<1", "0B0", "<1", "0B1", "0S", "0U"]
    words = [f"{a.kind.value}{a.peer}" if a.peer >= 0 else describe(a) for a in program.actions[1]]
    assert words == ["<0", "1F0", "<0", "1F1", "1B0", ">0", "1B1", ">0", "1S", "1U"]
