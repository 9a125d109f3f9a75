"""Replies to calls of ``/completions``: answers, scores of continuations, and choices of one token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from lmrun.backends.api.alignment import CannotAlign, first_after, places
from lmrun.backends.api.call import Call, Malformed
from lmrun.backends.api.logprobs import Choices, Position, check_tokens, echoed, next_tokens, prompt_logprobs, total
from lmrun.backends.api.openai import among, answer, scored, text_of, with_spent
from lmrun.backends.api.replies import choices, divide, divide_cost, finish_reason, spent
from lmrun.backends.generation import Generation
from lmrun.backends.reasoning import Delimiters
from lmrun.backends.tokenize import Prompt
from lmrun.requests import Request, Response, ResponseError

Method: TypeAlias = Literal["echo", "prompt_logprobs", "next_token"]
"""How continuations are scored."""


class Sent(NamedTuple):
    """A prompt as it goes to the server."""

    prompt: str | list[int]
    tokens: int
    """Counted, or estimated."""
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Reads the reply to several prompts."""

    members: tuple[Call, ...]

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The responses of all members."""
        parts = divide(reply, [call.prompt_tokens for call in self.members])
        return [r for call, part in zip(self.members, parts, strict=True) for r in call.read(part)]


@dataclass(frozen=True, slots=True)
class Answered:
    """Reads the continuation of a prompt."""

    request: Request
    wanted: Generation
    prompt: Prompt
    sent: Sent
    delimiters: Callable[[str], Delimiters | None]
    """Of the reasoning in a text."""

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The answer."""
        (choice,) = choices(reply, 1)
        text = text_of(choice.get("text"))
        found = self.delimiters(text)
        opened = found is not None and found.opened_by(self.request.context, self.prompt.text)
        response = answer(text, finish_reason(choice), self.wanted.until, found, opened=opened)
        return [with_spent(response, spent(reply), self.sent.tokens, self.sent.dropped, self.prompt.notes)]


class Span(NamedTuple):
    """What is scored of a prompt whose tokens are known."""

    tokens: list[int]
    first: int
    method: Method
    text: str | None = None
    """What was sent, where it was not the tokens: the reply's tokens have to spell it."""

    def positions(self, choice: Mapping[str, Any]) -> tuple[list[Position], bool]:
        """The positions that are scored. Raises :class:`~lmrun.backends.api.call.Malformed`."""
        if self.method == "prompt_logprobs":
            return prompt_logprobs(choice, self.tokens, self.first), False
        prompt = check_tokens(echoed(choice), self.tokens)
        if self.text is not None:
            try:
                list(places([token for token, _, _ in prompt], self.text))
            except CannotAlign as error:
                raise Malformed(f"the server cuts the text into other tokens: {error}") from error
        return prompt[self.first :], False


class TextSpan(NamedTuple):
    """What is scored of a prompt whose tokens are not known: all from ``join`` on."""

    text: str
    join: int

    def positions(self, choice: Mapping[str, Any]) -> tuple[list[Position], bool]:
        """The positions that are scored, and whether a token spans the join.

        Raises:
            Malformed: the log-probabilities are not what the protocol says.
            CannotAlign: where the continuation begins cannot be told.
        """
        prompt = echoed(choice)
        tokens = [token for token, _, _ in prompt]
        try:
            start = first_after(tokens[:-1], self.text, self.join)
            prompt.pop()
        except CannotAlign:
            # A server may leave out the generated token, where it ends the text.
            start = first_after(tokens, self.text, self.join)
        if start.token == len(prompt):
            raise CannotAlign("one token spans the join and all of the continuation")
        if start.token == 0:
            raise CannotAlign("the first token has no log-probability, for nothing stands before it")
        return prompt[start.token :], start.spans


@dataclass(frozen=True, slots=True)
class Summed:
    """Reads the log-probability of a continuation, or of a stretch of text."""

    request: Request
    doc: Choices
    span: Span | TextSpan
    sent: Sent
    notes: Mapping[str, Any]

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The score."""
        (choice,) = choices(reply, 1)
        try:
            positions, spans = self.span.positions(choice)
        except CannotAlign as error:
            message = f'{error}; name the model\'s tokenizer in the manifest: tokenizer = "…"'
            return [Response(error=ResponseError("join_not_found", message))]
        response = scored(self.request, total(positions), self.doc)
        notes = {**self.notes, "join": "spans"} if spans else self.notes
        return [with_spent(response, spent(reply), self.sent.tokens, self.sent.dropped, notes)]


class Choice(NamedTuple):
    """A choice of one token."""

    text: str
    token: int | None
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Reads the log-probabilities of choices of one token."""

    members: tuple[tuple[Request, Choice], ...]
    doc: Choices
    sent: Sent

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The scores."""
        (choice,) = choices(reply, 1)
        alternatives = next_tokens(choice)
        responses = []
        for (request, wanted), cost in zip(self.members, divide_cost(spent(reply), len(self.members)), strict=True):
            found = among(alternatives, wanted.text, wanted.token)
            response = found if isinstance(found, Response) else scored(request, found, self.doc)
            responses.append(with_spent(response, cost, dropped=self.sent.dropped, notes=wanted.notes))
        return responses
