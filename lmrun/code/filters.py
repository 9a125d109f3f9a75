"""Applying a filter that the code of a task defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any


def run_filter(
    make: Callable[..., Any],
    kwargs: Mapping[str, Any],
    responses: Sequence[Sequence[Any]],
    docs: Sequence[Mapping[str, Any]],
    made: MutableMapping[Any, Any],
) -> list[Any]:
    """What a filter makes of the responses to each doc. ``made`` keeps the filters, some of which are slow to make."""
    key = (make, repr(sorted(kwargs.items())))
    if key not in made:
        made[key] = make(**kwargs)
    return list(made[key].apply(responses, docs))
