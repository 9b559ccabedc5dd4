import pytest

from autopart.errors import PlanError
from autopart.program.program import Action, Kind
from autopart.program.steps import ProgramError, join_steps, split_steps
from autopart.program.text import format_actions, parse_actions
from tests.programs import chain


def test_short_lists_are_written_out() -> None:
    program = chain([(1, 1), (2,)], 2)
    assert format_actions(program.actions) == (
        "rank 0   0F0 >2  0F1 >2  <2 0B0  <2 0B1  0S  0U\n"
        "rank 1   0F0 >2  0F1 >2  <2 0B0  <2 0B1  0S  0U\n"
        "rank 2   <0,1 1F0  1B0 >0,1  <0,1 1F1  1B1 >0,1  1S  1U\n"
    )


def test_long_lists_are_written_as_rounds() -> None:
    program = chain([(1,), (1,)], 200)
    assert format_actions(program.actions) == (
        "rank 0   0F0 >1  199*(0F1 >1  <1 0B0)  <1 0B199  0S  0U\nrank 1   200*(<0 1F0  1B0 >0)  1S  1U\n"
    )
    for rank, actions in program.actions.items():
        assert parse_actions(format_actions(program.actions), rank) == actions


def test_long_lines_go_on_below() -> None:
    rows = [1] * 40
    program = chain([rows, (40,)], 2)
    text = format_actions(program.actions)
    assert "\n          1B0 >0,1," in text
    assert all(parse_actions(text, rank) == actions for rank, actions in program.actions.items())


def test_what_a_person_may_write() -> None:
    text = """
        rank 3   <0,1 1F0 >5
                 2*( <5 1B0 >0 >1 )
        rank 10
    """
    assert parse_actions(text, 10) == ()
    assert parse_actions(text, 3) == (
        Action(Kind.RECEIVE, 1, 0, 0),
        Action(Kind.RECEIVE, 1, 0, 1),
        Action(Kind.FORWARD, 1, 0),
        Action(Kind.SEND, 1, 0, 5),
        Action(Kind.RECEIVE, 1, 0, 5, True),
        Action(Kind.BACKWARD, 1, 0, -1, True),
        Action(Kind.SEND, 1, 0, 0, True),
        Action(Kind.SEND, 1, 0, 1, True),
        Action(Kind.RECEIVE, 1, 1, 5, True),
        Action(Kind.BACKWARD, 1, 1, -1, True),
        Action(Kind.SEND, 1, 1, 0, True),
        Action(Kind.SEND, 1, 1, 1, True),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rank 0  0F0 0X1", "'0X1' is no action"),
        ("rank 0  0F", "'0F' is no action"),
        ("rank 0  0F0>1", "'0F0>1' is no action"),
        ("rank 0  >1 0F0", "'>1' follows no forward or backward"),
        ("rank 0  0F0 <1", "'<1' precedes no forward or backward"),
        ("rank 0  0F0 <1 0S", "'0S' can't receive"),
        ("rank 0  0S >1", "'>1' follows no forward or backward"),
        ("rank 0  3*(0F0", "is not closed"),
        ("rank 0  3*(2*(0F0))", "stands inside other rounds"),
        ("rank 0  0F0)", "closes nothing"),
        ("0F0\nrank 0  0F0", "'0F0' stands before the first rank"),
        ("rank 1  0F0", "'rank 0' has no list"),
    ],
)
def test_what_is_no_program(text: str, why: str) -> None:
    with pytest.raises(PlanError, match=why.replace("(", r"\(").replace(")", r"\)").replace("*", r"\*")):
        parse_actions(text, 0)


def test_lists_that_have_no_text() -> None:
    forward, send = Action(Kind.FORWARD, 0, 0), Action(Kind.SEND, 0, 0, 1)
    receive = Action(Kind.RECEIVE, 0, 0, 1)
    assert join_steps(split_steps((receive, forward, send))) == (receive, forward, send)
    for bad in ((send, forward), (forward, receive), (receive, send, forward), (receive, Action(Kind.FORWARD, 0, 1))):
        with pytest.raises(ProgramError):
            split_steps(bad)
