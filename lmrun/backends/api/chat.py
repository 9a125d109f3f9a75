"""``/chat/completions``: messages, answered; choices of one token scored, where the server has ``top_logprobs``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.backends.api.call import Asked, Call, Malformed, Ready
from lmrun.backends.api.logprobs import Choices, next_tokens
from lmrun.backends.api.openai import (
    OpenAiWire,
    among,
    answer,
    as_messages,
    each,
    reasoning_delimiters,
    scored,
    with_spent,
)
from lmrun.backends.api.replies import choices, divide_cost, finish_reason, spent
from lmrun.backends.generation import Generation, normalise
from lmrun.backends.tokenize import Unanswerable, estimated_tokens
from lmrun.requests import Context, Request, Response, context_as_json

_PATH = "/chat/completions"
_TOP = 20
"""Alternatives that the protocol allows to ask for."""
_PER_MESSAGE = 4
"""Tokens that a chat template puts around a message, about."""


class ChatWire(OpenAiWire):
    """The protocol of ``/chat/completions``."""

    def facts(self) -> Mapping[str, Any]:
        """Nothing: all that can change an answer is on the server, or in the manifest."""
        return {}

    def counter(self) -> Callable[[Request], int] | None:
        """None: which tokens a chat becomes is known to the server alone."""
        return None

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """Calls for requests that share kind and context."""
        if asked[0].request.kind == "loglikelihood":
            return iter([self._chosen(asked)])
        return each(asked, self._answered)

    def join(self, calls: Sequence[Call]) -> Call:
        """Never asked for: no call of this protocol is joinable."""
        raise NotImplementedError("a chat completion has one prompt")

    def _answered(self, one: Asked) -> list[Call]:
        request = one.request
        if request.kind != "generate_until":
            raise Unanswerable(
                "unsupported_request",
                f"{request.kind} cannot be asked of a chat; use openai-completions or hf, or a generative variant",
            )
        wanted = normalise(request.generation)
        fields = {**self._chat(request.context), **self.sampling(wanted, request.seed)}
        tokens = estimate(request.context)
        read = Answered(self, request, wanted, tokens)
        return [Call(_PATH, self.body(**fields), (one.position,), read, tokens, wanted.max_new_tokens)]

    def _chosen(self, asked: Sequence[Asked]) -> Call:
        """All choices of a doc, by the alternatives for the first token of the answer."""
        context = asked[0].request.context
        top = self.found.top_logprobs or _TOP
        fields = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": top}
        requests = tuple(request for _, request in asked)
        read = Chosen(requests, Choices(frozenset(request.continuation for request in requests)))
        owners = tuple(position for position, _ in asked)
        return Call(_PATH, self.body(**self._chat(context), **fields), owners, read, estimate(context), 1)

    def _chat(self, context: Context) -> dict[str, Any]:
        """The messages; a last one of the assistant is to be continued, which is no part of OpenAI's protocol."""
        messages = as_messages(context)
        fields: dict[str, Any] = {"messages": context_as_json(messages)}
        if messages[-1].role == "assistant":
            fields |= {"continue_final_message": True, "add_generation_prompt": False}
        return fields


def estimate(context: Context) -> int:
    """Prompt tokens, about: those of the texts, and some for each message."""
    return sum(estimated_tokens(message.content) + _PER_MESSAGE for message in as_messages(context))


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """Reads the answer to a chat."""

    wire: ChatWire
    request: Request
    wanted: Generation
    prompt_tokens: int
    """Estimated."""

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The answer."""
        (choice,) = choices(reply, 1)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise Malformed("the choice has no message")
        apart = str(message.get("reasoning_content") or message.get("reasoning") or "").strip()
        response = self._answer(choice, message, apart)
        return [with_spent(response, spent(reply), self.prompt_tokens)]

    def _answer(self, choice: Mapping[str, Any], message: Mapping[str, Any], apart: str) -> Response:
        if refusal := message.get("refusal"):
            return Response(text=str(refusal), reasoning=apart or None, finish_reason="refusal")
        finish = finish_reason(choice)
        text = _content(message)
        if text is None:
            if finish == "stop" and not apart and not message.get("tool_calls"):
                raise Malformed("the message has no content")
            notes = {"no_answer": _why_empty(message, finish)}
            return Response(text="", reasoning=apart or None, finish_reason=finish, notes=notes)
        found = reasoning_delimiters(self.wire.options, text)
        opened = found is not None and found.opened_by(self.request.context, "")
        return answer(text, finish, self.wanted.until, found, opened=opened, apart=apart)


def _content(message: Mapping[str, Any]) -> str | None:
    """The text of a message, which some servers cut into parts; None: there is none."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if content is not None and not isinstance(content, str):
        raise Malformed(f"{type(content).__name__} in place of an answer")
    return content


def _why_empty(message: Mapping[str, Any], finish: str) -> str:
    if message.get("tool_calls"):
        return "a tool call in its place"
    return {"length": "cut off before it", "refusal": "withheld"}.get(finish, "nothing after the reasoning")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Reads the log-probabilities of choices that an answer may begin with."""

    requests: tuple[Request, ...]
    doc: Choices

    def __call__(self, reply: Mapping[str, Any]) -> list[Response]:
        """The scores."""
        (choice,) = choices(reply, 1)
        alternatives = next_tokens(choice)
        responses = []
        for request, cost in zip(self.requests, divide_cost(spent(reply), len(self.requests)), strict=True):
            # An answer begins without the space that stands before a choice in a text.
            found = among(alternatives, request.continuation.lstrip())
            response = found if isinstance(found, Response) else scored(request, found, self.doc)
            responses.append(with_spent(response, cost))
        return responses
