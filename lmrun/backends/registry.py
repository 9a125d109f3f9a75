"""From the name of a backend to its class; nothing is imported before a manifest names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import TypeAlias

from lmrun.backends.base import Backend, ModelSpec
from lmrun.errors import BackendError, did_you_mean

GROUP = "lmrun.backends"
"""Entry-point group in which a plug-in announces its backend: ``name = "module:Class"``."""

# The same names as in pyproject.toml, so that a source tree works without being installed.
_BUILT_IN: Mapping[str, str] = {
    "hf": "lmrun.backends.hf:hf_backend",
    "vllm": "lmrun.backends.vllm:VllmBackend",
    "openai-completions": "lmrun.backends.api:completions_backend",
    "openai-chat": "lmrun.backends.api:chat_backend",
    "anthropic": "lmrun.backends.api:anthropic_backend",
    "scripted": "lmrun.testing.scripted:scripted_backend",
}
_NEEDS: Mapping[str, tuple[str, ...]] = {"hf": ("torch", "transformers"), "vllm": ("vllm",)}

BackendFactory: TypeAlias = Callable[[ModelSpec], Backend]


def backend_names() -> tuple[str, ...]:
    """Names that a manifest can give, plug-ins included, sorted."""
    return tuple(sorted(_known()))


def backend_class(name: str) -> BackendFactory:
    """The class behind a name.

    Raises:
        BackendError: the name is unknown, or a package that the backend needs is not installed.
    """
    known = _known()
    if name not in known:
        hint = did_you_mean(name, known) or f"known backends: {', '.join(sorted(known))}"
        raise BackendError(f'unknown backend "{name}"', hint=hint)
    missing = [package for package in _NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        raise missing_packages(name, missing)
    try:
        return _attribute(known[name])
    except ImportError as error:
        raise BackendError(
            f'the backend "{name}" cannot be imported: {error}',
            hint=f"install what {known[name]} needs, or remove the plug-in",
        ) from error


def missing_packages(extra: str, packages: list[str]) -> BackendError:
    """The error that says which optional packages are not there and how to get them."""
    return BackendError(
        f'the backend "{extra}" needs {" and ".join(packages)}, not installed here',
        hint=f'pip install "lmrun[{extra}]"',
    )


def _known() -> dict[str, str]:
    plugins: dict[str, str] = {entry.name: entry.value for entry in _entry_points()}
    return {**plugins, **_BUILT_IN}


def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _attribute(path: str) -> BackendFactory:
    module, _, name = path.partition(":")
    try:
        found: BackendFactory = getattr(import_module(module), name)
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}") from error
    return found
