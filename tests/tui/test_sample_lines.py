"""Long texts as lines: nothing is lost but the spaces at which a line breaks, and every row goes on the screen."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lmrun.tui.text import LONGEST
from lmrun.tui.widgets.sample.choices import bar_text
from lmrun.tui.widgets.sample.lines import Piece, breaks, flow
from lmrun.tui.widgets.sample.output import marked

TEXTS = st.text(alphabet=st.sampled_from("ab  zü日本e\u0301\u200b🙂-"), max_size=200)


@given(TEXTS, st.integers(4, 30))
def test_rows_fit_and_nothing_is_lost(text: str, width: int) -> None:
    rows = list(breaks(text, width))
    assert rows[0][0] == 0 and rows[-1][1] == len(text)
    for (_, end), (start, _) in pairwise(rows):
        assert start == end or (start == end + 1 and text[end] == " ")
    assert all(cell_len(text[start:end]) <= width for start, end in rows)


@given(st.lists(st.tuples(st.text(), st.sampled_from(["", "odd", "even"]))))
def test_pieces_keep_their_style(parts: list[tuple[str, str]]) -> None:
    lines = list(flow(Piece(text, style) for text, style in parts))
    assert len(lines) == 1 + sum(text.count("\n") for text, _ in parts)
    for line in lines:
        assert all(0 <= span.start < span.end <= len(line.text) for span in line.spans)
        assert all(a.end <= b.start for a, b in pairwise(line.spans))
        assert "\x1b" not in line.text and "\n" not in line.text


def test_what_is_too_long_is_counted() -> None:
    lines = list(flow([Piece("x" * LONGEST), Piece("y" * 1_000_000, "odd")]))
    assert len(lines[0].text) == LONGEST and lines[1].text == "… 1,000,000 more characters"


def test_what_was_found_is_marked_without_colours() -> None:
    text = "".join(piece.text for piece in marked("so it is 42, or 43.", [(9, 11), (16, 18)]))
    assert text == "so it is ⟦42⟧, or ⟦43⟧."


@given(st.floats(0, 1), st.integers(1, 60))
def test_bars_take_their_room(share: float, room: int) -> None:
    assert cell_len(bar_text(share, room)) == room
    assert bar_text(1.0, room) == "█" * room and not bar_text(0.0, room).strip()
