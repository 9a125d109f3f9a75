"""What the engine is asked, and what it says: plain values that travel between two processes.

A scored continuation becomes one question or several. ``prompt_logprobs`` gives the log-probabilities of a prompt's own
tokens, but vLLM computes such a prompt anew each time. The next token's log-probabilities cost only what no earlier
prompt had in common with this one, as vLLM keeps what it has computed (its prefix cache).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lmrun.backends.reasoning import Delimiters
from lmrun.requests import FinishReason

MOST_WANTED = 128
"""Tokens whose log-probabilities vLLM gives for one position."""
RECOMPUTED = 32
"""Tokens that a cached prompt costs, about: what does not fill a block of the cache is computed again."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How likely the last tokens of a prompt are, and each of some tokens after it."""

    tokens: tuple[int, ...]
    tail: int
    """How many of the last tokens are scored; 0: none, and the prefix cache is read."""
    wanted: tuple[int, ...]
    """Tokens that may come next."""


@dataclass(frozen=True, slots=True)
class Continuing:
    """What comes after a prompt."""

    tokens: tuple[int, ...]
    sampling: Mapping[str, Any]
    """Arguments of vLLM's ``SamplingParams``."""
    answer_stops: tuple[str, ...] = ()
    """Stops that hold only behind the reasoning."""
    delimiters: Delimiters | None = None
    opened: bool = False
    """The prompt has begun the reasoning."""


Question = Scoring | Continuing


class Scored(NamedTuple):
    """The answer to a :class:`Scoring`."""

    tail: tuple[float, ...]
    """Log-probability of each token of the tail."""
    tail_greedy: bool
    """All of them are the model's first choice."""
    next: tuple[float, ...]
    """Log-probability of each token that was wanted."""
    first_choice: int
    """The token that the model would choose next."""
    cached: int = 0
    """Prompt tokens that were not computed anew."""


class Continued(NamedTuple):
    """The answer to a :class:`Continuing`."""

    tokens: tuple[int, ...]
    finish_reason: FinishReason
    cached: int = 0


class Refused(NamedTuple):
    """Why vLLM does not take a question."""

    message: str


Reply = Scored | Continued | Refused


class Part(NamedTuple):
    """A stretch of a request's scored text, as input tokens and the tokens that follow within it."""

    owner: int
    """Position of the request."""
    inputs: Sequence[int]
    """Everything but the last token that is scored."""
    continuation: Sequence[int]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A scoring question, and the requests that wait for each wanted token."""

    question: Scoring
    owners: tuple[tuple[int, ...], ...]
    """Beside each wanted token; an owner may stand there more than once."""


@dataclass(slots=True)
class _Merged:
    owners: dict[int, list[int]] = field(default_factory=dict)

    def sheets(self, tokens: tuple[int, ...], tail: int) -> Iterable[Sheet]:
        wanted = sorted(self.owners)
        for start in range(0, len(wanted), MOST_WANTED):
            some = tuple(wanted[start : start + MOST_WANTED])
            yield Sheet(Scoring(tokens, tail, some), tuple(tuple(self.owners[token]) for token in some))


def sheets(parts: Iterable[Part], *, tails: bool = True) -> list[Sheet]:
    """Questions whose answers score all parts: each prompt once, those that begin alike next to each other.

    Without ``tails`` every token is asked for by itself.
    """
    listed = list(parts)
    beginnings: dict[tuple[int, ...], int] = {}
    for part in listed:
        beginning = _beginning(part)
        beginnings[beginning] = beginnings.get(beginning, 0) + 1
    merged: dict[tuple[tuple[int, ...], int], _Merged] = {}
    for part in listed:
        token_by_token = not tails or (beginnings[_beginning(part)] > 1 and _is_short(part))
        for inputs, tail, token in _positions(part) if token_by_token else [_at_once(part)]:
            merged.setdefault((inputs, tail), _Merged()).owners.setdefault(token, []).append(part.owner)
    return [sheet for key in sorted(merged) for sheet in merged[key].sheets(*key)]


def _beginning(part: Part) -> tuple[int, ...]:
    return tuple(part.inputs[: len(part.inputs) + 1 - len(part.continuation)])


def _is_short(part: Part) -> bool:
    """Whether one question per token computes less than the prompt once more, if the beginning is in the cache."""
    return len(part.continuation) * RECOMPUTED <= len(part.inputs)


def _at_once(part: Part) -> tuple[tuple[int, ...], int, int]:
    return tuple(part.inputs), len(part.continuation) - 1, part.continuation[-1]


def _positions(part: Part) -> Iterable[tuple[tuple[int, ...], int, int]]:
    start = len(part.inputs) + 1 - len(part.continuation)
    for i, token in enumerate(part.continuation):
        yield tuple(part.inputs[: start + i]), 0, token
