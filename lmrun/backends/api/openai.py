"""What completions and chat of OpenAI-compatible servers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmrun.backends.api.answers import unasked
from lmrun.backends.api.call import Asked, Call, Malformed, Post, Ready
from lmrun.backends.api.found import Found
from lmrun.backends.api.logprobs import Alternatives, Choices, Scored
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.replies import Spent
from lmrun.backends.base import SUSPICIOUS_LOGPROBS, Capability, ModelSpec, Needs
from lmrun.backends.generation import ONLY_SAMPLED, Generation, cut_at_stops
from lmrun.backends.reasoning import KNOWN, Delimiters, split
from lmrun.backends.templates import stated_delimiters
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Context, FinishReason, Message, Request, Response, ResponseError

SUSPICIOUS = ResponseError(
    SUSPICIOUS_LOGPROBS,
    "all continuations of this context got the same log-probability: the server does not look at them; "
    "`lmrun doctor MANIFEST` tells what it does",
)


class OpenAiWire:
    """Headers, checks and parameters."""

    base_url = "https://api.openai.com/v1"
    key_env = "OPENAI_API_KEY"

    def __init__(self, spec: ModelSpec, options: ApiOptions) -> None:
        self.spec = spec
        self.options = options
        self.found = Found()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """The key, where there is one."""
        if key is None:
            return {}
        header = self.options.api_key_header
        return {header: key} if header else {"Authorization": f"Bearer {key}"}

    async def check(self, needs: Needs, post: Post) -> None:
        """Find out whether the server can answer this."""
        from lmrun.backends.api.probe import Probe

        await Probe(self.spec, self.options, self).check(needs, post)

    async def capabilities(self, post: Post) -> Sequence[Capability]:
        """All that can be found out."""
        from lmrun.backends.api.probe import Probe

        return await Probe(self.spec, self.options, self).capabilities(post)

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """Calls for requests; each protocol has its own."""
        raise NotImplementedError

    # -- bodies --------------------------------------------------------------------------------------------------------

    def body(self, **fields: Any) -> dict[str, Any]:
        """A body with what every request has; the manifest's ``extra_body`` has the last word."""
        return {"model": self.spec.model, **fields, **self.options.extra_body}

    def sampling(self, generation: Generation, seed: int | None) -> dict[str, Any]:
        """The parameters of an answer.

        Stops are not sent where the manifest splits off reasoning: the server would stop within it.
        """
        fields: dict[str, Any] = {"max_tokens": generation.max_new_tokens}
        if generation.sample:
            fields |= generation.options
        else:
            fields |= {k: v for k, v in generation.options.items() if k not in ONLY_SAMPLED}
            fields["temperature"] = 0.0
        if generation.until and self.options.reasoning is None:
            fields["stop"] = list(generation.until)
        if seed is not None:
            fields["seed"] = seed
        return fields


def as_messages(context: Context) -> tuple[Message, ...]:
    """The messages of a context; plain text becomes one of the user."""
    return (Message("user", context),) if isinstance(context, str) else context


def each(asked: Iterable[Asked], calls: Callable[[Asked], Iterable[Call | Ready]]) -> Iterator[Call | Ready]:
    """The calls of each request; one that cannot be asked does not keep the others from it."""
    for one in asked:
        try:
            yield from calls(one)
        except Unanswerable as error:
            yield unasked(one, error)


# -- answers -----------------------------------------------------------------------------------------------------------


def delimiters_in(text: str) -> Delimiters | None:
    """The known delimiters that an answer shows itself."""
    begun = text.lstrip()
    return next((known for known in KNOWN if known.end in text or begun.startswith(known.start)), None)


def answer(
    text: str,
    finish: FinishReason,
    stops: Sequence[str],
    delimiters: Delimiters | None,
    *,
    opened: bool = False,
    apart: str = "",
) -> Response:
    """An answer without its reasoning and from its first stop on.

    Args:
        text: as the server gives it.
        finish: why the server says it ended.
        stops: of the request; the server may have applied some.
        delimiters: of reasoning within the text.
        opened: the prompt has begun the reasoning.
        apart: reasoning that the server has split off itself.
    """
    if delimiters is None:
        cut, stopped = cut_at_stops(text, stops)
        return Response(text=cut, reasoning=apart or None, finish_reason="stop" if stopped else finish)
    found = split(text, delimiters, stops, opened=opened and not apart)
    reasoning = "\n".join(part for part in (apart, found.reasoning) if part) or None
    ended: FinishReason = "stop" if found.stopped else finish if found.closed else "length"
    return Response(text=found.text, reasoning=reasoning, finish_reason="refusal" if finish == "refusal" else ended)


def reasoning_delimiters(options: ApiOptions, text: str) -> Delimiters | None:
    """What stands around the reasoning in an answer, by the manifest or, for ``auto``, by the answer itself."""
    if options.reasoning is None:
        return None
    return delimiters_in(text) if isinstance(options.reasoning, str) else stated_delimiters(options.reasoning)


def with_spent(
    response: Response, cost: Spent, prompt_tokens: int = 0, dropped: int = 0, notes: Mapping[str, Any] | None = None
) -> Response:
    """A response with what the server says it cost; where it does not, with what was counted or estimated.

    Args:
        response: with the answer.
        cost: as the server says.
        prompt_tokens: counted, or estimated.
        dropped: tokens of the prompt that did not fit.
        notes: in place of those of the response, where there are any.
    """
    if not any(cost):
        cost = Spent(prompt_tokens, completion_tokens=response.completion_tokens or _written(response))
    return replace(response, **cost._asdict(), dropped_tokens=dropped, notes=notes or response.notes)


def _written(response: Response) -> int:
    """Tokens of an answer, about: a quarter of its bytes. Without them a budget would never be spent."""
    text = (response.reasoning or "") + (response.text or "")
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


# -- scores ------------------------------------------------------------------------------------------------------------


def scored(request: Request, result: Scored, doc: Choices) -> Response:
    """A response with a score, unless it cannot be true."""
    if not doc.add(request.continuation, result):
        return Response(error=SUSPICIOUS)
    return Response(logprob=result.logprob, is_greedy=result.is_greedy, completion_tokens=result.tokens)


def among(alternatives: Alternatives, text: str, token: int | None = None) -> Scored | Response:
    """The score of a choice of one token, or the error that it is none of the alternatives."""
    found = alternatives.score(text, token)
    if found is None:
        return Response(
            error=ResponseError(
                "choice_not_in_top_logprobs",
                f"{text!r} is not among the {alternatives.count} most likely next tokens, which is all that the server "
                "tells; use openai-completions with echo or prompt_logprobs, or a generative variant of the task",
            )
        )
    return found


def text_of(value: Any) -> str:
    """Text of a reply. Raises :class:`Malformed`."""
    if not isinstance(value, str):
        raise Malformed(f"{type(value).__name__} in place of an answer")
    return value
