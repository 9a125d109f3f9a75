"""``/completions``: prompts as text or as tokens, continued, or scored by ``echo``, ``prompt_logprobs`` or next tokens.

Tokens are those of the ``hf`` backend, so that the same model gives the same scores, wherever the manifest names the
model's tokenizer. Without one, texts are sent, and what belongs to the continuation is found in the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.api.answers import unasked
from lmrun.backends.api.call import Asked, Call, Ready
from lmrun.backends.api.completion_replies import (
    Answered,
    Choice,
    Chosen,
    Joined,
    Method,
    Sent,
    Span,
    Summed,
    TextSpan,
)
from lmrun.backends.api.logprobs import Choices
from lmrun.backends.api.openai import OpenAiWire, each, reasoning_delimiters
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.base import ModelSpec
from lmrun.backends.generation import Generation, normalise
from lmrun.backends.light_tokenizer import load_encoder
from lmrun.backends.reasoning import Delimiters
from lmrun.backends.source import Source, locate
from lmrun.backends.templates import delimiters, template_hash
from lmrun.backends.tokenize import Encoder, Prompt, Tokens, Unanswerable, cut_pair, cut_prompt, estimated_tokens
from lmrun.errors import BackendError
from lmrun.requests import Request, Response, canonical_json

_PATH = "/completions"
_TOP = 5
"""Alternatives that the protocol allows to ask for."""
_UNLIMITED = 1 << 40


class CompletionsWire(OpenAiWire):
    """The protocol of ``/completions``."""

    def __init__(self, spec: ModelSpec, options: ApiOptions) -> None:
        super().__init__(spec, options)
        for key, value in (("prompts", "tokens"), ("scoring", "prompt_logprobs")):
            if getattr(options, key) == value and options.tokenizer is None:
                raise BackendError(
                    f'model "{spec.name}": {key} = "{value}" needs the model\'s tokenizer',
                    hint='tokenizer = "hub id or folder"',
                )

    # -- the tokenizer -------------------------------------------------------------------------------------------------

    @cached_property
    def encoder(self) -> Encoder | None:
        """Turns text into the model's tokens, where the manifest names its tokenizer."""
        if self._source is None:
            return None
        options = self.options
        return load_encoder(self._source, add_bos_token=options.add_bos_token, chat_template=options.chat_template)

    @cached_property
    def _source(self) -> Source | None:
        return locate(self.options.tokenizer, None, self.spec.offline) if self.options.tokenizer else None

    @cached_property
    def _delimiters(self) -> Delimiters | None:
        if self._source is None:
            return None
        return delimiters(self._source.folder, self.options.reasoning, self.options.chat_template)

    def _delimiters_in(self, text: str) -> Delimiters | None:
        return self._delimiters or reasoning_delimiters(self.options, text)

    def facts(self) -> Mapping[str, Any]:
        """The files of the tokenizer."""
        if self._source is None:
            return {}
        folder = self._source.folder
        facts: dict[str, Any] = {
            "tokenizer": files.hash_files(files.matching(folder, files.TOKENIZER_FILES)),
            "chat_template": template_hash(folder, self.options.chat_template),
        }
        return facts if self._delimiters is None else {**facts, "reasoning": list(self._delimiters)}

    def counter(self) -> Callable[[Request], int] | None:
        """Counts prompt tokens with the tokenizer."""
        encoder = self.encoder
        if encoder is None:
            return None

        def count(request: Request) -> int:
            text = encoder.render(request.context).text
            return len(encoder.encode(text + request.continuation))

        return count

    @property
    def _as_tokens(self) -> bool:
        """Prompts are sent as tokens."""
        if self.options.prompts != "auto":
            return self.options.prompts == "tokens"
        return self.options.tokenizer is not None and self.found.tokens is True

    @property
    def max_length(self) -> int:
        """Context in tokens, as far as it is known."""
        return self.options.max_length or self.found.max_length or _UNLIMITED

    @property
    def _most_scored(self) -> int:
        # One token is generated behind what is scored: some servers take max_tokens = 0 for "no limit".
        return self.max_length - 1

    @property
    def method(self) -> Method:
        """How continuations are scored."""
        if self.options.scoring != "auto":
            return self.options.scoring
        if self.found.prompt_logprobs and self._as_tokens:
            return "prompt_logprobs"
        return "next_token" if self.found.echo is False and self.found.top_logprobs else "echo"

    # -- calls ---------------------------------------------------------------------------------------------------------

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """Calls for requests that share kind and context."""
        kind = asked[0].request.kind
        if kind == "generate_until":
            return each(asked, self._continued)
        if kind == "loglikelihood_rolling":
            return each(asked, self._rolling)
        doc = Choices(frozenset(request.continuation for _, request in asked))
        if self.method == "next_token":
            return self._next(asked, doc)
        return each(asked, lambda one: [self._scored(one, doc)])

    def join(self, calls: Sequence[Call]) -> Call:
        """One call with the prompts of several."""
        members = tuple(calls)
        return replace(
            members[0],
            body={**members[0].body, "prompt": [call.body["prompt"] for call in members]},
            owners=tuple(owner for call in members for owner in call.owners),
            parts=tuple(n for call in members for n in call.parts or (1,) * len(call.owners)),
            read=Joined(members),
            prompt_tokens=sum(call.prompt_tokens for call in members),
            new_tokens=sum(call.new_tokens for call in members),
            members=members,
        )

    def _call(
        self,
        owners: tuple[int, ...],
        sent: Sent,
        fields: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], Sequence[Response]],
        parts: tuple[int, ...] = (),
    ) -> Call:
        body = self.body(prompt=sent.prompt, **fields)
        joinable = None
        if self.options.batch_prompts > 1:
            joinable = canonical_json({k: v for k, v in body.items() if k != "prompt"})
        return Call(_PATH, body, owners, read, sent.tokens, body.get("max_tokens", 1), parts, joinable)

    # -- continuing ----------------------------------------------------------------------------------------------------

    def _continued(self, one: Asked) -> list[Call]:
        wanted = normalise(one.request.generation)
        prompt = self._rendered(one.request)
        sent = self._prompt(prompt, wanted)
        read = Answered(one.request, wanted, prompt, sent, self._delimiters_in)
        return [self._call((one.position,), sent, self.sampling(wanted, one.request.seed), read)]

    def _rendered(self, request: Request) -> Prompt:
        if isinstance(request.context, str):
            return Prompt(request.context)
        if self.encoder is None or not self.encoder.has_chat_template():
            raise Unanswerable(
                "no_chat_template",
                "messages can be sent to /completions only with a tokenizer that has a chat template; "
                "name one (tokenizer, chat_template), use openai-chat, or apply_chat_template = false",
            )
        return self.encoder.render(request.context)

    def _prompt(self, prompt: Prompt, wanted: Generation) -> Sent:
        encoder = self.encoder
        if encoder is None:
            return _estimated(prompt.text)
        tokens = encoder.prompt(prompt.text)
        cut = cut_prompt(tokens, self.max_length, wanted.max_new_tokens, self.options.too_long)
        if self._as_tokens:
            return Sent(list(cut.inputs), len(cut.inputs), cut.dropped)
        text = self._without_bos(prompt.text) if not cut.dropped else self._as_text(cut.inputs)
        return Sent(text, len(cut.inputs), cut.dropped)

    def _as_text(self, tokens: Tokens) -> str:
        assert self.encoder is not None
        return self._without_bos(self.encoder.tokenizer.decode(tokens))

    def _without_bos(self, text: str) -> str:
        """A text for a server that adds the BOS of this tokenizer itself."""
        encoder = self.encoder
        if encoder is None or not encoder.tokenizer.bos_token or not encoder.encode(""):
            return text
        return text.removeprefix(encoder.tokenizer.bos_token)

    # -- scoring -------------------------------------------------------------------------------------------------------

    def _scored(self, one: Asked, doc: Choices) -> Call:
        prompt = self._rendered(one.request)
        encoder = self.encoder
        if encoder is None:
            return self._scored_text(one, doc, prompt)
        pair = encoder.pair(prompt.text, one.request.continuation)
        cut = cut_pair(pair.context, pair.continuation, self._most_scored - 1, self.options.too_long)
        tokens = [*cut.inputs, pair.continuation[-1]]
        notes = {**prompt.notes, **({"join": pair.join} if pair.join != "joint" else {})}
        if self._as_tokens:
            span = Span(tokens, len(tokens) - len(pair.continuation), self.method)
            return self._summed(one, Sent(tokens, len(tokens), cut.dropped), span, doc, notes)
        whole = prompt.text + one.request.continuation
        # A prefix token, or a continuation encoded by itself, is no part of the text.
        if cut.dropped or self.found.same_tokens is False or len(encoder.encode(whole)) != len(tokens):
            return self._scored_text(one, doc, prompt)
        sent = Sent(self._without_bos(whole), len(tokens))
        span = Span(tokens, len(tokens) - len(pair.continuation), self.method, str(sent.prompt))
        return self._summed(one, sent, span, doc, notes)

    def _scored_text(self, one: Asked, doc: Choices, prompt: Prompt) -> Call:
        if not one.request.continuation:
            raise Unanswerable("empty_continuation", "there is no text to score")
        text = self._without_bos(prompt.text)
        sent = _estimated(text + one.request.continuation)
        span = TextSpan(text + one.request.continuation, len(text.rstrip()))
        return self._summed(one, sent, span, doc, prompt.notes)

    def _rolling(self, one: Asked) -> Iterator[Call | Ready]:
        text = one.request.continuation
        encoder = self.encoder
        if not text:
            yield Ready(one.position, Response(logprob=0.0, attempts=0))
            return
        doc = Choices(frozenset((text,)))
        if encoder is None or not self._as_tokens:
            yield self._summed(one, _estimated(text), TextSpan(text, 0), doc)
            return
        windows = encoder.windows(text, self._most_scored - 1)
        for window in windows:
            tokens = [*window.context, *window.predicted]
            span = Span(tokens, len(window.context), self.method)
            yield self._summed(one, Sent(tokens, len(tokens)), span, doc, parts=(len(windows),))

    def _summed(
        self,
        one: Asked,
        sent: Sent,
        span: Span | TextSpan,
        doc: Choices,
        notes: Mapping[str, Any] | None = None,
        parts: tuple[int, ...] = (),
    ) -> Call:
        fields: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0}
        if isinstance(span, Span) and span.method == "prompt_logprobs":
            fields["prompt_logprobs"] = 1
        else:
            fields |= {"logprobs": 1, "echo": True, **self._ids()}
        return self._call((one.position,), sent, fields, Summed(one.request, doc, span, sent, notes or {}), parts)

    def _ids(self) -> dict[str, Any]:
        # Tokens that are parts of a character have no spelling of their own; vLLM can name their ids instead.
        return {"return_tokens_as_token_ids": True} if self.found.prompt_logprobs and self._as_tokens else {}

    # -- next tokens ---------------------------------------------------------------------------------------------------

    def _next(self, asked: Sequence[Asked], doc: Choices) -> Iterator[Call | Ready]:
        """One call for all choices that follow the same tokens."""
        together: dict[str, tuple[Sent, list[tuple[Asked, Choice]]]] = {}
        for one in asked:
            try:
                sent, choice = self._choice(one.request)
            except Unanswerable as error:
                yield unasked(one, error)
                continue
            together.setdefault(canonical_json(sent.prompt), (sent, []))[1].append((one, choice))
        top = self.found.top_logprobs or _TOP
        fields = {"max_tokens": 1, "temperature": 0.0, "logprobs": top, **self._ids()}
        for sent, members in together.values():
            owners = tuple(one.position for one, _ in members)
            read = Chosen(tuple((one.request, choice) for one, choice in members), doc, sent)
            yield self._call(owners, sent, fields, read)

    def _choice(self, request: Request) -> tuple[Sent, Choice]:
        prompt = self._rendered(request)
        encoder = self.encoder
        if encoder is None:
            text = prompt.text.rstrip()
            spaces = prompt.text[len(text) :]
            return _estimated(text), Choice(spaces + request.continuation, None, prompt.notes)
        pair = encoder.pair(prompt.text, request.continuation)
        if len(pair.continuation) > 1:
            raise Unanswerable(
                "not_one_token",
                f"{request.continuation!r} has {len(pair.continuation)} tokens, and this server scores single ones; "
                'use a server that scores prompts, backend = "hf", or a generative variant of the task',
            )
        cut = cut_pair(pair.context, pair.continuation, self._most_scored, self.options.too_long)
        token = pair.continuation[0]
        notes = {**prompt.notes, **({"join": pair.join} if pair.join != "joint" else {})}
        choice = Choice(encoder.tokenizer.decode([token]), token, notes)
        if self._as_tokens:
            return Sent(list(cut.inputs), len(cut.inputs), cut.dropped), choice
        text = self._as_text(cut.inputs) if cut.dropped else self._without_bos(prompt.text.rstrip())
        return Sent(text, len(cut.inputs), cut.dropped), choice


def _estimated(text: str) -> Sent:
    return Sent(text, estimated_tokens(text))
