"""Models behind an HTTP API: OpenAI-compatible completions and chat, and Anthropic's messages.

How a request travels: a :class:`~lmrun.backends.api.call.Wire` turns requests into calls (what goes into the body, how
the reply is read), the dialect of the server rewrites their bodies, the pump sends them through limits and retries, and
answers come back as they finish.
"""

from __future__ import annotations

from lmrun.backends.base import ModelSpec, StreamingBackend


def completions_backend(spec: ModelSpec) -> StreamingBackend:
    """The backend ``openai-completions``."""
    from lmrun.backends.api.backend import ApiBackend
    from lmrun.backends.api.completions import CompletionsWire

    return ApiBackend(spec, CompletionsWire)


def chat_backend(spec: ModelSpec) -> StreamingBackend:
    """The backend ``openai-chat``."""
    from lmrun.backends.api.backend import ApiBackend
    from lmrun.backends.api.chat import ChatWire

    return ApiBackend(spec, ChatWire)


def anthropic_backend(spec: ModelSpec) -> StreamingBackend:
    """The backend ``anthropic``."""
    from lmrun.backends.api.anthropic import AnthropicWire
    from lmrun.backends.api.backend import ApiBackend

    return ApiBackend(spec, AnthropicWire)
