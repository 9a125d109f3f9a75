"""The prompt of a sample as the model gets it: token by token."""

from __future__ import annotations

from collections.abc import Iterator

from lmrun.backends.tokenize import Unanswerable
from lmrun.store.records import SampleDetail
from lmrun.tui.models import Seen, Token, Tokens
from lmrun.tui.widgets.sample.lines import BLANK, Line, Piece, flow, rule
from lmrun.tui.widgets.sample.values import error_lines


def token_lines(detail: SampleDetail, tokens: Tokens) -> Iterator[Line]:
    """Every request of a sample; of those that share a prompt, the prompt once."""
    before: object = None
    for exchange in detail.exchanges:
        if exchange.repeat:
            continue
        try:
            seen = tokens.look(exchange.request)
        except Unanswerable as error:
            yield from error_lines({"kind": error.kind, "message": str(error)})
            continue
        if same := exchange.request.context == before:
            start = seen.join or 0
        else:
            if before is not None:
                yield BLANK
            yield rule("tokens", _count(seen), style="strong")
            start = 0
        before = exchange.request.context
        if seen.words and not same:
            yield Line(seen.words, "warn")
        if seen.hidden and not same:
            yield Line(f"… {seen.hidden:,} tokens before these", "dim")
        yield from flow(pieces(seen, start))
    if before is None:
        yield Line("nothing was asked", "dim")


def _count(seen: Seen) -> str:
    given = seen.hidden + (len(seen.tokens) if seen.join is None else seen.join)
    scored = "" if seen.join is None else f" + {len(seen.tokens) - seen.join:,} scored"
    return f"{given:,}{scored}"


def pieces(seen: Seen, start: int) -> Iterator[Piece]:
    """Tokens on alternating grounds; ``┃`` stands where the scored ones begin."""
    for place in range(start, len(seen.tokens)):
        if place == seen.join:
            yield Piece("┃", "join")
        yield from _token(seen.tokens[place], "even" if place % 2 else "odd")
    if seen.join is None:
        yield Piece("┃", "join")


def _token(token: Token, ground: str) -> Iterator[Piece]:
    if token.special:
        yield Piece(f"⟨{token.text}⟩", "special")
        return
    # A line break is drawn, and then made.
    for number, part in enumerate(token.text.split("\n")):
        if number:
            yield Piece("⏎", ground)
            yield Piece("\n")
        if part:
            yield Piece(part.replace("\t", "⇥"), ground)
