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


class ReasoningStops:
    """Stopping criterion: a row is done when its answer, not its reasoning, holds a stop text."""

    def __init__(
        self, decode: Callable[[list[int]], str], delimiters: Delimiters, stops: Sequence[str], opened: Sequence[bool]
    ) -> None:
        self.found: list[int | None] = [None] * len(opened)
        """By row: how many tokens had been generated when a stop was seen."""
        self._splitters = [Splitter(delimiters, stops, opened=row) for row in opened]
        self._streams = [TextStream(decode) for _ in opened]
        self._steps = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are done, as transformers asks after every token."""
        import torch

        self._steps += 1
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if self.found[i] is None and self._splitters[i].feed(self._streams[i].push(token)):
                self.found[i] = self._steps
        return torch.tensor([found is not None for found in self.found], device=input_ids.device)


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
