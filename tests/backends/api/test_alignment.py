"""Where tokens stand in a text, however a server spells them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.api.alignment import CannotAlign, Place, Start, first_after, places

characters = st.sampled_from(["a", "bc", " d", " ", "\n", "é", "☃", "\U0001f600", "."])


def spelled(text: str, cuts: set[int], *, style: str) -> tuple[list[str], list[int]]:
    """A text cut into tokens at byte offsets, spelt as servers do, and where in characters each begins."""
    raw = text.encode()
    bounds = [0, *sorted(c for c in cuts if 0 < c < len(raw)), len(raw)]
    tokens, starts = [], []
    for start, end in pairwise(bounds):
        piece = raw[start:end].decode("utf-8", "replace")
        if "\ufffd" in piece and style == "empty":
            piece = ""
        elif "\ufffd" in piece and style == "bytes":
            piece = "bytes:" + "".join(f"\\x{b:02x}" for b in raw[start:end])
        elif style == "stripped":
            piece = piece.removeprefix(" ")
        tokens.append(piece)
        starts.append(len(raw[:start].decode("utf-8", "ignore")))
    return tokens, starts


@settings(max_examples=500)
@given(
    pieces=st.lists(characters, min_size=1, max_size=10),
    cuts=st.sets(st.integers(0, 30)),
    style=st.sampled_from(["marks", "empty", "bytes", "stripped"]),
    bos=st.booleans(),
    data=st.data(),
)
def test_the_first_token_after_a_join_is_found_or_refused(
    pieces: list[str], cuts: set[int], style: str, bos: bool, data: st.DataObject
) -> None:
    text = "x" + "".join(pieces)
    tokens, starts = spelled(text, cuts, style=style)
    if bos:
        tokens, starts = ["<s>", *tokens], [-1, *starts]
    join = data.draw(st.integers(0, len(text)).filter(lambda at: at == 0 or not text[at - 1].isspace()))
    try:
        found = first_after(tokens, text, join)
    except CannotAlign:
        # Only where tokens are parts of characters, or nothing is left of them.
        assert any(token == "" or "\ufffd" in token or token.startswith("bytes:") for token in tokens)
        return
    assert found.token == next((i for i, start in enumerate(starts) if start >= join), len(tokens))


def test_offsets_that_a_bos_would_shift() -> None:
    assert first_after(["<s>", "The", " answer", " is"], "The answer is", len("The answer")) == Start(3, False)


def test_spaces_that_the_server_drops() -> None:
    assert first_after(["<s>", "The", "answer", "is"], "The answer is", len("The")) == Start(2, False)


def test_a_token_that_spans_the_join() -> None:
    assert first_after(["The", " answer", " is"], "The answer is", len("The ans")) == Start(2, True)


def test_a_character_of_several_tokens() -> None:
    tokens, text = ["a", " ", "\ufffd", "\ufffd", " b"], "a ☃ b"
    assert first_after(tokens, text, len("a ☃")) == Start(4, False)
    assert list(places(tokens, text))[2] == Place(2, 3, False)


def test_a_join_among_characters_that_cannot_be_told_apart() -> None:
    with pytest.raises(CannotAlign, match="share"):
        first_after(["a", "", "", "", "", "b"], "a☃☃b", 2)


def test_tokens_of_another_text() -> None:
    with pytest.raises(CannotAlign, match="does not stand"):
        first_after(["The", " cat"], "The answer", 3)
    with pytest.raises(CannotAlign, match="no token spells"):
        first_after(["The"], "The answer", 3)
