"""Whether the log-probabilities that a server gives for a prompt are what they claim to be.

A reply of the right shape proves nothing: there are servers whose entry for a token is taken from the distribution
*after* it (shifted by one, with the right length and a null in front), and such numbers score choices at chance.

The proof uses what every server has right, the log-probability of a token that it generates. A text is continued by
one greedy token, which comes with its log-probability ``log p(token | text)``. Then the text with that token behind it
is sent as a prompt: the entry of its last token must be that same number. A shifted server gives
``log p(token | text, token)``, the probability that the token is said *again*. The two agree only by chance, and twice
in a row hardly so: the greedy token is the likeliest before it is said, and seldom after it. (Models that do repeat
themselves prove nothing; another text is tried.) Shifts to the other side, sums, constants and made-up numbers fail as
well. What the proof alone would let through, log-probabilities that ignore the context, shows in tokens that stand in
the text more than once: theirs must not all be equal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lmrun.backends.api.call import Malformed
from lmrun.backends.api.logprobs import Position, echoed, prompt_logprobs
from lmrun.backends.api.replies import choices, spent

TEXTS = (
    "One and one is two, and two and two is four, and three and three is",
    "The first day is Monday, the second day is Tuesday, and the third day is",
    "a b c d e f g, a b c d e f g, a b c d e",
)
"""Each has tokens that occur more than once, by any tokenizer. The later ones are for models that end the first."""
STEPS = 2
TOLERANCE = 0.15
"""Half-precision kernels give a token another log-probability in a prompt than while generating, by less than this."""
_ROUNDING = 1e-3


class Prompt(NamedTuple):
    """What a server says of a prompt, and of the token that it puts behind it."""

    tokens: Sequence[str]
    logprobs: Sequence[Any]
    next_text: str
    next_logprob: float


Ask = Callable[[str], Awaitable[Prompt]]


async def fault(ask: Ask) -> str | None:
    """What is wrong with the log-probabilities of prompts; None: they are proved right.

    Raises:
        Malformed: by ``ask``, where there are none.
    """
    for start in TEXTS:
        text = start
        shorter = await ask(text)
        if wrong := _fault_within(shorter):
            return wrong
        for _ in range(STEPS):
            text += shorter.next_text
            longer = await ask(text)
            if wrong := _fault_within(longer):
                return wrong
            if list(longer.tokens[:-1]) != list(shorter.tokens):
                break  # the model ended the text, or the new token merged with its neighbor: nothing to compare
            if longer.tokens[-1] == longer.tokens[-2]:
                break  # a model that repeats itself is as sure of a token after it as before it
            if wrong := _fault_between(shorter, longer):
                return wrong
            shorter = longer
        else:
            return None
    return "they could not be checked: no text could be continued by just one token"


def _fault_within(prompt: Prompt) -> str | None:
    first, *values = prompt.logprobs
    if first is not None:
        return f"the first token, which nothing comes before, has the log-probability {first}"
    for at, value in enumerate(values, 1):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value > _ROUNDING:
            return f"token {at} of the prompt has {value!r} in place of a log-probability"
    if not any(values):
        return "all of them are 0"
    if len(set(values)) == 1:
        return f"all of them are {values[0]}"
    by_token: defaultdict[str, set[float]] = defaultdict(set)
    for token, value in zip(prompt.tokens[1:], values, strict=True):
        by_token[token].add(value)
    repeated = [token for token in by_token if list(prompt.tokens[1:]).count(token) > 1]
    if repeated and all(len(by_token[token]) == 1 for token in repeated):
        return "they do not depend on what comes before a token"
    return None


def _fault_between(shorter: Prompt, longer: Prompt) -> str | None:
    for token, a, b in zip(shorter.tokens[1:], shorter.logprobs[1:], longer.logprobs[1:], strict=False):
        if abs(a - b) > TOLERANCE:
            return f"{token!r} has {a:.3f}, and {b:.3f} where the text goes on behind it"
    generated, prompted = shorter.next_logprob, longer.logprobs[-1]
    if abs(generated - prompted) > TOLERANCE:
        return (
            f"{longer.tokens[-1]!r} has {generated:.3f} when it is generated and {prompted:.3f} in the same place of a "
            "prompt: they are not those of their tokens, as where they are shifted by one"
        )
    return None


# -- reading -----------------------------------------------------------------------------------------------------------


def read_echo(reply: Mapping[str, Any], text: str, tokens: Sequence[int] | None) -> Prompt:
    """A reply to ``echo`` with ``logprobs``; ``tokens`` are those that were sent, or None where the text was."""
    choice = choices(reply, 1)[0]
    found = echoed(choice)
    if len(found) == 1:
        raise Malformed("echo is ignored: only the generated token has a log-probability")
    count = len(tokens) if tokens is not None else spent(reply).prompt_tokens or _count(found, text)
    if len(found) not in (count, count + 1):
        raise Malformed(f"{len(found)} log-probabilities for a prompt of {count} tokens, and one that is generated")
    prompt, new = found[:count], found[count:]
    said = str(choice.get("text") or "")
    next_text = said.removeprefix(text) if said.startswith(text) else "".join(position.token for position in new)
    return _prompt(prompt, next_text if new else "", new[0].logprob if new else None)


def _count(found: Sequence[Position], text: str) -> int:
    """The tokens of the prompt, where the server does not count them."""
    if len("".join(position.token for position in found)) < len(text):
        raise Malformed("the log-probabilities are of a part of the prompt")
    return len(found) - 1


def read_prompt_logprobs(reply: Mapping[str, Any], tokens: Sequence[int]) -> Prompt:
    """A reply to ``prompt_logprobs``."""
    choice = choices(reply, 1)[0]
    new = echoed(choice)[:1]
    return _prompt(prompt_logprobs(choice, tokens), str(choice.get("text") or ""), new[0].logprob if new else None)


def _prompt(positions: Sequence[Position], next_text: str, next_logprob: Any) -> Prompt:
    if next_text and not isinstance(next_logprob, (int, float)):
        raise Malformed(f"the generated token has {next_logprob!r} in place of a log-probability")
    return Prompt([p.token for p in positions], [p.logprob for p in positions], next_text, next_logprob or 0.0)
