"""Answers of BIG-Bench Hard that take more than a pattern: choices within the question, numbers in words, lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs


def with_choices(docs: Docs) -> Docs:
    """A column ``choices``: the options that the question itself lists as (A), (B) …"""
    return docs.map(
        lambda doc: {"choices": [text.strip() for text in re.findall(r"\([A-Z]\)([^\n^(]*)", doc["input"])]}
    )


class Number:
    """A number in digits, else in English words, else ``[invalid]``."""

    def __init__(self, group_select: int) -> None:
        """``group_select`` says which of the numbers: 0 the first, -1 the last."""
        self.group_select = group_select

    def apply(self, resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        """The number of each response."""
        return [[self._number(text) for text in texts] for texts in resps]

    def _number(self, text: str) -> str:
        if digits := re.findall(r"[-0-9]+", text):
            return str(digits[self.group_select])
        words = _NUMBER_WORDS.findall(text.lower())
        value = _value(words[self.group_select].strip()) if words else None
        return "[invalid]" if value is None else str(value)


class SortedWords:
    """The words of the question's list in the order of their last places in the response."""

    def apply(self, resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        """The words of each response, with a space between them."""
        return [
            [" ".join(_in_order(text, doc["input"])) for text in texts] for texts, doc in zip(resps, docs, strict=True)
        ]


def _in_order(text: str, question: str) -> Iterator[str]:
    words = question.split("List:")[1].split()
    found = re.findall("|".join(rf"\b{re.escape(word)}\b" for word in words), text)
    return reversed(dict.fromkeys(reversed(found)))


def _names(teens: str, eights: str) -> str:
    return (
        f"zero|one|two|three|four|five|(?:twen|thir|for|fif|six|seven|nine)(?:{teens})|eight(?:{eights})"
        "|ten|eleven|twelve|fourteen|hundred|thousand|(?:m|b|tr)illion"
    )


# The pattern is that of lm-eval with its quirks: a bare six, seven, eight or nine is no number, fourteen is a four.
_NUMBER_WORDS = re.compile(
    rf"((?:(?:{_names('teen|ty', '|een|y')})(?:{_names('|teen|ty', 'een|y')}|[^\S\r\n]|,|and|&)+)?"
    rf"(?:{_names('teen|ty', 'een|y')}))"
)

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"billion": 10**9, "million": 10**6, "thousand": 10**3}
_VALUES = {
    **{name: value for value, name in enumerate(_SMALL)},
    **{name: value for value, name in zip(range(20, 100, 10), _TENS, strict=True)},
    "hundred": 100,
    **_SCALES,
}


def _value(text: str) -> int | None:
    """The value of a number in words; None for words that make no number."""
    names = [name for name in text.split() if name in _VALUES]
    scales = [name for name in names if name in _SCALES]
    if not names or scales != [name for name in _SCALES if name in scales]:
        return None
    if len(names) == 1:
        return _VALUES[names[0]]
    total = 0
    for scale in scales:
        count, names = names[: names.index(scale)], names[names.index(scale) + 1 :]
        if not count:
            return None
        total += _below_thousand(count) * _SCALES[scale]
    return total + (_below_thousand(names) if names else 0)


def _below_thousand(names: Sequence[str]) -> int:
    """Read by the count of words alone, as lm-eval does: what is no number in English has a value, too."""
    match [_VALUES[name] for name in names]:
        case [count, hundred, tens, ones]:
            return count * hundred + tens + ones
        case [count, hundred, rest]:
            return count * hundred + rest
        case [one, other]:
            return one * other if 100 in (one, other) else one + other
        case [value, *_]:
            return value
    raise ValueError("no number")
