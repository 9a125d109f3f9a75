"""Anthropic's ``/messages``, as the provider itself and vLLM serve it: chats, answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.backends.api.call import Asked, Call, Malformed, Post, Ready
from lmrun.backends.api.found import Found
from lmrun.backends.api.openai import answer, as_messages, each, reasoning_delimiters, with_spent
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.replies import Spent, counted, table
from lmrun.backends.base import Capability, ModelSpec, Needs
from lmrun.backends.generation import ONLY_SAMPLED, Generation, normalise
from lmrun.backends.tokenize import Unanswerable, estimated_tokens
from lmrun.errors import BackendError
from lmrun.requests import Context, FinishReason, Message, Request, Response

VERSION = "2023-06-01"
"""Of the protocol, named in every request."""

_FINISHED: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the provider stopped a long turn half-way
    "refusal": "refusal",
}


class AnthropicWire:
    """The protocol of ``/messages``."""

    base_url = "https://api.anthropic.com/v1"
    key_env = "ANTHROPIC_API_KEY"

    def __init__(self, spec: ModelSpec, options: ApiOptions) -> None:
        self.spec = spec
        self.options = options
        self.found = Found()

    def headers(self, key: str | None) -> Mapping[str, str]:
        """The version of the protocol, and the key where there is one."""
        version = {"anthropic-version": VERSION}
        return version if key is None else {**version, self.options.api_key_header or "x-api-key": key}

    def facts(self) -> Mapping[str, Any]:
        """The version of the protocol."""
        return {"anthropic-version": VERSION}

    async def check(self, needs: Needs, post: Post) -> None:
        """Refuse what the protocol cannot do, and find out about the rest."""
        scored = sorted(needs.kinds - {"generate_until"})
        if scored:
            raise BackendError(
                f'model "{self.spec.name}": {" and ".join(scored)} requests cannot be answered: '
                "this protocol gives no log-probabilities",
                hint='use a generative variant of the task, or a server with backend = "openai-completions", or "hf"',
            )
        if needs.prefill and self._thinks:
            raise BackendError(
                f'model "{self.spec.name}": a model that thinks first cannot continue the beginning of an answer',
                hint="take thinking out of extra_body, or use a task without gen_prefix",
            )
        from lmrun.backends.api.probe import Probe

        await Probe(self.spec, self.options, self).check(needs, post)

    async def capabilities(self, post: Post) -> Sequence[Capability]:
        """All that can be found out."""
        from lmrun.backends.api.probe import Probe

        return await Probe(self.spec, self.options, self).capabilities(post)

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """One call per request: nothing can be shared between them."""
        return each(asked, self._call)

    def join(self, calls: Sequence[Call]) -> Call:
        """Never asked for: no call of this protocol is joinable."""
        raise NotImplementedError("calls of this protocol cannot be joined")

    def counter(self) -> Callable[[Request], int] | None:
        """None: the tokenizer is not public."""
        return None

    # -- asking --------------------------------------------------------------------------------------------------------

    @property
    def _thinks(self) -> bool:
        thinking = self.options.extra_body.get("thinking")
        return isinstance(thinking, Mapping) and thinking.get("type") != "disabled"

    def _call(self, one: Asked) -> Iterator[Call]:
        position, request = one
        if request.kind != "generate_until":
            raise Unanswerable("unsupported_request", f"{request.kind} cannot be asked by this protocol")
        generation = normalise(request.generation)
        prompt = _prompt(request.context)
        stops = self._stops(generation)
        dropped = len(generation.until) - len(stops)
        body = {
            "model": self.spec.model,
            "max_tokens": generation.max_new_tokens,
            "messages": prompt.messages,
            **({"system": prompt.system} if prompt.system else {}),
            **({"stop_sequences": stops} if stops else {}),
            **self._sampling(generation),
            **self.options.extra_body,
        }
        yield Call(
            path="/messages",
            body=body,
            owners=(position,),
            read=_Reader(generation.until, prompt.moved, self.options),
            prompt_tokens=prompt.tokens,
            new_tokens=generation.max_new_tokens,
            notes={"dropped_stops": dropped} if dropped else {},
        )

    def _stops(self, generation: Generation) -> list[str]:
        """Stops that are sent; all of them are applied to the answer here.

        The provider refuses those of white space. Where the manifest splits off reasoning, none may act within it.
        """
        return [stop for stop in generation.until if stop.strip()] if self.options.reasoning is None else []

    def _sampling(self, generation: Generation) -> dict[str, Any]:
        if generation.sample:
            return dict(generation.options)
        options = {name: value for name, value in generation.options.items() if name not in ONLY_SAMPLED}
        # A model that thinks first takes no temperature but its own.
        return options if self._thinks else {**options, "temperature": 0.0}


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A context as the protocol wants it."""

    system: str
    messages: Sequence[Mapping[str, Any]]
    moved: str
    """White space at the end of a prefill: the provider refuses it, so the answer brings it."""
    tokens: int
    """About."""


def _prompt(context: Context) -> _Prompt:
    turns = list(as_messages(context))
    system = []
    while turns and turns[0].role == "system":
        system.append(turns.pop(0).content)
    if any(turn.role == "system" for turn in turns):
        raise Unanswerable("unsupported_prompt", "this protocol has no system message in the middle of a chat")
    moved = ""
    if turns and turns[-1].role == "assistant":
        prefill = turns.pop().content
        moved = prefill[len(prefill.rstrip()) :]
        turns.append(Message("assistant", prefill.rstrip()))
    messages: list[dict[str, Any]] = []
    for turn in turns:
        blocks = _blocks(turn)
        if messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"].extend(blocks)
        elif blocks:
            messages.append({"role": turn.role, "content": blocks})
    if not messages:
        raise Unanswerable("empty_prompt", "there is nothing to send: this protocol refuses a prompt without text")
    tokens = estimated_tokens(*system, *(turn.content for turn in turns))
    return _Prompt("\n\n".join(system), messages, moved, tokens)


def _blocks(turn: Message) -> list[dict[str, Any]]:
    """The content of one message. The provider refuses blocks without text."""
    return [{"type": "text", "text": turn.content}] if turn.content.strip() else []


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes a reply apart."""

    stops: Sequence[str]
    moved: str
    options: ApiOptions

    def __call__(self, reply: Mapping[str, Any]) -> Sequence[Response]:
        content, reason = reply.get("content"), reply.get("stop_reason")
        if not isinstance(content, list) or not isinstance(reason, str):
            raise Malformed(f"a message with content and stop_reason was expected, not {str(reply)[:200]}")
        text = "".join(_texts(content, "text")).removeprefix(self.moved)
        thinking = "\n".join(_texts(content, "thinking"))
        finish = _FINISHED.get(reason, "stop")
        response = answer(text, finish, self.stops, reasoning_delimiters(self.options, text), apart=thinking)
        return [with_spent(response, _spent(reply), notes=_notes(reply))]


def _notes(reply: Mapping[str, Any]) -> dict[str, Any]:
    reason, details = reply["stop_reason"], reply.get("stop_details")
    hidden = sum(block["type"] == "redacted_thinking" for block in reply["content"])
    return {
        **({} if _texts(reply["content"], "text") else {"no_answer": reason}),
        **({"stop_reason": reason} if reason not in _FINISHED or reason == "pause_turn" else {}),
        **({"stop_details": details} if details else {}),
        **({"redacted_thinking": hidden} if hidden else {}),
    }


def _texts(content: Sequence[Any], kind: str) -> list[str]:
    """The text of the blocks of one type."""
    try:
        return [block[kind] for block in content if block["type"] == kind and block[kind]]
    except (KeyError, TypeError) as error:
        raise Malformed(f"blocks with a type and text were expected, not {str(content)[:200]}") from error


def _spent(reply: Mapping[str, Any]) -> Spent:
    """The tokens that a reply says it took. What was read from the provider's cache or written to it comes on top."""
    usage = table(reply, "usage")
    cached, written = counted(usage, "cache_read_input_tokens"), counted(usage, "cache_creation_input_tokens")
    output = counted(usage, "output_tokens")
    thought = min(output, counted(table(usage, "output_tokens_details"), "thinking_tokens"))
    return Spent(counted(usage, "input_tokens") + cached + written, cached, output, thought)
