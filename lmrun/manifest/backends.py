"""Which backends a manifest may name, found without importing any."""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "lmrun.backends"
"""Entry-point group in which a backend makes itself known, ours included."""

API = ("openai-completions", "openai-chat", "anthropic")
"""Backends that ask a server."""

LOCAL = ("hf", "vllm")
"""Backends that load a model from its files."""

OWN_KEYS = (*LOCAL, *API)
"""Backends whose settings stand among the keys of a model; those of others have a table `options`."""

OWN = (*OWN_KEYS, "scripted")
"""Backends of lmrun itself: known also where it runs from a checkout that was never installed."""


def backend_names() -> tuple[str, ...]:
    """Names of the backends that are installed, sorted."""
    return tuple(sorted({*OWN, *(point.name for point in entry_points(group=GROUP))}))
