"""Texts encoded piece by piece, each distinct piece once: prompts with the same examples share most of their text.

A byte-level BPE first splits a text into words, by patterns that never join two words of ASCII letters with one space
between them, and then encodes each word by itself. So the tokens of a text that is cut before such a space are those of
its pieces in a row. Where a tokenizer may be of another kind there are no pieces (:meth:`Segments.of`).
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

_CUT = re.compile(r"(?<=[A-Za-z]{2}) (?=[A-Za-z]{2})")
_LEAST = 192
"""Characters of a piece, unless a line ends in it. The next one begins at the first cut after that, or in the next
line: so an example has the same pieces in every prompt, whatever stands before it."""
_SHORT, _SHORT_SHARED = 1024, 256
"""Characters below which the library itself is faster; the second of texts that begin alike, as those of choices do."""
_MOST_KEPT = 1 << 22
"""Characters of the pieces whose tokens are remembered."""
_SPLITTERS = frozenset(("ByteLevel", "Split", "Digits", "Punctuation"))
_PROBE = "so we have\nsome words, ALL of them\nof lower and Upper case"


def pieces(text: str, start: int = 0) -> Iterator[str]:
    """A text in pieces, from the beginning of one on; together they are the text."""
    while start < len(text):
        line = text.find("\n", start, start + _LEAST)
        cut = _CUT.search(text, start + _LEAST if line < 0 else line + 1)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end


class Pieces:
    """The pieces of one text after another: those that it begins with like the one before are not looked for again."""

    def __init__(self) -> None:
        self._text = ""
        self._ends: list[int] = []

    def of(self, text: str) -> tuple[int, list[str]]:
        """How many pieces of the text before it begins with, and the others."""
        ends, before = self._ends, self._text
        # The last piece ends with its text. Where another one ends is told by the three characters after its end.
        kept = bisect_left(range(len(ends) - 1), True, key=lambda i: not text.startswith(before[: ends[i] + 3]))
        return kept, list(pieces(text, ends[kept - 1] if kept else 0))

    def turn_to(self, text: str, kept: int, others: Sequence[str]) -> None:
        """The text before is this one from now on."""
        start = self._ends[kept - 1] if kept else 0
        self._text, self._ends[kept:] = text, list(accumulate(map(len, others), initial=start))[1:]


class Segments:
    """Encodes texts with a tokenizer that has a ``backend_tokenizer`` of the library ``tokenizers``."""

    def __init__(self, tokenizer: Any, before: list[int]) -> None:
        self._tokenizer = tokenizer
        self._before = before
        # A tokenizer of transformers takes its time whatever the text.
        self._slow = bool(getattr(tokenizer, "is_fast", False))
        self._known: dict[str, array[int]] = {}
        self._kept = 0
        self._prepared = Pieces()
        self._encoded = Pieces()
        # Of the text encoded last: its tokens, and how many of them there are after each piece.
        self._ids: list[int] = []
        self._counts = [0]

    @classmethod
    def of(cls, tokenizer: Any) -> Segments | None:
        """None where pieces may have other tokens than the text that they make."""
        if getattr(tokenizer, "backend_tokenizer", None) is None or not _splits_words(tokenizer):
            return None
        before = tokenizer.encode("")
        whole, bare = tokenizer.encode(_PROBE), tokenizer.encode(_PROBE, add_special_tokens=False)
        return cls(tokenizer, before) if whole == [*before, *bare] else None

    def encode(self, text: str, *, special: bool, shared: bool = False) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer adds or without.

        ``shared`` says that texts before or after it begin alike; it changes how long this takes, and nothing else.
        """
        if not self._slow and len(text) < (_SHORT_SHARED if shared else _SHORT):
            whole: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
            return whole
        kept, others = self._encoded.of(text)
        known = self._learn(dict.fromkeys(others))
        self._encoded.turn_to(text, kept, others)
        del self._ids[self._counts[kept] :], self._counts[kept + 1 :]
        for piece in others:
            self._ids.extend(known[piece])
            self._counts.append(len(self._ids))
        return [*self._before, *self._ids] if special else self._ids.copy()

    def prepare(self, texts: Iterable[str]) -> None:
        """Encode all pieces of some texts that are not known, in one call."""
        wanted: dict[str, None] = {}
        for text in texts:
            kept, others = self._prepared.of(text)
            self._prepared.turn_to(text, kept, others)
            wanted |= dict.fromkeys(others)
        self._learn(wanted)

    def _learn(self, wanted: dict[str, None]) -> dict[str, array[int]]:
        """Tokens by piece; of what is wanted at least."""
        new = [piece for piece in wanted if piece not in self._known]
        if not new:
            return self._known
        size = sum(map(len, new))
        if self._kept + size > _MOST_KEPT:
            self._known, self._kept = {}, 0
            new, size = list(wanted), sum(map(len, wanted))
        found = self._encode_all(new)
        self._known.update((piece, array("i", ids)) for piece, ids in zip(new, found, strict=True))
        self._kept += size
        return self._known

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [each.ids for each in encoded]


def _splits_words(tokenizer: Any) -> bool:
    """Whether it is a byte-level BPE that encodes words apart, as far as its parts say, and a probe."""
    from tokenizers import models, normalizers

    built = tokenizer.backend_tokenizer
    splitter = built.pre_tokenizer
    if not isinstance(built.model, models.BPE) or built.model.dropout or splitter is None:
        return False
    if built.normalizer is not None and not isinstance(built.normalizer, normalizers.NFC):
        return False
    kinds = set(_kinds(json.loads(splitter.__getstate__())))
    if "ByteLevel" not in kinds or not kinds <= _SPLITTERS:
        return False
    if any(_reaches_over_spaces(token) for token in built.get_added_tokens_decoder().values()):
        return False
    starts = {start for _, (start, _) in splitter.pre_tokenize_str(_PROBE)}
    return all(cut.start() in starts for cut in _CUT.finditer(_PROBE))


def _kinds(splitter: dict[str, Any]) -> Iterator[str]:
    if splitter["type"] == "Sequence":
        for part in splitter["pretokenizers"]:
            yield from _kinds(part)
    else:
        yield splitter["type"]


def _reaches_over_spaces(token: Any) -> bool:
    """Whether an added token may hold, or take with it, the space of a cut."""
    edges = token.content[:1] + token.content[-1:]
    return " " in token.content or ((token.lstrip or token.rstrip) and any(edge.isalpha() for edge in edges))
