"""What a manifest may say of a model behind an API, checked and with defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lmrun.backends.base import ModelSpec
from lmrun.backends.tokenize import TooLong
from lmrun.errors import BackendError, did_you_mean


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Requests in flight."""

    start: int | None = None
    max: int = 64


@dataclass(frozen=True, slots=True)
class Retry:
    """What happens to a request that failed for a reason that may pass."""

    attempts: int = 8
    max_wait: float = 60.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Timeout:
    """Seconds; None where it depends on the request."""

    connect: float = 10.0
    idle: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class DialectOptions:
    """What the manifest says of the server's dialect; None where it says nothing."""

    rename: Mapping[str, str] | None = None
    drop: str | Sequence[str] | None = None
    max_stops: int | None = None
    max_top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The keys of the manifest, see ``docs/manifest.md``; those of other backends than the model's have defaults."""

    base_url: str | None = None
    api_key_env: str | None = None
    api_key_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    concurrency: Concurrency = Concurrency()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    retry: Retry = Retry()
    timeout: Timeout = Timeout()
    price: Mapping[str, float] | None = None
    dialect: DialectOptions = DialectOptions()
    mode: Literal["live", "batch"] = "live"
    max_length: int | None = None
    reasoning: Literal["auto"] | Mapping[str, str] | None = None
    tokenizer: str | None = None
    prompts: Literal["auto", "text", "tokens"] = "auto"
    add_bos_token: bool | None = None
    chat_template: str | None = None
    too_long: TooLong = "left"
    scoring: Literal["auto", "echo", "prompt_logprobs", "next_token"] = "auto"
    batch_prompts: int = 1

    @classmethod
    def of(cls, spec: ModelSpec) -> ApiOptions:
        """The options of a model. Raises :class:`~lmrun.errors.BackendError` for what cannot be meant."""
        known = [f.name for f in fields(cls)]
        for name in spec.options:
            if name not in known:
                hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
                raise BackendError(
                    f'model "{spec.name}": the backend "{spec.backend}" has no option "{name}"', hint=hint
                )
        values = dict(spec.options)
        for name, table in _TABLES.items():
            if name in values:
                values[name] = table(**values[name])
        return cls(**values)


_TABLES = {"concurrency": Concurrency, "retry": Retry, "timeout": Timeout, "dialect": DialectOptions}
