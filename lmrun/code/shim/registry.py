"""Stands in for ``lm_eval.api.registry``: the filters that code registers by name when it is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)

FILTER_REGISTRY: dict[str, Any] = {}


def register_filter(name: str) -> Callable[[_Class], _Class]:
    """A decorator that makes a filter class known by a name."""

    def decorate(cls: _Class) -> _Class:
        FILTER_REGISTRY[name] = cls
        return cls

    return decorate


def get_filter(name: Any) -> Any:
    """The filter class of a name; whatever else it is given, unchanged."""
    return FILTER_REGISTRY.get(name, name) if isinstance(name, str) else name
