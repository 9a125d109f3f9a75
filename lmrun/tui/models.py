"""The models of a stored run, as far as the sample page needs them: their tokens, and how to ask them by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmrun.backends.base import ModelSpec
from lmrun.backends.generation import normalise
from lmrun.backends.tokenize import Encoder, TooLong, Unanswerable, cut_pair, cut_prompt
from lmrun.errors import BackendError
from lmrun.manifest.backends import LOCAL
from lmrun.requests import Request
from lmrun.store.records import SampleDetail
from lmrun.store.runs import RunDirectory

if TYPE_CHECKING:
    from lmrun.backends.api.backend import ApiBackend

_API = ("openai-completions", "openai-chat", "anthropic")
_LOCAL_URL = "http://localhost:8000/v1"
"""Where vLLM serves a model."""
_UNLIMITED = 1 << 40
MOST_TOKENS = 10_000
"""Tokens of one request that are shown, from its end."""


def model_spec(run: RunDirectory, name: str) -> ModelSpec:
    """A model as the manifest of the run states it. Raises :class:`~lmrun.errors.LmrunError`."""
    from lmrun.manifest import load_manifest

    manifest = load_manifest(run.manifest)
    entry = next((model for model in manifest.models if model.name == name), None)
    if entry is None:
        raise BackendError(f"the manifest of the run has no model {name!r}", hint=str(run.manifest))
    return ModelSpec(entry.name, entry.backend, entry.model, dict(entry.options), manifest.data.offline)


# -- tokens ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """One token as text."""

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the model gets it."""

    tokens: list[Token]
    join: int | None
    """Where the tokens begin that are scored; None: all are given, and the model goes on."""
    words: str = ""
    """What is special about it."""
    hidden: int = 0
    """Tokens before these, which are not shown."""


class Tokens:
    """Turns requests of one model into its tokens. Raises :class:`~lmrun.errors.BackendError`."""

    def __init__(self, spec: ModelSpec, facts: Mapping[str, Any]) -> None:
        options = spec.options
        self._encoder = _encoder(spec)
        self._max_length = int(options.get("max_length") or facts.get("max_length") or _UNLIMITED)
        self._too_long: TooLong = options.get("too_long", "left")
        self._anchor = (self._encoder.tokenizer.encode("a", add_special_tokens=False) or [0])[-1]
        self._texts: dict[int, Token] = {}

    def look(self, request: Request) -> Seen:
        """The tokens of a request. Raises :class:`~lmrun.backends.tokenize.Unanswerable`."""
        if request.kind == "loglikelihood_rolling":
            return self._windows(request.continuation)
        text = self._encoder.render(request.context).text
        if request.kind == "generate_until":
            room = normalise(request.generation).max_new_tokens
            cut = cut_prompt(self._encoder.prompt(text), self._max_length, room, self._too_long)
            return self._seen(cut.inputs, None, _cut_words(cut.dropped))
        pair = self._encoder.pair(text, request.continuation)
        cut = cut_pair(pair.context, pair.continuation, self._max_length, self._too_long)
        ids = [*cut.inputs, pair.continuation[-1]]
        join = "" if pair.join == "joint" else f"join: {pair.join}"
        words = ", ".join(word for word in (join, _cut_words(cut.dropped)) if word)
        return self._seen(ids, len(ids) - len(pair.continuation), words)

    def _windows(self, text: str) -> Seen:
        windows = self._encoder.windows(text, self._max_length)
        if not windows:
            raise Unanswerable("empty_continuation", "there is no text to score")
        ids = [*windows[0].context, *(token for window in windows for token in window.predicted)]
        return self._seen(ids, len(windows[0].context), f"{len(windows)} windows" if len(windows) > 1 else "")

    def _seen(self, ids: Any, join: int | None, words: str) -> Seen:
        hidden = max(0, len(ids) - MOST_TOKENS)
        tokens = [self._token(token) for token in ids[hidden:]]
        return Seen(tokens, None if join is None else max(0, join - hidden), words, hidden)

    def _token(self, token: int) -> Token:
        if token not in self._texts:
            tokenizer, anchor = self._encoder.tokenizer, self._anchor
            # Alone, a token of some tokenizers loses the space that it begins with.
            after = tokenizer.decode([anchor, token])
            before = tokenizer.decode([anchor])
            text = after[len(before) :] if after.startswith(before) else tokenizer.decode([token])
            special = bool(text) and not tokenizer.decode([token], skip_special_tokens=True)
            self._texts[token] = Token(text, special)
        return self._texts[token]


def _cut_words(dropped: int) -> str:
    return f"{dropped:,} tokens cut away" if dropped else ""


def _encoder(spec: ModelSpec) -> Encoder:
    """By the rules of the backend that asks the model."""
    from lmrun.backends.light_tokenizer import load_encoder
    from lmrun.backends.source import locate

    options = spec.options
    named, revision = options.get("tokenizer"), None
    if named is None and spec.backend in LOCAL:
        named, revision = spec.model, options.get("revision")
    if named is None:
        hint = 'tokenizer = "hub id or folder"' if spec.backend == "openai-completions" else "only the server has it"
        raise BackendError(f'no tokenizer is known of "{spec.name}"', hint=hint)
    return load_encoder(
        locate(named, revision, spec.offline),
        add_bos_token=options.get("add_bos_token"),
        chat_template=options.get("chat_template"),
    )


# -- by hand -----------------------------------------------------------------------------------------------------------


def curl(run: RunDirectory, detail: SampleDetail) -> str:
    """The request of a sample, or that of the most likely choice, as a curl command.

    Raises:
        LmrunError: there is none, and why.
    """
    if not detail.exchanges:
        raise BackendError("nothing was asked for this sample", hint="its doc could not be rendered")
    answered = [e for e in detail.exchanges if e.response and e.response.logprob is not None]
    best = max(answered, key=lambda e: (e.response and e.response.logprob) or 0.0, default=detail.exchanges[0])
    request = best.request
    spec = model_spec(run, detail.row.model)
    try:
        if spec.backend in _API:
            return _api(spec).as_curl(request)
        return f"# for a server of {spec.model} on this machine\n{_api(_served(spec, request)).as_curl(request)}"
    except Unanswerable as error:
        raise BackendError(f"cannot be asked by hand: {error}", hint="") from error


def _served(spec: ModelSpec, request: Request) -> ModelSpec:
    """A model that runs in this process, as a server of it would be asked."""
    backend = "openai-completions" if isinstance(request.context, str) else "openai-chat"
    return ModelSpec(spec.name, backend, spec.model, {"base_url": _LOCAL_URL})


def _api(spec: ModelSpec) -> ApiBackend:
    from lmrun.backends.api.backend import ApiBackend
    from lmrun.backends.registry import backend_class

    backend = backend_class(spec.backend)(spec)
    assert isinstance(backend, ApiBackend)
    return backend
