"""Requests as the tokens that a model gets, and the responses to them but for what the model says."""

from __future__ import annotations

from typing import NamedTuple

from lmrun.backends.tokenize import Encoder, Tokens, TooLong, cut_pair, cut_prompt
from lmrun.requests import Request, Response


class ScoredDraft(NamedTuple):
    """A continuation to be scored."""

    inputs: Tokens
    """Context and continuation but for its last token."""
    continuation: Tokens
    response: Response


class PromptDraft(NamedTuple):
    """A prompt to be continued."""

    inputs: Tokens
    text: str
    response: Response


def draft_pair(encoder: Encoder, request: Request, max_length: int, too_long: TooLong) -> ScoredDraft:
    """The tokens that score a continuation.

    Raises:
        Unanswerable: no continuation, or one that is too long.
    """
    prompt = encoder.render(request.context)
    pair = encoder.pair(prompt.text, request.continuation)
    cut = cut_pair(pair.context, pair.continuation, max_length, too_long)
    n_scored = len(pair.continuation)
    response = Response(
        prompt_tokens=len(cut.inputs) + 1 - n_scored,
        completion_tokens=n_scored,
        dropped_tokens=cut.dropped,
        notes={**prompt.notes, **({"join": pair.join} if pair.join != "joint" else {})},
    )
    return ScoredDraft(cut.inputs, pair.continuation, response)


def draft_prompt(encoder: Encoder, request: Request, max_length: int, reserved: int, too_long: TooLong) -> PromptDraft:
    """The tokens that are continued; of ``max_length`` tokens, so many are ``reserved`` for the answer.

    Raises:
        Unanswerable: no room for the prompt.
    """
    prompt = encoder.render(request.context)
    cut = cut_prompt(encoder.prompt(prompt.text), max_length, reserved, too_long)
    response = Response(prompt_tokens=len(cut.inputs), dropped_tokens=cut.dropped, notes=prompt.notes)
    return PromptDraft(cut.inputs, prompt.text, response)
