"""Pieces of changes and the shelf that keeps the newest of them."""

from __future__ import annotations

import pytest

from kpiggybank.events import Change
from kpiggybank.pieces import (
    MADE_BYTES,
    MADE_MOST,
    MADE_TIMES,
    SHELF_BYTES,
    SHELF_PIECES,
    Piece,
    Shelf,
)
from tests.feed_contract import event
from tests.followers import conditions


def piece_of(*numbers: int, size: int = 0) -> Piece:
    """A piece with changes of these numbers."""
    changes = [Change(str(n), event(f"e{n}", n, text="x" * size)) for n in numbers]
    return Piece(changes, str(numbers[-1]))


def numbers(piece: Piece) -> list[str]:
    """The cursors in a piece."""
    return [change.cursor for change in piece.changes]


def test_made_once() -> None:
    """What was made of a piece is kept under its key."""
    piece = piece_of(1)
    made = piece.made("key", object)
    assert piece.made("key", object) is made
    assert piece.made("other", object) is not made


def test_only() -> None:
    """The wanted changes, made once; the place is still behind all of them."""
    piece = piece_of(1, 2, 3)
    wanted = conditions("timestamp:2")
    assert numbers(piece.only(wanted)) == ["2"]
    assert piece.only(wanted).cursor == "3"
    assert piece.only(conditions("timestamp:2")).changes is piece.only(wanted).changes
    assert piece.only(conditions()) is piece


def test_made_of_what_is_wanted() -> None:
    """What was made of the wanted changes is shared by those who want the same, and no others."""
    piece = piece_of(1, 2, 3)
    wanted, other = conditions("timestamp:2"), conditions("timestamp:3")
    made = piece.only(wanted).made("key", object)
    assert piece.only(wanted).made("key", object) is made
    assert piece.only(other).made("key", object) is not made
    assert piece.made("key", object) is not made


@pytest.mark.parametrize("size", [0, 1000])
def test_made_is_bounded(size: int) -> None:
    """However many things are wanted, what was made for them takes a bounded room."""
    piece = piece_of(1, 2, 3, size=size)
    for number in range(10 * MADE_MOST):
        sifted = piece.only(conditions(f"timestamp:{number % 4}", f"text:{number}"))
        assert sifted.made("key", lambda: b"x" * 1000) == b"x" * 1000
        kept = [made for made in piece._made.values() if isinstance(made, bytes)]
        assert sum(map(len, kept)) <= MADE_TIMES * piece.size + MADE_BYTES
        assert len(piece._made) <= MADE_MOST


def test_first() -> None:
    """A beginning ends behind its last change; all of a piece is that piece."""
    piece = piece_of(1, 2, 3)
    assert numbers(piece.first(2)) == ["1", "2"]
    assert piece.first(2).cursor == "2"
    assert piece.first(3) is piece.first(9) is piece


def test_up_to() -> None:
    """A place within ends the piece; another one does not."""
    piece = piece_of(1, 2, 3)
    assert numbers(piece.up_to("1")) == ["1"]
    assert piece.up_to("3") is piece.up_to("other") is piece


def test_shelf_is_bounded_in_pieces() -> None:
    """The oldest pieces make room."""
    shelf = Shelf()
    for number in range(SHELF_PIECES + 10):
        shelf.put(str(number), piece_of(number + 1))
    here = [number for number in range(SHELF_PIECES + 10) if shelf.get(str(number))]
    assert here == list(range(10, SHELF_PIECES + 10))


def test_shelf_is_bounded_in_bytes() -> None:
    """Large pieces leave sooner, and the newest one stays whatever its size is."""
    shelf = Shelf()
    for number in range(10):
        shelf.put(str(number), piece_of(number + 1, size=SHELF_BYTES // 4))
    assert [number for number in range(10) if shelf.get(str(number))] == [7, 8, 9]
    shelf.put("large", piece_of(100, size=2 * SHELF_BYTES))
    assert shelf.get("large")
    assert not shelf.get("9")
