"""Reasoning in tokens: which of them are text, where the reasoning ends, and stops that wait for its end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.backends.reasoning import Delimiters, Split, Splitter, split

_TOKENS_OF_A_CHARACTER = 4
"""A character has four bytes at most, and a token one at least."""


@dataclass(frozen=True, slots=True)
class ReasoningDecoder:
    """Decodes outputs without special tokens, but for those of which the delimiters are made."""

    tokenizer: Any
    delimiters: Delimiters
    hidden: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, delimiters: Delimiters) -> ReasoningDecoder:
        """The decoder for a tokenizer of transformers."""
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        special.update(tokenizer.all_special_ids)
        names = {i: tokenizer.convert_ids_to_tokens(i) for i in special}
        return cls(tokenizer, delimiters, frozenset(i for i in special if not any(names[i] in d for d in delimiters)))

    def split(self, tokens: Sequence[int], stops: Sequence[str], *, opened: bool) -> tuple[Split, int]:
        """An output taken apart, and how many of its tokens are reasoning, delimiters included."""
        found = split(self._decode(tokens), self.delimiters, stops, opened=opened)
        before = bisect_left(range(len(tokens)), found.answer, key=lambda n: len(self._decode(tokens[:n])))
        return found, before if found.reasoning or not found.closed else 0

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode([token for token in tokens if token not in self.hidden])
        return text


class ReasoningWatch:
    """Sees when the answer of one row, not its reasoning, holds a stop text."""

    def __init__(
        self, decode: Callable[[list[int]], str], delimiters: Delimiters, stops: Sequence[str], *, opened: bool
    ) -> None:
        self._splitter = Splitter(delimiters, stops, opened=opened)
        self._stream = TextStream(decode)

    def feed(self, token: int) -> bool:
        """Take the next token; says whether the row is done."""
        return self._splitter.feed(self._stream.push(token))


class TextStream:
    """The text of a growing list of tokens, piece by piece. What a token means depends on those before it."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._context = 0
        self._given = 0
        self._before = ""

    def push(self, token: int) -> str:
        """The text that a further token adds; nothing yet where it ends within a character."""
        self._tokens.append(token)
        now = self._decode(self._tokens[self._context :])
        if now.endswith("\ufffd") and len(self._tokens) - self._given < _TOKENS_OF_A_CHARACTER:
            return ""
        piece = now[len(self._before) :]
        self._context, self._given = self._given, len(self._tokens)
        self._before = self._decode(self._tokens[self._context :])
        return piece
