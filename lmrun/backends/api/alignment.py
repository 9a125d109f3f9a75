"""Where in a text the tokens of a reply stand, for a client that has no tokenizer.

Servers spell tokens in their own way: some drop the space before a word, show a part of a character as nothing or as a
replacement mark, put a BOS in front. Their ``text_offset`` counts what they spell, so it is not relied upon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_OPAQUE = re.compile(r"|.*\ufffd.*|bytes:.*|(<0x[0-9A-Fa-f]{2}>)+", re.DOTALL)
"""Spellings of a token that is but a part of a character, or nothing."""


class CannotAlign(Exception):  # noqa: N818 - the state of a reply, not a fault of the program
    """The tokens do not spell the text, or a join falls between tokens that cannot be told apart."""


class Place(NamedTuple):
    """From where to where a token stands at most; a token that adds nothing to the text stands before it, at -1."""

    start: int
    end: int
    exact: bool
    """False: one of several tokens that fill this stretch together."""


class Start(NamedTuple):
    """Where the scored tokens begin."""

    token: int
    spans: bool
    """The token before it reaches over the join."""


def first_after(tokens: Sequence[str], text: str, join: int) -> Start:
    """The first of ``tokens``, which spell ``text``, that begins at ``join`` or later.

    Raises:
        CannotAlign: that cannot be told.
    """
    located = list(places(tokens, text))
    for place in located:
        if not place.exact and place.start < join < place.end:
            raise CannotAlign("the join falls into a character that several tokens share")
    first = next((i for i, place in enumerate(located) if place.start >= join), len(located))
    return Start(first, first > 0 and located[first - 1].start < join < located[first - 1].end)


def places(tokens: Sequence[str], text: str) -> Iterator[Place]:
    """Where each token stands.

    Raises:
        CannotAlign: a token is not spelt as the text is.
    """
    position = opaque = 0
    for i, token in enumerate(tokens):
        if _OPAQUE.fullmatch(token):
            opaque += 1
            continue
        found = _find(token, text, position, opaque > 0)
        if found is None:
            if i > 0:
                raise CannotAlign(f"the token {token!r} does not stand at {text[position : position + 20]!r}")
            yield Place(-1, -1, True)  # a BOS
            continue
        yield from [Place(position, found, False)] * opaque
        yield Place(found if opaque else position, found + len(token), True)
        position, opaque = found + len(token), 0
    rest = text[position:]
    if not all(_may_be_hidden(c, opaque > 0) for c in rest):
        raise CannotAlign(f"no token spells {rest[:20]!r}")
    yield from [Place(position, len(text), False)] * opaque


def _find(token: str, text: str, position: int, after_opaque: bool) -> int | None:
    while not text.startswith(token, position):
        if position >= len(text) or not _may_be_hidden(text[position], after_opaque):
            return None
        position += 1
    return position


def _may_be_hidden(character: str, opaque: bool) -> bool:
    return character.isspace() or (opaque and not character.isascii())
