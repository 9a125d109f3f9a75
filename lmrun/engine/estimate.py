"""How many tokens a request takes, before it is asked."""

from __future__ import annotations

from lmrun.backends.generation import DEFAULT_MAX_TOKENS, normalise
from lmrun.backends.tokenize import BYTES_PER_TOKEN, Unanswerable
from lmrun.backends.tokenize import estimated_tokens as estimated
from lmrun.requests import Request
from lmrun.store.records import Tokens

ESTIMATED = f"estimated: bytes / {BYTES_PER_TOKEN}"
"""Name of the method of :func:`estimated_tokens`."""

_TOKENS_PER_MESSAGE = 16
"""More than chat formats put around a message."""
_SHORTEST_WINDOW = 256
"""Bytes; no model has a shorter context."""


def estimated_tokens(request: Request) -> int:
    """Prompt tokens by the length of the text, a continuation that is scored included."""
    return estimated(*_texts(request))


def new_tokens(request: Request, *, asked: bool) -> int:
    """The most that can be generated. A server that is ``asked`` to score has to generate a token behind the prompt."""
    if request.kind != "generate_until":
        return int(asked)
    try:
        return normalise(request.generation).max_new_tokens
    except Unanswerable:  # the request will be an error, and cost nothing
        return DEFAULT_MAX_TOKENS


def upper_bound(request: Request) -> Tokens:
    """More tokens than a request can take: no tokenizer makes more of a text than it has bytes.

    A long text that is scored as a whole is sent in windows that overlap.
    """
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(request))
    if request.kind == "loglikelihood_rolling":
        return Tokens(input=2 * size + _TOKENS_PER_MESSAGE, output=1 + size // _SHORTEST_WINDOW)
    messages = 1 if isinstance(request.context, str) else len(request.context)
    return Tokens(input=size + messages * _TOKENS_PER_MESSAGE, output=new_tokens(request, asked=True))


def _texts(request: Request) -> tuple[str, ...]:
    context = request.context
    texts = [context] if isinstance(context, str) else [message.content for message in context]
    return (*texts, request.continuation)
