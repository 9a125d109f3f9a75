"""Filters: what happens to a model's answers before a metric sees them.

A pipeline gets the repeats of one request as a list of items and hands back a list, or a single item once a
``take_first`` has picked one. As in lm-eval, a filter that works on every answer of a list works on every *character*
when it comes after ``take_first``. Unlike there, no filter raises because of what a model wrote: where lm-eval would
stop (``group_select`` beyond the last match, an empty text after ``take_first`` …) the fallback or the value itself is
handed on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Protocol

from lmrun.errors import TaskError, did_you_mean
from lmrun.functions import FunctionRef, Functions
from lmrun.scoring.extraction import Item, State, elements, find
from lmrun.scoring.robust import ROBUST
from lmrun.scoring.spec import FilterSpec, FilterStep


class Filter(Protocol):
    """One step of a pipeline; its fields are the step's arguments."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """The answers after this step. ``doc`` is the dataset row that they answer."""
        ...


@dataclass(frozen=True)
class TakeFirst:
    """The first answer."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        items = elements(state)
        return items[0] if items else state


@dataclass(frozen=True)
class TakeFirstK:
    """The first ``k`` answers."""

    k: int

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`. Raises :class:`~lmrun.errors.TaskError` if there are fewer."""
        items = elements(state)
        if len(items) < self.k:
            raise TaskError(
                f"filter take_first_k needs {self.k} answers to each request, there are {len(items)}",
                hint=f"state `repeats: {self.k}` in the task",
            )
        return items[: self.k]


@dataclass(frozen=True)
class MajorityVote:
    """A list of one: the most common answer; of equally common ones the one seen first."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        counts: dict[Any, list[Item]] = {}
        for item in elements(state):
            key = repr(item.value) if isinstance(item.value, list | dict) else item.value
            counts.setdefault(key, []).append(item)
        return [max(counts.values(), key=len)[0]] if counts else []


@dataclass(frozen=True)
class RemoveWhitespace:
    """No white space at both ends."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return [self._strip(item) if isinstance(item.value, str) else item for item in elements(state)]

    @staticmethod
    def _strip(item: Item) -> Item:
        text = item.value.strip()
        start = len(item.value) - len(item.value.lstrip()) if text else 0
        return Item(text, item.part(start, start + len(text)), item.status)


def _recased(state: State, change: Callable[[str], str]) -> list[Item]:
    def recase(item: Item) -> Item:
        text = change(item.value)
        # A few letters become two: what follows them moves, and the place in the text is lost.
        return Item(text, item.span if len(text) == len(item.value) else None, item.status)

    return [recase(item) if isinstance(item.value, str) else item for item in elements(state)]


@dataclass(frozen=True)
class Lowercase:
    """Lower case."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return _recased(state, str.lower)


@dataclass(frozen=True)
class Uppercase:
    """Upper case."""

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return _recased(state, str.upper)


@dataclass(frozen=True)
class Map:
    """The entry of ``mapping_dict`` for each answer."""

    mapping_dict: Mapping[Any, Any] = field(default_factory=dict)
    default_value: Any = None

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return [self._map(item) for item in elements(state)]

    def _map(self, item: Item) -> Item:
        if isinstance(item.value, list | dict) or item.value not in self.mapping_dict:
            return item.then(self.default_value, None, "no_match")
        return item.then(self.mapping_dict[item.value], item.span, "matched")


@dataclass(frozen=True)
class Regex:
    """One match of a pattern, without white space around it.

    ``group_select`` says which of all matches (−1: the last); where the pattern has several groups, the first that is
    not empty counts.
    """

    regex_pattern: str = r"#### (\-?[0-9\.\,]+)"
    group_select: int = 0
    fallback: Any = "[invalid]"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self.regex_pattern)

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return [self._extract(item) for item in elements(state)]

    def _extract(self, item: Item) -> Item:
        text = item.value if isinstance(item.value, str) else ""
        found = find(self.pattern, text, self.group_select)
        if found is None:
            return item.then(self.fallback, None, "no_match")
        if not found.raw and self.pattern.groups > 1:
            fallback = self.fallback.strip() if isinstance(self.fallback, str) else self.fallback
            return item.then(fallback, None, "no_match")
        return item.then(found.text, item.part(found.start, found.end), found.status)


@dataclass(frozen=True)
class MultiChoiceRegex:
    """The letter of a choice, as ``(A)``: by the pattern, else by the text of a choice, else by a letter after a colon.

    The choices are the doc's column ``choices``.
    """

    regex_pattern: str = r"#### (\-?[0-9\.\,]+)"
    group_select: int = 0
    fallback: Any = "[invalid]"
    ignore_case: bool = False
    ignore_punctuation: bool = False
    regexes_to_ignore: Sequence[str] | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self.regex_pattern)

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`. Raises :class:`~lmrun.errors.TaskError` if the doc has no ``choices``."""
        if "choices" not in doc:
            raise TaskError(
                "filter multi_choice_regex needs a column `choices`, which the doc has not",
                hint=f"columns: {', '.join(map(str, doc))}; add one with `process_docs`",
            )
        letters = [chr(ord("A") + i) for i in range(len(doc["choices"]))]
        by_text = {self._clean(c.strip()): f"({letter})" for letter, c in zip(letters, doc["choices"], strict=True)}
        # A choice may begin with another one: the longer is tried first.
        texts = sorted(map(re.escape, by_text), key=len, reverse=True)
        by_letter = {letter: f"({letter})" for letter in letters}
        steps: list[tuple[re.Pattern[str], Mapping[str, str], bool]] = [
            (self.pattern, {}, False),
            (re.compile("|".join(texts)), by_text, True),
            (re.compile(rf":[\s]*({'|'.join(map(re.escape, letters))})"), by_letter, False),
        ]
        return [self._extract(item, steps) for item in elements(state)]

    def _extract(self, item: Item, steps: Sequence[tuple[re.Pattern[str], Mapping[str, str], bool]]) -> Item:
        raw = item.value if isinstance(item.value, str) else ""
        for pattern, names, cleaned in steps:
            text = self._clean(raw) if cleaned else raw
            found = find(pattern, text, self.group_select)
            if found is not None and found.text:
                same_places = len(text) == len(raw) and text.lower() == raw.lower()
                span = item.part(found.start, found.end) if same_places else None
                return item.then(names.get(found.text, found.text), span, found.status)
        return item.then(self.fallback, None, "no_match")

    def _clean(self, text: str) -> str:
        for regex in self.regexes_to_ignore or ():
            text = re.sub(regex, "", text)
        if self.ignore_case:
            text = text.lower()
        if self.ignore_punctuation:
            text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
        return text


@dataclass(frozen=True)
class RegexPos:
    """The tags of all ``('token', 'TAG')`` pairs, as a list. ``regex_pattern`` and ``group_select`` have no effect."""

    regex_pattern: str = r"\['(.*?)'\]"
    group_select: int = 0
    fallback: Any = None

    _PAIR: ClassVar[re.Pattern[str]] = re.compile(r"\('[^']*', '([^']*)'\)")

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return [self._extract(item) for item in elements(state)]

    def _extract(self, item: Item) -> Item:
        found = list(self._PAIR.finditer(item.value)) if isinstance(item.value, str) else []
        if not found:
            return item.then(["invalid"] if self.fallback is None else self.fallback, None, "no_match")
        return item.then([m.group(1) for m in found], item.part(found[0].start(), found[-1].end()), "matched")


_ENTITY_LABELS = {
    **dict.fromkeys(("person", "persons", "people", "per"), "PER"),
    **dict.fromkeys(("location", "loc", "counties", "places", "country", "continent"), "LOC"),
    **dict.fromkeys(("organization", "company", "org"), "ORG"),
    **dict.fromkeys(("time", "date"), "DATE"),
}


@dataclass(frozen=True)
class FormatSpan:
    """Named entities as ``label: entity $ label: entity``, from lines or ``$$``-separated parts ``LABEL: a, b``."""

    _LABEL: ClassVar[re.Pattern[str]] = re.compile(rf"\b({'|'.join(_ENTITY_LABELS)})\s*:")
    _ENTRY: ClassVar[re.Pattern[str]] = re.compile(r"\b(PER|LOC|ORG|DATE):\s*([^$]+)")

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        return [self._format(item) if isinstance(item.value, str) else item for item in elements(state)]

    def _format(self, item: Item) -> Item:
        text = self._entities(item.value)
        return item.then(text, None, "matched" if text else "no_match")

    def _entities(self, text: str) -> str:
        text = self._LABEL.sub(lambda m: f"{_ENTITY_LABELS[m.group(1)]}:", text.lower())
        text = text.replace("$$", "$").rstrip("$").replace("\n", "$").strip()
        found = [
            (label.lower(), name.strip()) for label, names in self._ENTRY.findall(text) for name in names.split(",")
        ]
        return " $ ".join(f"{label}: {name}" for label, name in found if name.lower() != "none")


@dataclass(frozen=True)
class Coded:
    """A filter that is code of the task. What it makes of the answers of one doc does not depend on other docs."""

    function: FunctionRef | str
    kwargs: Mapping[str, Any]
    functions: Functions

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`Filter`."""
        before = [item.value for item in state] if isinstance(state, list) else state.value
        (after,) = self.functions.apply_filter(self.function, self.kwargs, [before], [doc])
        if not isinstance(state, list):
            return Item(after, None, state.status)
        if not isinstance(after, list | tuple):
            return Item(after)
        # What an earlier filter did not find, code does not find either.
        known = [item.status for item in state] if len(after) == len(state) else [None] * len(after)
        return [Item(value, None, status) for value, status in zip(after, known, strict=True)]


FILTERS: Mapping[str, Callable[..., Filter]] = {
    "take_first": TakeFirst,
    "take_first_k": TakeFirstK,
    "majority_vote": MajorityVote,
    "regex": Regex,
    "multi_choice_regex": MultiChoiceRegex,
    "remove_whitespace": RemoveWhitespace,
    "lowercase": Lowercase,
    "uppercase": Uppercase,
    "map": Map,
    "regex_pos": RegexPos,
    "format_span": FormatSpan,
    **ROBUST,
}


def _is_registered(name: str, functions: Functions) -> bool:
    return name not in FILTERS and functions.has_filter(name)


def build_filter(step: FilterStep, functions: Functions | None = None) -> Filter:
    """The filter that a step names. Raises :class:`~lmrun.errors.TaskError` for an unknown name or argument."""
    if functions and (isinstance(step.function, FunctionRef) or _is_registered(step.function, functions)):
        return Coded(step.function, step.kwargs, functions)
    if functions and step.function == "custom" and isinstance(step.kwargs.get("filter_fn"), FunctionRef):
        return Coded(step.kwargs["filter_fn"], {}, functions)
    factory = FILTERS.get(str(step.function))
    if factory is None:
        hint = did_you_mean(str(step.function), FILTERS) or f"filters: {', '.join(FILTERS)}"
        raise TaskError(f"unknown filter {str(step.function)!r}", hint=hint)
    known = {f.name: f for f in fields(factory)}  # type: ignore[arg-type]
    if unknown := [name for name in step.kwargs if name not in known]:
        takes = ", ".join(known) or "no arguments"
        raise TaskError(f"filter {step.function} has no argument {unknown[0]!r}", hint=f"it takes {takes}")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in step.kwargs]:
        raise TaskError(f"filter {step.function} needs the argument {missing[0]!r}")
    return _checked(step, factory(**step.kwargs))


def _checked(step: FilterStep, built: Filter) -> Filter:
    try:
        if isinstance(built, Regex | MultiChoiceRegex):
            re.compile(built.regex_pattern)
        if isinstance(built, MultiChoiceRegex):
            for regex in built.regexes_to_ignore or ():
                re.compile(regex)
    except re.error as error:
        raise TaskError(f"filter {step.function}: {error.pattern!r} is not a regular expression: {error}") from error
    return built


def run_pipeline(steps: Sequence[Filter], values: Sequence[Any], doc: Mapping[str, Any]) -> State:
    """Send the repeats of one request through a pipeline."""
    state: State = [Item(value, (0, len(value)) if isinstance(value, str) else None) for value in values]
    for step in steps:
        state = step.apply(state, doc)
    return state


def build_pipeline(spec: FilterSpec, functions: Functions | None = None) -> list[Filter]:
    """The filters of a pipeline. Raises :class:`~lmrun.errors.TaskError`."""
    return [build_filter(step, functions) for step in spec.steps]
