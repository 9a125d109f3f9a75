"""What an extracting filter found, and where.

A filter works on items: a value together with what is known of how it was extracted. So when a vote or a "take first"
picks one of several answers, it also picks what is said about that answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


class Candidate(NamedTuple):
    """One match of a pattern: the text it stands for, and where that begins."""

    raw: str
    offset: int

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


def candidates(pattern: re.Pattern[str], text: str) -> list[Candidate]:
    """All matches as ``findall`` sees them; of several groups the first that is not empty counts."""
    found = []
    for match in pattern.finditer(text):
        groups = range(1, pattern.groups + 1) if pattern.groups else (0,)
        group = next((g for g in groups if match.group(g)), None)
        found.append(Candidate("", match.end()) if group is None else Candidate(match.group(group), match.start(group)))
    return found


def select(found: Sequence[Candidate], position: int) -> tuple[Candidate | None, Status]:
    """The candidate at ``position`` (negative: from the end) and what to call the extraction.

    A position that does not exist, or a match of nothing, is ``no_match``.
    """
    if not -len(found) <= position < len(found):
        return None, "no_match"
    chosen = found[position]
    if not chosen.text:
        return chosen, "no_match"
    return chosen, "ambiguous" if len({c.text for c in found if c.text}) > 1 else "matched"
