"""Parts of rows."""

from __future__ import annotations

from autopart.ir.rows import Extent, flat_rows, parts


def extents(*sizes: int) -> dict[str, Extent]:
    return {f"p{index}": Extent("float32", True, size, 4 * size) for index, size in enumerate(sizes)}


def test_a_row_ends_where_it_would_be_too_long() -> None:
    assert flat_rows(extents(3, 3, 9, 1), limit=24) == (("p0", "p1"), ("p2",), ("p3",))


def test_ranks_keep_equal_parts_of_a_row() -> None:
    """Seven elements on two ranks: four for the first, which ends in the second parameter."""
    taken = parts(extents(3, 4), 100, 2)
    assert taken["p1"] == ((0, 1), (1, 4))
    assert [end - first for first, end in taken["p0"]] == [3, 0]


def test_every_element_is_kept_once() -> None:
    sizes = (5, 1, 7, 30, 2)
    taken = parts(extents(*sizes), 60, 4)
    for name, size in zip(taken, sizes, strict=True):
        assert [i for first, end in taken[name] for i in range(first, end)] == list(range(size))
