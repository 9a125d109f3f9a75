"""Stands in for ``lm_eval.api.filter`` and ``lm_eval.filters.extraction``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from lmrun.code.shim.registry import register_filter
from lmrun.scoring.extraction import elements
from lmrun.scoring.filters import Filter as Step
from lmrun.scoring.filters import MultiChoiceRegex, Regex, RegexPos, RemoveWhitespace, run_pipeline

Answers = Sequence[Any]
Docs = Sequence[Mapping[str, Any]] | None


class Filter:
    """Base of the filters that task files define."""

    def __init__(self, **kwargs: Any) -> None: ...

    def apply(self, resps: Iterable[Answers], docs: Docs) -> Iterable[Any]:
        """The answers to each request after this filter; a filter overrides this."""
        return resps


def _through(step: Step, resps: Iterable[Answers], docs: Docs) -> list[list[Any]]:
    pairs = zip(resps, repeat({}) if docs is None else docs, strict=False)
    return [[item.value for item in elements(run_pipeline([step], answers, doc))] for answers, doc in pairs]


@register_filter("regex")
class RegexFilter(Filter):
    """One match of a pattern in each answer."""

    def __init__(
        self, regex_pattern: str = Regex.regex_pattern, group_select: int = 0, fallback: str = "[invalid]"
    ) -> None:
        self.regex_pattern = regex_pattern
        self.regex = re.compile(regex_pattern)
        self.group_select = group_select
        self.fallback = fallback

    def apply(self, resps: Iterable[Answers], docs: Docs) -> Iterable[Any]:
        """See :class:`Filter`."""
        return _through(Regex(self.regex_pattern, self.group_select, self.fallback), resps, docs)


@register_filter("regex_pos")
class POSFilter(Filter):
    """The tags of all ``('token', 'TAG')`` pairs in each answer."""

    def __init__(
        self, regex_pattern: str = RegexPos.regex_pattern, group_select: int = 0, fallback: Any = None
    ) -> None:
        self.regex_pattern = regex_pattern
        self.regex = re.compile(regex_pattern)
        self.group_select = group_select
        self.fallback = ["invalid"] if fallback is None else fallback

    def apply(self, resps: Iterable[Answers], docs: Docs) -> Iterable[Any]:
        """See :class:`Filter`."""
        return _through(RegexPos(self.regex_pattern, self.group_select, self.fallback), resps, docs)


@register_filter("remove_whitespace")
class WhitespaceFilter(Filter):
    """Each answer without white space at its ends."""

    def apply(self, resps: Iterable[Answers], docs: Docs) -> Iterable[Any]:
        """See :class:`Filter`."""
        return _through(RemoveWhitespace(), resps, docs)


@register_filter("multi_choice_regex")
class MultiChoiceRegexFilter(RegexFilter):
    """The letter of a choice in each answer; the choices are the doc's column ``choices``."""

    def __init__(
        self,
        regex_pattern: str = Regex.regex_pattern,
        group_select: int = 0,
        fallback: str = "[invalid]",
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
        regexes_to_ignore: Sequence[str] | None = None,
    ) -> None:
        super().__init__(regex_pattern, group_select, fallback)
        self.ignore_case = ignore_case
        self.ignore_punctuation = ignore_punctuation
        self.regexes_to_ignore = regexes_to_ignore

    def apply(self, resps: Iterable[Answers], docs: Docs) -> Iterable[Any]:
        """See :class:`Filter`."""
        step = MultiChoiceRegex(
            self.regex_pattern,
            self.group_select,
            self.fallback,
            self.ignore_case,
            self.ignore_punctuation,
            self.regexes_to_ignore,
        )
        return _through(step, resps, docs)
