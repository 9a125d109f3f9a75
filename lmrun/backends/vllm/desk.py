"""Requests become questions to the engine, and its replies become responses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lmrun.backends.drafts import draft_pair, draft_prompt
from lmrun.backends.generation import cut_at_stops, normalise
from lmrun.backends.hf.reasoning import ReasoningDecoder
from lmrun.backends.hf.scoring import NOT_A_NUMBER
from lmrun.backends.tokenize import Encoder, TooLong, Unanswerable, estimated_tokens
from lmrun.backends.vllm.questions import (
    Continued,
    Continuing,
    Part,
    Question,
    Refused,
    Reply,
    Scored,
    Sheet,
    sheets,
)
from lmrun.backends.vllm.sampling import described, sampling
from lmrun.requests import Request, Response, ResponseError, content_key

Answers = list[tuple[int, Response]]


@dataclass(slots=True)
class _Tally:
    """What is known so far of a text that is scored."""

    draft: Response
    rolling: bool
    missing: int
    """Tokens without a log-probability."""
    logprobs: list[float] = field(default_factory=list)
    greedy: bool = True

    def response(self) -> Response:
        total = math.fsum(self.logprobs)
        if math.isnan(total):
            return replace(self.draft, error=NOT_A_NUMBER)
        return replace(self.draft, logprob=total, is_greedy=None if self.rolling else self.greedy)


class _Prompt(NamedTuple):
    owner: int
    draft: Response
    stops: tuple[str, ...]
    question: Continuing


class Asked(NamedTuple):
    """What came of some requests: answers that need no model, and questions, each with its number."""

    answers: Answers
    questions: list[tuple[int, Question]]


class Desk:
    """Holds what is under way of one model.

    Args:
        encoder: the model's tokenizer and chat template.
        max_length: longest input in tokens.
        too_long: what becomes of a prompt that does not fit.
        ends: tokens that end an answer.
        reasoning: splits reasoning off; None where all of the output is the answer.
        configured: the model's generation_config.json.
        tails: the engine can say how likely the tokens of a prompt are.
    """

    def __init__(
        self,
        encoder: Encoder,
        max_length: int,
        *,
        too_long: TooLong = "left",
        ends: Sequence[int] = (),
        reasoning: ReasoningDecoder | None = None,
        configured: Mapping[str, Any] | None = None,
        tails: bool = True,
    ) -> None:
        self.encoder = encoder
        self._max_length = max_length
        self._too_long = too_long
        self._ends = tuple(ends)
        self._reasoning = reasoning
        self._configured = configured or {}
        self._tails = tails
        self._numbers = itertools.count()
        self._tallies: dict[int, _Tally] = {}
        self._asked: dict[int, Sheet | _Prompt] = {}
        self.forwarded = 0
        """Prompt tokens that the engine has computed."""
        self.cached = 0
        """Prompt tokens that it had computed before."""
        self.decoded = 0
        """Tokens that it has generated."""

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, requests: Sequence[tuple[int, Request]]) -> Asked:
        """Questions that answer ``requests``, prompts that begin alike next to each other."""
        answers: Answers = []
        parts: list[Part] = []
        prompts: list[_Prompt] = []
        for owner, request in requests:
            try:
                if request.kind == "generate_until":
                    prompts.append(self._prompt(owner, request))
                else:
                    parts.extend(self._parts(owner, request))
            except Unanswerable as error:
                answers.append((owner, error.response()))
                continue
            if request.kind == "loglikelihood_rolling" and owner not in self._tallies:
                answers.append((owner, Response(logprob=0.0)))
        prompts.sort(key=lambda prompt: (prompt.question.tokens, prompt.owner))
        asked: list[Sheet | _Prompt] = [*sheets(parts, tails=self._tails), *prompts]
        numbered = dict(zip(self._numbers, asked, strict=False))
        self._asked |= numbered
        return Asked(answers, [(number, each.question) for number, each in numbered.items()])

    def size(self, request: Request) -> int:
        """Tokens of the questions that a request may become, about and at most."""
        text = "" if request.kind == "generate_until" else request.continuation
        scored = estimated_tokens(text)
        context = request.context if isinstance(request.context, str) else "".join(m.content for m in request.context)
        asked_once = request.kind == "loglikelihood_rolling" and self._tails
        return (estimated_tokens(context) + min(scored, self._max_length)) * max(1, 1 if asked_once else scored)

    def _parts(self, owner: int, request: Request) -> list[Part]:
        if request.kind == "loglikelihood_rolling":
            windows = self.encoder.windows(request.continuation, self._max_length)
            parts = [Part(owner, [*w.context, *w.predicted][:-1], w.predicted) for w in windows]
            n_tokens = sum(len(part.continuation) for part in parts)
            if parts:
                self._tallies[owner] = _Tally(Response(completion_tokens=n_tokens), True, n_tokens)
            return parts
        draft = draft_pair(self.encoder, request, self._max_length, self._too_long)
        self._tallies[owner] = _Tally(draft.response, False, len(draft.continuation))
        return [Part(owner, draft.inputs, draft.continuation)]

    def _prompt(self, owner: int, request: Request) -> _Prompt:
        wanted = normalise(request.generation)
        draft = draft_prompt(self.encoder, request, self._max_length, wanted.max_new_tokens, self._too_long)
        arguments = sampling(wanted, self._configured, content_key("", request))
        notes = {"sampling": described(arguments)} if wanted.sample else {}
        arguments["stop_token_ids"] = list(self._ends)
        tokens = tuple(draft.inputs)
        if self._reasoning:
            delimiters = self._reasoning.delimiters
            opened = delimiters.opened_by(request.context, draft.text)
            question = Continuing(tokens, arguments, wanted.until, delimiters, opened)
        else:
            question = Continuing(tokens, {**arguments, "stop": list(wanted.until)})
        response = replace(draft.response, notes={**draft.response.notes, **notes})
        return _Prompt(owner, response, wanted.until, question)

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, number: int, reply: Reply) -> Answers:
        """The responses that a reply completes."""
        asked = self._asked.pop(number)
        if not isinstance(reply, Refused):
            self.cached += reply.cached
            self.forwarded += len(asked.question.tokens) - reply.cached
            self.decoded += len(reply.tokens) if isinstance(reply, Continued) else 1
        if isinstance(asked, _Prompt):
            return [(asked.owner, self._continued(asked, reply))]
        return list(self._scored(asked, reply))

    def _scored(self, sheet: Sheet, reply: Reply) -> Iterator[tuple[int, Response]]:
        for i, (token, owners) in enumerate(zip(sheet.question.wanted, sheet.owners, strict=True)):
            for owner in owners:
                tally = self._tallies.get(owner)
                if tally is None:
                    continue  # another part of it was refused
                if isinstance(reply, Scored):
                    tally.logprobs += [*reply.tail, reply.next[i]]
                    tally.greedy &= reply.tail_greedy and reply.first_choice == token
                    tally.missing -= len(reply.tail) + 1
                    if tally.missing:
                        continue
                del self._tallies[owner]
                yield owner, tally.response() if isinstance(reply, Scored) else _refusal(tally.draft, reply)

    def _continued(self, prompt: _Prompt, reply: Reply) -> Response:
        if not isinstance(reply, Continued):
            return _refusal(prompt.draft, reply)
        tokens = list(reply.tokens)
        draft = replace(prompt.draft, completion_tokens=len(tokens))
        if self._reasoning is None:
            decoded = self.encoder.tokenizer.decode(tokens, skip_special_tokens=True)
            text, cut = cut_at_stops(decoded, prompt.stops)
            return replace(draft, text=text, finish_reason="stop" if cut else reply.finish_reason)
        found, n = self._reasoning.split(tokens, prompt.stops, opened=prompt.question.opened)
        finished = found.closed and (found.stopped or reply.finish_reason == "stop")
        return replace(
            draft,
            text=found.text,
            reasoning=found.reasoning or None,
            reasoning_tokens=n,
            finish_reason="stop" if finished else "length",
        )


def _refusal(draft: Response, reply: Reply) -> Response:
    assert isinstance(reply, Refused)
    return replace(draft, error=ResponseError("refused", reply.message))
