"""The filter language: ``engine "salt marsh" !truncated model:qwen* wrong``.

Words must all occur, in any case; ``"in quotes"`` a text with spaces, or one that would mean something else. ``!`` or
``-`` in front excludes. ``key:value`` asks for a field; ``*`` in the value stands for any text, ``?`` for one
character; of several values of one key, one must hold. Where a filter is for samples, bare words such as ``wrong`` or
``truncated`` say how a sample ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lmrun.errors import LmrunError, did_you_mean
from lmrun.store.query import STATUSES, Key, SampleQuery, Term, fits

OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "wrong": "wrong",
        "right": "correct",
        "correct": "correct",
        "error": "errors",
        "errors": "errors",
        "truncated": "truncated",
        "no-match": "no_match",
        "no_match": "no_match",
        "refused": "refused",
        "ambiguous": "ambiguous",
    }
)
"""Words that say how a sample ended, and what a query calls that."""

Keys = Mapping[str, Sequence[str]]
"""Keys that a filter knows, with the values that there are; none: any."""

SAMPLES: Keys = MappingProxyType(
    {"model": (), "task": (), "status": STATUSES, "doc": (), "label": (), "is": tuple(OUTCOMES)}
)
"""Keys of filters for samples. ``label`` is that of a note."""

_LONGEST_NUMBER = 18
"""Digits; SQLite has integers of 64 bits."""
_KEY = re.compile(r"([A-Za-z_]+):")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"\S+")


class FilterError(LmrunError):
    """A filter that cannot be understood."""

    def __init__(self, message: str, start: int, end: int, *, hint: str | None = None) -> None:
        """The mistake stands in the text from ``start`` to ``end``."""
        super().__init__(message, hint=hint)
        self.start = start
        self.end = end


@dataclass(frozen=True, slots=True)
class Condition:
    """One part of a filter."""

    key: str
    """Empty for a text that must occur."""
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """What a person typed to see only some samples or rows. Its text parses to an equal filter, under the same keys."""

    conditions: Sequence[Condition] = ()
    keys: Keys = field(default_factory=lambda: SAMPLES)

    def __bool__(self) -> bool:
        """Whether anything is left out."""
        return bool(self.conditions)

    def __str__(self) -> str:
        return " ".join(self._spelled(condition) for condition in self.conditions)

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether a row fits: words occur in any of its fields, ``key:value`` asks for the field of that name."""
        found: dict[str | int, bool] = {}
        for number, condition in enumerate(self.conditions):
            group = number if condition.negated or not condition.key else condition.key
            found[group] = found.get(group, False) or condition.negated != _holds(condition, fields)
        return all(found.values())

    def query(self) -> SampleQuery:
        """The samples that it asks for."""
        return SampleQuery(terms=tuple(map(_term, self.conditions)))

    def _spelled(self, condition: Condition) -> str:
        key, value = condition.key, condition.value
        sign = "!" * condition.negated
        if key == "is":
            return sign + value
        if key:
            return f"{sign}{key}:{value if _is_plain_value(value) else _quoted(value)}"
        return sign + (value if self._is_plain_word(value) else _quoted(value))

    def _is_plain_word(self, word: str) -> bool:
        special = word[:1] in ("!", "-") or _KEY.match(word) or ("is" in self.keys and word.lower() in OUTCOMES)
        return _is_plain_value(word) and not special


def parse_filter(text: str, keys: Keys = SAMPLES) -> Filter:
    """The filter that a text stands for; ``keys`` are those that it may ask for. Raises :class:`FilterError`."""
    return Filter(tuple(_conditions(text, keys)), keys)


def _conditions(text: str, keys: Keys) -> Iterator[Condition]:
    at = _skip_space(text, 0)
    while at < len(text):
        start = at
        negated = text[at] in "!-"
        at += negated
        key = _KEY.match(text, at)
        if key:
            at = key.end()
        value, end = _value(text, at, start)
        quoted = text[at] == '"'
        if key:
            yield _asked(key[1].lower(), value, negated, keys, (start, end))
        elif not quoted and "is" in keys and value.lower() in OUTCOMES:
            yield Condition("is", value.lower(), negated)
        else:
            yield Condition("", value, negated)
        at = _skip_space(text, end)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _value(text: str, at: int, start: int) -> tuple[str, int]:
    """The word or quoted text that begins at a place, and where it ends."""
    if at == len(text) or text[at].isspace():
        raise FilterError(f"nothing stands after {text[start:at]!r}", start, at)
    if text[at] != '"':
        word = _BARE.match(text, at)
        assert word
        return word[0], word.end()
    quoted = _QUOTED.match(text, at)
    if not quoted:
        raise FilterError("the quotation mark is not closed", at, len(text))
    if not quoted[1]:
        raise FilterError("nothing stands in the quotation marks", at, quoted.end())
    end = quoted.end()
    if end < len(text) and not text[end].isspace():
        raise FilterError("a space is missing after the quotation mark", end, end + 1)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), end


def _asked(key: str, value: str, negated: bool, keys: Keys, place: tuple[int, int]) -> Condition:
    """A condition on a field, if there are such a field and such a value."""
    if key not in keys:
        hint = did_you_mean(key, keys) or f"there are {', '.join(keys)}; a text with a colon stands in quotation marks"
        raise FilterError(f"there is no key {key!r}", *place, hint=hint)
    if key == "doc" and not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
        raise FilterError(f"doc: takes a number, not {value!r}", *place)
    if keys[key] and not (value.lower() in keys[key] if key == "is" else any(fits(value, name) for name in keys[key])):
        hint = did_you_mean(value.lower(), keys[key]) or f"there are {', '.join(keys[key])}"
        raise FilterError(f"{key}: has no value {value!r}", *place, hint=hint)
    return Condition(key, value.lower() if key == "is" else value, negated)


def _holds(condition: Condition, fields: Mapping[str, str]) -> bool:
    if condition.key in fields or condition.key not in ("", "is"):
        return fits(condition.value, fields.get(condition.key, ""))
    # A table that does not know how a sample ended takes such a word as any other.
    word = condition.value.casefold()
    return any(word in value.casefold() for value in fields.values())


def _term(condition: Condition) -> Term:
    key: Key = condition.key or "text"  # type: ignore[assignment]
    return Term(
        key, OUTCOMES.get(condition.value, condition.value) if key == "is" else condition.value, condition.negated
    )


def _is_plain_value(value: str) -> bool:
    return _BARE.fullmatch(value) is not None and value[0] != '"'


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
