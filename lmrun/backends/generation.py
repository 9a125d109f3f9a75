"""Generation parameters, from what a task states to what is meant. The same for every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmrun.backends.tokenize import Unanswerable

DEFAULT_MAX_TOKENS = 256
ONLY_SAMPLED = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Parameters without a meaning where nothing is drawn."""
PARAMETERS = frozenset(
    "until max_gen_toks max_new_tokens max_tokens max_completion_tokens max_length temperature do_sample top_p top_k "
    "min_p typical_p num_beams repetition_penalty presence_penalty frequency_penalty length_penalty early_stopping "
    "no_repeat_ngram_size min_new_tokens seed use_cache".split()
)
"""Names that tasks use. Others go to the backend as well; one that is almost one of these is a slip of the pen."""
_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Generation:
    """What a ``generate_until`` request asks for."""

    until: tuple[str, ...]
    """Texts that end the answer; without empty ones."""
    max_new_tokens: int
    sample: bool
    """False: greedy, and ``temperature`` means nothing."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Everything else, as the task states it (``top_p``, ``repetition_penalty`` …)."""


def normalise(parameters: Mapping[str, Any]) -> Generation:
    """Resolve aliases and defaults as lm-eval does.

    Raises:
        Unanswerable: a value has the wrong type.
    """
    options = dict(parameters)
    until = options.pop("until", None) or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    if not all(isinstance(stop, str) for stop in stops):
        raise Unanswerable("bad_generation_parameter", f"until must be text or a list of texts, not {until!r}")
    limits = [options.pop(name, None) for name in _MAX_TOKENS]
    limit = next((value for value in limits if value is not None), DEFAULT_MAX_TOKENS)
    temperature = options.pop("temperature", None)
    sample = options.pop("do_sample", None)
    try:
        max_new_tokens = int(limit)
        warmth = float(temperature or 0.0)
    except (TypeError, ValueError) as error:
        raise Unanswerable("bad_generation_parameter", str(error)) from error
    if max_new_tokens < 1:
        raise Unanswerable("bad_generation_parameter", f"max_gen_toks must be 1 or more, not {max_new_tokens}")
    if sample is None:
        sample = warmth > 0
    if sample and temperature is not None:
        options["temperature"] = warmth
    options.pop("max_length", None)
    return Generation(tuple(stop for stop in stops if stop), max_new_tokens, bool(sample), options)


def cut_at_stops(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Text up to the first of each stop, in order, and whether there was one."""
    cut = text
    for stop in stops:
        cut = cut.split(stop, 1)[0]
    return cut, len(cut) < len(text)
