"""Which words of two texts differ, shown by sign and by style: ``[-gone-]`` on the left, ``{+come+}`` on the right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from textual.content import Content

from lmrun.display.format import safe

MOST_WORDS = 1500
"""On each side, between the first and the last difference. Of more, all that lies between them counts as different:
finding the words that stayed takes time with the product of both numbers."""

LONGEST_TEXT = 50_000
"""Characters of one text that are compared and shown."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """Words in a row that the other text has too, or not."""

    text: str
    same: bool


def word_diff(a: str, b: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces."""
    one, two = _WORDS.findall(a), _WORDS.findall(b)
    start = _common(one, two)
    end = _common(one[start:][::-1], two[start:][::-1])
    middle = one[start : len(one) - end], two[start : len(two) - end]
    left, right = _Pieces(), _Pieces()
    for pieces, words in ((left, one), (right, two)):
        pieces.add(words[:start], same=True)
    for same, mine, theirs in _blocks(*middle):
        left.add(mine, same=same)
        right.add(theirs, same=same)
    for pieces, words in ((left, one), (right, two)):
        pieces.add(words[len(words) - end :], same=True)
    return left.found, right.found


def drawn_diff(a: str, b: str) -> tuple[Content, Content]:
    """Both texts, safe to show, with what differs marked."""
    left, right = word_diff(_shown(a), _shown(b))
    return _drawn(left, "[-", "-]", "$text-error on $error-muted"), _drawn(
        right, "{+", "+}", "$text-success on $success-muted"
    )


def _blocks(one: Sequence[str], two: Sequence[str]) -> Iterator[tuple[bool, Sequence[str], Sequence[str]]]:
    if max(len(one), len(two)) > MOST_WORDS:
        yield False, one, two
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        yield tag == "equal", one[i1:i2], two[j1:j2]


class _Pieces:
    """Collects pieces, neighbours of one kind as one."""

    def __init__(self) -> None:
        self.found: list[Piece] = []

    def add(self, words: Sequence[str], *, same: bool) -> None:
        text = "".join(words)
        if text and self.found and self.found[-1].same == same:
            text = self.found.pop().text + text
        if text:
            self.found.append(Piece(text, same))


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many words at the beginning are the same."""
    return next((i for i, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))


def _shown(text: str) -> str:
    rest = len(text) - LONGEST_TEXT
    return safe(text[:LONGEST_TEXT]).expandtabs(4) + (f"\n… {rest:,} more characters" if rest > 0 else "")


def _drawn(pieces: Sequence[Piece], opening: str, closing: str, style: str) -> Content:
    parts = []
    for piece in pieces:
        if piece.same:
            parts.append((piece.text, ""))
        else:
            parts.append((opening + piece.text.replace("\n", "⏎\n") + closing, style))
    return Content.assemble(*parts)
