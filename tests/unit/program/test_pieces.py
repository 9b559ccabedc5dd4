from autopart.ir.graph import GlobalSize, Size
from autopart.program.pieces import messages, nbytes, pieces, shape
from autopart.program.program import Piece, Program, Transfer
from autopart.sharding.placement import Partial, Replicate, Shard
from tests.programs import chain, spec, transfer


def rows(found: tuple[Piece, ...]) -> list[tuple[int, ...]]:
    return [(p.source_rank, p.target_rank, p.source_start, p.target_start, p.rows) for p in found]


def test_equal_replicas_pair_up() -> None:
    found = pieces(transfer(0, 1), spec(0, (0, 1), (2, 2)), spec(1, (2, 3), (2, 2)))
    assert rows(found) == [(0, 2, 0, 0, 2), (1, 3, 0, 0, 2)]


def test_uneven_shares_exchange_what_both_hold() -> None:
    """Rows 0-5 | 6-8 | 9-11 of three sources; 0-6 | 7-11 of two targets."""
    found = pieces(transfer(0, 1), spec(0, (5, 1, 3), (6, 3, 3)), spec(1, (0, 2), (7, 5)))
    assert rows(found) == [(5, 0, 0, 0, 6), (1, 0, 0, 6, 1), (1, 2, 1, 0, 2), (3, 2, 0, 2, 3)]


def test_a_replicated_value_reaches_every_target_from_one_source() -> None:
    found = pieces(transfer(0, 1, Replicate()), spec(0, (0, 1), (3, 1)), spec(1, (2, 3, 4, 5), (1, 1, 1, 1)))
    assert rows(found) == [(0, 2, 0, 0, 0), (0, 3, 0, 0, 0), (1, 4, 0, 0, 0), (1, 5, 0, 0, 0)]
    found = pieces(transfer(0, 1, Replicate()), spec(0, (2, 3, 4), (1, 1, 1)), spec(1, (0,), (3,)))
    assert rows(found) == [(2, 0, 0, 0, 0)]


def test_every_partial_term_goes_to_one_target() -> None:
    found = pieces(transfer(0, 1, Partial()), spec(0, (0, 1, 2), (1, 1, 1)), spec(1, (3, 4), (2, 1)))
    assert rows(found) == [(0, 3, 0, 0, 0), (1, 3, 0, 0, 0), (2, 4, 0, 0, 0)]
    found = pieces(transfer(0, 1, Partial()), spec(0, (0,), (3,)), spec(1, (1, 2), (2, 1)))
    assert rows(found) == [(0, 1, 0, 0, 0)]


def pairs(found: tuple[Piece, ...]) -> list[tuple[int, int]]:
    return [(piece.source_rank, piece.target_rank) for piece in found]


def test_every_column_of_the_target_reads_from_one_of_the_source() -> None:
    one, two, three = spec(0, (0,), (2,)), spec(0, (0, 1), (2,), tensor=2), spec(0, (0, 1, 2), (2,), tensor=3)
    assert pairs(pieces(transfer(0, 1), one, spec(1, (5, 6), (2,), tensor=2))) == [(0, 5), (0, 6)]
    assert pairs(pieces(transfer(0, 1), two, spec(1, (5, 6), (2,), tensor=2))) == [(0, 5), (1, 6)]
    assert pairs(pieces(transfer(0, 1), two, spec(1, (5,), (2,)))) == [(0, 5)]
    assert pairs(pieces(transfer(0, 1), two, spec(1, (5, 6, 7), (2,), tensor=3))) == [(0, 5), (0, 6), (1, 7)]
    assert pairs(pieces(transfer(0, 1), three, spec(1, (5, 6), (2,), tensor=2))) == [(0, 5), (1, 6)]


def test_rows_and_columns() -> None:
    """Two replicas of two columns send to one replica of two, and rows stay rows of their replica."""
    source, target = spec(0, (0, 1, 2, 3), (3, 1), tensor=2), spec(1, (4, 5), (4,), tensor=2)
    assert rows(pieces(transfer(0, 1), source, target)) == [(0, 4, 0, 0, 3), (1, 5, 0, 0, 3), (2, 4, 0, 3, 1), (3, 5, 0, 3, 1)]
    assert pairs(pieces(transfer(0, 1, Partial()), source, target)) == [(0, 4), (1, 5), (2, 4), (3, 5)]
    assert pairs(pieces(transfer(0, 1, Replicate()), source, target)) == [(0, 4), (1, 5)]


def test_sizes_follow_the_rows() -> None:
    inner = Transfer("y", 0, 1, (Size("16*b"), 8), "bfloat16", Shard(0), True)
    assert nbytes(Piece(inner, 0, 1, 0, 0, 3), 99) == 16 * 3 * 8 * 2
    outer = Transfer("y", 0, 1, (4, Size("2*b"), 5), "float64", Shard(1, outer=2), True)
    assert shape(Piece(outer, 0, 1, 0, 0, 3), 99) == (4, 6, 5)
    weight = Transfer("w", 0, 1, (7, 5), "float32", Replicate(), True)
    assert nbytes(Piece(weight, 0, 1), 99) == 7 * 5 * 4
    gathered = Transfer("s", 0, 1, (Size("b"), GlobalSize("b")), "float32", Shard(0), True)
    assert shape(Piece(gathered, 0, 1, 0, 0, 3), 10) == (3, 10)


def test_messages_gather_the_pieces_of_a_pair_both_ways() -> None:
    stages = (spec(0, (0,), (2,)), spec(1, (1, 2), (1, 1)))
    values = (transfer(0, 1), transfer(0, 1, gradient=False), transfer(0, 1, Replicate()))
    program = Program(2, 1, "gpipe", stages, values, {})
    assert {pair: len(found) for pair, found in messages(program).items()} == {(0, 1): 3, (0, 2): 3}
    backward = messages(program, backward=True)
    assert {pair: [piece.transfer for piece in found] for pair, found in backward.items()} == {
        (1, 0): [values[0], values[2]],
        (2, 0): [values[0], values[2]],
    }


def test_skips_go_directly() -> None:
    program = chain([(2,), (1, 1), (2,)], 1, skips=[(0, 2)])
    assert sorted(messages(program)) == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
