"""Log-probabilities in replies of OpenAI-compatible servers: of the tokens of a prompt, and of what may come next.

Nothing here is taken on trust. A number that is missing, of the wrong sign, or one for a token that was not sent, makes
the reply :class:`Malformed`: a wrong log-probability looks like a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from lmrun.backends.api.call import Malformed

_ROUNDING = 1e-3
"""How far above 0 a log-probability can come by rounding."""
_BY_ID = "token_id:"
"""How vLLM spells a token with ``return_tokens_as_token_ids``."""


class Scored(NamedTuple):
    """Tokens scored together."""

    logprob: float
    is_greedy: bool
    tokens: int


Position: TypeAlias = tuple[str, Any, Any]
"""A token of the prompt as the server spells it, and as the reply has them its log-probability (null for the first) and
the likeliest tokens in its place. A plain tuple: a reply has hundreds."""


def echoed(choice: Mapping[str, Any]) -> list[Position]:
    """The tokens of a reply with ``echo`` and ``logprobs``: those of the prompt, then those generated."""
    logs = choice.get("logprobs")
    if not isinstance(logs, dict):
        raise Malformed("the reply has no logprobs")
    tokens, values, tops = (logs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list) or not isinstance(tops, list):
        raise Malformed("the reply's logprobs lack tokens, token_logprobs or top_logprobs")
    if not len(tokens) == len(values) == len(tops):
        raise Malformed("tokens, token_logprobs and top_logprobs have different lengths")
    return list(zip(map(str, tokens), values, tops, strict=True))


def prompt_logprobs(choice: Mapping[str, Any], tokens: Sequence[int], first: int = 0) -> list[Position]:
    """The tokens from ``first`` on in a reply to ``prompt_logprobs``, which names them by their ids."""
    logs = choice.get("prompt_logprobs")
    if not isinstance(logs, list) or len(logs) != len(tokens):
        found = len(logs) if isinstance(logs, list) else "no"
        raise Malformed(f"{found} prompt_logprobs for {len(tokens)} tokens")
    try:
        own = [at[str(token)]["logprob"] for token, at in zip(tokens[1:], logs[1:], strict=True)]
    except (KeyError, TypeError) as error:
        raise Malformed(f"prompt_logprobs lack a token that was sent: {error}") from error
    names = [f"{_BY_ID}{token}" for token in tokens[first:]]
    return list(zip(names, [None, *own][first:], logs[first:], strict=True))


def check_tokens(positions: Sequence[Position], tokens: Sequence[int]) -> list[Position]:
    """The positions of the prompt, without what was generated.

    Raises:
        Malformed: they are not as many as the tokens that were sent, or others.
    """
    if not len(tokens) <= len(positions) <= len(tokens) + 1:
        raise Malformed(f"log-probabilities of {len(positions)} tokens for a prompt of {len(tokens)}")
    prompt = list(positions[: len(tokens)])
    for (name, _, _), token in zip(prompt, tokens, strict=True):
        if name.startswith(_BY_ID) and name != f"{_BY_ID}{token}":
            raise Malformed(f"a log-probability of {name} where the token {token} was sent")
    return prompt


def total(positions: Sequence[Position]) -> Scored:
    """The sum over positions, and whether each of them has the highest log-probability of all tokens."""
    values = [_logprob(value) for _, value, _ in positions]
    greedy = all(value >= _best(top) for value, (_, _, top) in zip(values, positions, strict=True))
    return Scored(math.fsum(values), greedy, len(values))


def _logprob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise Malformed(f"{value!r} in place of a log-probability")
    if value > _ROUNDING:
        raise Malformed(f"{value} is above 0, and no log-probability")
    return float(value)


def _best(top: Any) -> float:
    if not isinstance(top, dict) or not top:
        raise Malformed("a scored token without the likeliest one in its place")
    return max(_logprob(entry.get("logprob") if isinstance(entry, dict) else entry) for entry in top.values())


# -- what may come next ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Tokens that may come next, each with its log-probability."""

    by_text: Mapping[str, float]
    """Without spellings that several tokens share, as parts of characters do."""
    by_id: Mapping[int, float]
    """Empty where the server names no ids."""
    best: float
    count: int

    def score(self, text: str, token: int | None = None) -> Scored | None:
        """A token by its id, where that is known on both sides, or else by its spelling; None: not among them."""
        value = self.by_id.get(token) if token is not None and self.by_id else self.by_text.get(text)
        return None if value is None else Scored(value, value >= self.best, 1)


def next_tokens(choice: Mapping[str, Any]) -> Alternatives:
    """The alternatives for the first generated token, in the form of completions or in that of chats.

    There are none where the model has ended the text at once and the server does not show the token that says so.
    """
    logs = choice.get("logprobs")
    if not isinstance(logs, dict):
        raise Malformed("the reply has no logprobs")
    by_text: dict[str, float] = {}
    by_id: dict[int, float] = {}
    shared: set[str] = set()
    best, count = -math.inf, 0
    for text, token, value in _entries(logs):
        best, count = max(best, value), count + 1
        if token is not None:
            by_id[token] = value
        if text in by_text:
            shared.add(text)
        by_text[text] = value
    return Alternatives({t: v for t, v in by_text.items() if t not in shared}, by_id, best, count)


def _entries(logs: Mapping[str, Any]) -> Iterator[tuple[str, int | None, float]]:
    if isinstance(content := logs.get("content"), list):
        listed = content[0].get("top_logprobs") or () if content else ()
        entries = [(str(entry.get("token")), entry.get("id"), entry.get("logprob")) for entry in listed]
    elif isinstance(tops := logs.get("top_logprobs"), list):
        entries = [(text, None, value) for text, value in ((tops[0] or {}) if tops else {}).items()]
    else:
        raise Malformed("the reply has no alternatives for the first token")
    for text, token, value in entries:
        named = int(text.removeprefix(_BY_ID)) if text.startswith(_BY_ID) else token
        yield text, named if isinstance(named, int) else None, _logprob(value)


# -- the choices of a doc ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Choices:
    """What was found for the continuations of one context, to see whether it can be true."""

    texts: frozenset[str]
    found: dict[str, Scored] = field(default_factory=dict)

    def add(self, text: str, scored: Scored) -> bool:
        """Note a result; False where it completes a doc whose continuations all have the same log-probability.

        Different tokens in one place cannot all be certain; but two of them can be equally likely, for a model in half
        precision has few numbers. Texts of several tokens never are.
        """
        self.found[text] = scored
        if len(self.texts) < 2 or self.found.keys() != self.texts:
            return True
        values = {s.logprob for s in self.found.values()}
        if len(values) > 1:
            return True
        one_token = all(s.tokens == 1 for s in self.found.values())
        return one_token and math.fsum(math.exp(s.logprob) for s in self.found.values()) <= 1 + _ROUNDING
