"""Preparations of docs that benchmarks define as code, for a task file to name: ``process_docs: builtin:NAME``.

Each takes a doc and returns the columns that it adds or replaces. They are pure, so a split can be prepared row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmrun.errors import Location
from lmrun.tasks.problems import task_error

if TYPE_CHECKING:
    from lmrun.data import Split

PREFIX = "builtin:"

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BuiltinDocs:
    """One preparation: the columns that it makes, and how."""

    name: str
    columns: tuple[str, ...]
    prepare: Callable[[Mapping[str, Any]], Doc]


class PreparedSplit:
    """A split seen through a preparation; rows are prepared when they are read."""

    def __init__(self, split: Split, builtin: BuiltinDocs, location: Location | None) -> None:
        """``location`` is where the task names the preparation, for errors."""
        self._split = split
        self._location = location
        self._builtin = builtin
        self.columns = (*split.columns, *(c for c in builtin.columns if c not in split.columns))
        self.revision = split.revision

    @property
    def fingerprint(self) -> str:
        """Of the rows as they are stored: the preparation is part of the task's hash."""
        return self._split.fingerprint

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int, /) -> Doc:
        return self._prepared(self._split[index])

    def __iter__(self) -> Iterator[Doc]:
        return map(self._prepared, self._split)

    def _prepared(self, doc: Doc) -> Doc:
        try:
            return {**doc, **self._builtin.prepare(doc)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise task_error(
                f"cannot prepare docs with {PREFIX}{self._builtin.name}",
                f"it does not fit this data: {type(error).__name__}: {error}",
                self._location,
                expected="the columns of the benchmark that it is named after",
            ) from error


_BRACKETED = re.compile(r"\[.*?\]")


def _hellaswag_text(text: str) -> str:
    """WikiHow rows carry markers such as ``[header]``; ``[title]`` ends a sentence."""
    without_markers = _BRACKETED.sub("", text.strip().replace(" [title]", ". "))
    return without_markers.replace("  ", " ")


def _hellaswag(doc: Mapping[str, Any]) -> Doc:
    context = f"{doc['ctx_a']} {doc['ctx_b'].capitalize()}"
    return {
        "query": _hellaswag_text(f"{doc['activity_label']}: {context}"),
        "choices": [_hellaswag_text(ending) for ending in doc["endings"]],
        "gold": int(doc["label"]),
    }


_WIKITEXT_BEFORE: tuple[tuple[str, str], ...] = (
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
)
_WIKITEXT_PAIRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\(\s*([^\)]*?)\s*\)"), r"(\1)"),
    (re.compile(r"\[\s*([^\]]*?)\s*\]"), r"[\1]"),
    (re.compile(r"{\s*([^}]*?)\s*}"), r"{\1}"),
    (re.compile(r"\"\s*([^\"]*?)\s*\""), r'"\1"'),
    (re.compile(r"'\s*([^']*?)\s*'"), r"'\1'"),
)
_WIKITEXT_AFTER: tuple[tuple[str, str], ...] = (
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def _wikitext(doc: Mapping[str, Any]) -> Doc:
    """Undo WikiText's tokenization. The order of the steps is part of the benchmark, and so is what they miss."""
    text: str = doc["page"].replace("s '", "s'")
    text = re.sub(r"/' [0-9]/", r"/'[0-9]/", text)
    for old, new in _WIKITEXT_BEFORE:
        text = text.replace(old, new)
    for pattern, new in _WIKITEXT_PAIRS:
        text = pattern.sub(new, text)
    for old, new in _WIKITEXT_AFTER:
        text = text.replace(old, new)
    return {"detokenized": text}


BUILTIN_DOCS: Mapping[str, BuiltinDocs] = {
    "hellaswag": BuiltinDocs("hellaswag", ("query", "choices", "gold"), _hellaswag),
    "wikitext": BuiltinDocs("wikitext", ("detokenized",), _wikitext),
}
