"""What a scripted server does: the model behind it, its rules, and its faults. All of it is data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FaultKind = Literal[
    # Before there is an answer.
    "latency",
    "hang",
    "reset",
    "status",
    # While the answer travels.
    "slow_first_byte",
    "slow_body",
    "cut_off",
    "truncated",
    "garbage",
    "html",
    # In the answer.
    "null_content",
    "wrong_order",
    "no_logprobs",
    "shifted_logprobs",
    "zero_logprobs",
    "length",
    "refusal",
    "content_filter",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with some requests; which ones depends on the script's seed, not on chance."""

    kind: FaultKind
    share: float = 1.0
    """Of the requests that it could befall."""
    when: str = ""
    """Only requests whose prompt holds this text."""
    path: str = ""
    """Only requests to an address that holds this text, such as ``/chat/completions``. Without it only requests with
    POST are befallen, with it polls of a batch too."""
    sticky: bool = False
    """Drawn once per prompt, so that trying again does not help; else drawn for each try."""
    tries: int | None = None
    """Only the first so many tries of a request."""
    status: int = 500
    """``status``: what is answered (429, 500, 503, 529, 400, 401, 403, 404 …)."""
    retry_after: float | None = None
    """``status``: seconds in the ``Retry-After`` header; None: no such header."""
    seconds: float = 1.0
    """``latency``, ``slow_first_byte``, ``slow_body``: how long it takes."""

    def befalls(self, path: str, prompt: str, body: bytes, attempt: int, seed: str) -> bool:
        """Whether it happens to this try of a request; ``seed`` differs from fault to fault."""
        if self.path not in path or self.when not in prompt:
            return False
        if self.tries is not None and attempt > self.tries:
            return False
        if self.share >= 1:
            return True
        drawn = prompt.encode("utf-8", "replace") if self.sticky else body + attempt.to_bytes(4, "big")
        digest = blake2b(drawn, digest_size=8, key=seed.encode()).digest()
        return int.from_bytes(digest, "big") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server bears; above it, it answers 429. None: no such limit."""

    requests_per_second: float | None = None
    """A bucket that holds the requests of one second, and at least one."""
    in_flight: int | None = None
    retry_after: bool = True
    """Say in ``Retry-After`` when to come back."""
    headers: bool = True
    """Say in ``x-ratelimit-*`` (``anthropic-ratelimit-*`` for messages) what is left."""


@dataclass(frozen=True, slots=True)
class Script:
    """A server that does as the protocols say, but for what is written here."""

    model: str = "tiny"
    """Served name; another one gets 404."""
    salt: int = 0
    """Models with different salts give different answers."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """Texts to generate for prompts that hold a key of this mapping; the first that fits."""
    latency: float = 0.0
    """Seconds that each answer takes."""
    faults: Sequence[Fault] = ()
    seed: int = 0
    """Of the faults."""
    limits: Limits = Limits()
    api_key: str = ""
    """Requests without it get 401. Empty: no key is asked for."""
    context_length: int = 4096
    """Tokens of prompt and answer together; more is refused with 400."""
    max_logprobs: int = 20
    max_stops: int | None = None
    """More stop strings are refused with 400, as OpenAI refuses more than 4."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Parameters refused with 400, each with the one to use instead or an empty text:
    ``{"max_tokens": "max_completion_tokens"}``."""
    ignores: Sequence[str] = ()
    """Parameters dropped without a word: ``("echo", "logprobs")``."""
    fixed_temperature: bool = False
    """Any temperature but 1 is refused with 400, as by OpenAI's reasoning models."""
    text_only: bool = False
    """Prompts as token ids, and several prompts at once, are refused with 400."""
    reasoning: str = ""
    """Field of a chat's answer that holds its reasoning (``reasoning_content``, ``reasoning``). Empty: none."""
    continues: bool = False
    """A chat that ends with words of the assistant is continued even if ``continue_final_message`` is not set."""
    refuses_prefill: bool = False
    """Such a chat is refused with 400."""
    batch_polls: int = 2
    """How often a batch says that it is in progress, before it has ended."""
    batch_expires: bool = False
    """Every second request of a batch gets no answer in time."""


def read_script(path: Path) -> Script:
    """A script from a TOML file: ``[[faults]]``, ``[limits]``, ``[replies]``, ``[refuses]`` and plain keys."""
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    values["faults"] = [Fault(**fault) for fault in values.get("faults", ())]
    values["limits"] = Limits(**values.get("limits", {}))
    return Script(**values)
