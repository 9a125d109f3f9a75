"""What an extracting filter found, and where.

A filter works on items: a value together with what is known of how it was extracted. So when a vote or a "take first"
picks one of several answers, it also picks what is said about that answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeAlias

Status = Literal["matched", "no_match", "ambiguous"]
Span = tuple[int, int]

_SEVERITY: dict[Status | None, int] = {None: 0, "matched": 1, "ambiguous": 2, "no_match": 3}


@dataclass(frozen=True, slots=True)
class Extraction:
    """How the answer of one doc was found in the model's text."""

    status: Status
    """``no_match``: nothing was found, the filter's fallback stands in. ``ambiguous``: different answers were found."""
    span: Span | None
    """Where in the model's text the answer stands (characters, end exclusive); None where it stands nowhere."""


class Item(NamedTuple):
    """A value on its way through a filter pipeline."""

    value: Any
    span: Span | None = None
    """Where the value stands in the model's text, but for the case of letters; None where it is not a part of it."""
    status: Status | None = None
    """None until a filter has extracted something."""

    def extraction(self) -> Extraction | None:
        """What to say of this item's extraction; None if no filter extracted anything."""
        return None if self.status is None else Extraction(self.status, self.span)

    def part(self, start: int, end: int) -> Span | None:
        """The place in the model's text of ``value[start:end]``."""
        return None if self.span is None else (self.span[0] + start, self.span[0] + end)

    def then(self, value: Any, span: Span | None, status: Status) -> Item:
        """This item after one more extraction: what failed before stays failed."""
        worst = status if self.status is None else max(self.status, status, key=lambda s: _SEVERITY[s])
        return Item(value, None if status == "no_match" else span, worst)


State: TypeAlias = "list[Item] | Item"
"""Between two filters: the answers to a request, or the one that was picked."""


def elements(state: State) -> list[Item]:
    """The answers one by one: those of a list, or the characters of a single text."""
    if isinstance(state, list):
        return state
    if isinstance(state.value, str):
        return [Item(char, state.part(i, i + 1), state.status) for i, char in enumerate(state.value)]
    if isinstance(state.value, list | tuple):
        return [Item(value, None, state.status) for value in state.value]
    return [state]


class Found(NamedTuple):
    """The match that was chosen: the text it stands for, and where that begins."""

    raw: str
    offset: int
    status: Status

    @property
    def text(self) -> str:
        """The text without white space around it."""
        return self.raw.strip()

    @property
    def start(self) -> int:
        """Where :attr:`text` begins."""
        return self.offset + len(self.raw) - len(self.raw.lstrip())

    @property
    def end(self) -> int:
        """Where :attr:`text` ends."""
        return self.start + len(self.text)


def find(pattern: re.Pattern[str], text: str, position: int) -> Found | None:
    """The match at ``position`` (negative: from the end) of all that ``findall`` gives; None if there is none.

    Of several groups the first that is not empty counts. A match of nothing but white space is ``no_match``; one beside
    which there are different ones is ``ambiguous``.
    """
    matches = pattern.findall(text)
    if not -len(matches) <= position < len(matches):
        return None
    raw = _first_group(matches[position])
    chosen = raw.strip()
    if not chosen:
        return Found(raw, 0, "no_match")
    others = (_first_group(match).strip() for match in matches)
    ambiguous = any(other and other != chosen for other in others)
    # findall is fast and finditer knows the places, so only the chosen match is looked up again.
    match = next(islice(pattern.finditer(text), position % len(matches), None))
    group = next((g for g in range(1, pattern.groups + 1) if match.group(g)), 0)
    return Found(raw, match.start(group), "ambiguous" if ambiguous else "matched")


def _first_group(match: str | tuple[str, ...]) -> str:
    return match if isinstance(match, str) else next((group for group in match if group), "")
