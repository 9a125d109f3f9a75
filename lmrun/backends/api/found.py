"""What the probe of a server has found out; a wire decides by it how to ask."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Found:
    """None: not looked at yet, or not to be known. What is in ``told`` has been looked at and is not asked again."""

    tokens: bool | None = None
    """Prompts are taken as token ids."""
    echo: bool | None = None
    """``echo`` with ``logprobs`` gives the log-probabilities of the prompt, each in its place."""
    prompt_logprobs: bool | None = None
    """So does ``prompt_logprobs`` (vLLM)."""
    top_logprobs: int | None = None
    """Alternatives that can be had for a generated token; 0: log-probabilities are not given."""
    max_length: int | None = None
    """Context in tokens."""
    same_tokens: bool | None = None
    """The server cuts a text into the same tokens as the tokenizer of the manifest."""
    rolling: bool | None = None
    """A whole text that is sent as text is scored from its first token on."""
    prefill: bool | None = None
    """A chat that ends with the beginning of the answer is continued."""
    answers: bool | None = None
    """A small request, such as the run will send, is answered."""
    told: dict[str, str] = field(default_factory=dict)
    """How each of these was found, or what came instead."""
