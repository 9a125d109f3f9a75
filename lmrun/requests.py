"""``Request`` and ``Response``: the only things that pass between a task and a backend.

A task renders a doc into requests without knowing a model; a backend answers requests without knowing a task.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

RequestKind = Literal["loglikelihood", "loglikelihood_rolling", "generate_until"]
REQUEST_KINDS: tuple[RequestKind, ...] = get_args(RequestKind)

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


Context: TypeAlias = str | tuple[Message, ...]
"""Plain text, or the messages of a chat. A last message of the assistant is a prefill: the model continues it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model."""

    kind: RequestKind
    context: Context = ""
    """The prompt. Empty for ``loglikelihood_rolling``."""
    continuation: str = ""
    """The text that is scored (``loglikelihood`` and ``loglikelihood_rolling``)."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Generation parameters as the task states them (``until``, ``max_gen_toks`` …); JSON values only."""
    sample_index: int = 0
    """Which of the task's ``repeats`` this is."""
    seed: int | None = None
    """Seed of a sampled generation; None where nothing is sampled."""


def context_as_json(context: Context) -> str | list[dict[str, str]]:
    """A prompt as plain JSON: the text itself, or a list of role/content mappings."""
    if isinstance(context, str):
        return context
    return [{"role": m.role, "content": m.content} for m in context]


def context_from_json(value: str | list[dict[str, str]]) -> Context:
    """Inverse of :func:`context_as_json`."""
    if isinstance(value, str):
        return value
    return tuple(Message(role=m["role"], content=m["content"]) for m in value)  # type: ignore[arg-type]


# Made once: `json.dumps` makes an encoder per call, which takes as long as a small value.
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def canonical_json(value: Any) -> str:
    """JSON with one spelling per value, for hashing."""
    return _canonical.encode(value)


def strict_json(value: Any, **options: Any) -> str:
    """JSON that every reader takes: not-a-number and the infinities, for which JSON has no number, become texts.

    ``options`` are those of :func:`json.dumps`; what JSON has no type for becomes its string.
    """
    try:
        return json.dumps(value, allow_nan=False, default=str, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, default=str, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def content_key(fingerprint: str, request: Request) -> str:
    """The cache key of a request to a model: 32 hex digits.

    ``fingerprint`` stands for everything about the model and backend that can change an answer (weights, dtype,
    tokenizer, chat template, context length …), so text and fingerprint together determine the final token ids.
    Batch size, task name, worker count and time are not part of it.
    """
    return content_keys((fingerprint,), request)[0]


def content_keys(fingerprints: Sequence[str], request: Request) -> list[str]:
    """The keys of a request to several models; see :func:`content_key`."""
    parts = [
        request.kind,
        context_as_json(request.context),
        request.continuation,
        dict(request.generation),
        request.sample_index,
        request.seed,
    ]
    asked = canonical_json(parts)[1:]
    # The 1 is the version of this recipe.
    texts = (f"[1,{canonical_json(fingerprint)},{asked}" for fingerprint in fingerprints)
    return [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() for text in texts]


@dataclass(frozen=True, slots=True)
class ResponseError:
    """Why a request has no answer."""

    kind: str
    """A short class of error, e.g. ``"context_too_long"``, ``"out_of_memory"``, ``"http_400"``."""
    message: str


@dataclass(frozen=True, slots=True)
class Response:
    """A model's answer to one request, or the error that stands in its place."""

    text: str | None = None
    """``generate_until``: the answer, without reasoning and without the stop string."""
    reasoning: str | None = None
    """What the model wrote before its answer to itself, where the backend splits it off."""
    logprob: float | None = None
    """Sum of natural-log probabilities of the scored tokens (``loglikelihood*``)."""
    is_greedy: bool | None = None
    """``loglikelihood``: greedy decoding would have given exactly the continuation."""
    finish_reason: FinishReason | None = None
    """``generate_until``: ``"length"`` means cut off, ``"refusal"`` that model or provider declined."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens: those that the provider had in its cache, and may charge less for."""
    completion_tokens: int = 0
    """Tokens generated, or tokens scored."""
    reasoning_tokens: int = 0
    """Of the tokens generated: those of the reasoning."""
    dropped_tokens: int = 0
    """Prompt tokens that were cut away because the prompt did not fit."""
    skipped: str | None = None
    """Why there is no answer although nothing failed: the manifest wants such requests left out."""
    error: ResponseError | None = None
    attempts: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Anything a reader of the sample should know, e.g. ``{"join": "split"}`` or a repaired parameter. JSON values."""


def response_as_json(response: Response) -> dict[str, Any]:
    """A response as a JSON mapping that leaves out what is empty."""
    out: dict[str, Any] = {}
    for name in ("text", "reasoning", "logprob", "is_greedy", "finish_reason", "skipped"):
        if (value := getattr(response, name)) is not None:
            out[name] = value
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "dropped_tokens"):
        if count := getattr(response, name):
            out[name] = count
    if response.error:
        out["error"] = {"kind": response.error.kind, "message": response.error.message}
    if response.attempts != 1:
        out["attempts"] = response.attempts
    if response.notes:
        out["notes"] = dict(response.notes)
    return out


def response_from_json(value: Mapping[str, Any]) -> Response:
    """Inverse of :func:`response_as_json`."""
    fields = dict(value)
    if "error" in fields:
        fields["error"] = ResponseError(**fields["error"])
    return Response(**fields)
