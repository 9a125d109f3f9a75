"""Generation parameters of a task as arguments of vLLM's ``SamplingParams``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmrun.backends.generation import ONLY_SAMPLED, Generation
from lmrun.backends.tokenize import Unanswerable

_DRAWN: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""With the values of vLLM where neither the task nor the model's generation_config.json says anything."""
_ALWAYS: Mapping[str, Any] = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
_NEUTRAL: Mapping[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Parameters of transformers that vLLM has not, and the values with which they change nothing."""
_WITHOUT_MEANING = frozenset(("use_cache", "early_stopping", "seed", "pad_token_id"))
_SEED_DIGITS = 15
"""Of a content key in hex: a seed has 63 bits at most."""


def sampling(wanted: Generation, configured: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The arguments that carry out ``wanted``; ``configured`` is the model's generation_config.json.

    The seed comes from the request's content alone, so an answer does not depend on what else is asked.

    Raises:
        Unanswerable: vLLM cannot do what the task asks.
    """
    options = {name: value for name, value in wanted.options.items() if value is not None}
    values = {name: options.pop(name, None) for name in (*_ALWAYS, *_DRAWN)}
    minimum = options.pop("min_new_tokens", 0)
    for name, value in options.items():
        meant = name not in _WITHOUT_MEANING and (wanted.sample or name not in ONLY_SAMPLED)
        if meant and value != _NEUTRAL.get(name, ...):
            raise Unanswerable("bad_generation_parameter", f"vLLM has no {name} = {value!r}")
    known = {**_ALWAYS, **(_DRAWN if wanted.sample else {})}
    found: dict[str, Any] = {name: _first(values[name], configured.get(name), known[name]) for name in known}
    drawn = {"seed": int(key[:_SEED_DIGITS], 16)} if wanted.sample else {"temperature": 0.0}
    return {**found, **drawn, "max_tokens": wanted.max_new_tokens, "min_tokens": int(minimum)}


def described(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of a sampled answer should know."""
    return {name: arguments[name] for name in _DRAWN}


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
