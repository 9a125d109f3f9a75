"""WikiText as running text, and its perplexities over the words and bytes of the page as it is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_BEFORE: tuple[tuple[str, str], ...] = (
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
)
_PAIRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\(\s*([^\)]*?)\s*\)"), r"(\1)"),
    (re.compile(r"\[\s*([^\]]*?)\s*\]"), r"[\1]"),
    (re.compile(r"{\s*([^}]*?)\s*}"), r"{\1}"),
    (re.compile(r"\"\s*([^\"]*?)\s*\""), r'"\1"'),
    (re.compile(r"'\s*([^']*?)\s*'"), r"'\1'"),
)
_AFTER: tuple[tuple[str, str], ...] = (
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def detokenized(doc: Mapping[str, Any]) -> str:
    """Undo WikiText's tokenization. The order of the steps is part of the benchmark, and so is what they miss."""
    text: str = doc["page"].replace("s '", "s'")
    text = re.sub(r"/' [0-9]/", r"/'[0-9]/", text)
    for old, new in _BEFORE:
        text = text.replace(old, new)
    for pattern, new in _PAIRS:
        text = pattern.sub(new, text)
    for old, new in _AFTER:
        text = text.replace(old, new)
    return text


def process_results(doc: Mapping[str, Any], results: Sequence[float]) -> dict[str, tuple[float, int]]:
    """The log-likelihood of the page, with its words and bytes before detokenization."""
    (logprob,) = results
    words, size = len(re.split(r"\s+", doc["page"])), len(doc["page"].encode())
    return {
        "word_perplexity": (logprob, words),
        "byte_perplexity": (logprob, size),
        "bits_per_byte": (logprob, size),
    }
