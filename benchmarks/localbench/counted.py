"""``lmrun`` as ever, with what goes through the model counted: ``python counted.py COUNTS.json batch …``.

Counted is what the model is called with, so it does not depend on what the backend says of itself.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from lmrun.backends.hf import backend
from lmrun.cli import main

_COUNTS: Counter[str] = Counter()


def _count(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    inputs = named["input_ids"] if named.get("input_ids") is not None else positional[0]
    cache = named.get("past_key_values")
    # One more token of each row, behind what is in the cache: a step of generation.
    step = inputs.shape[-1] == 1 and cache is not None and cache.get_seq_length() > 0
    _COUNTS["decoded_tokens" if step else "forwarded_tokens"] += inputs.numel()


def _hooked(load: Any) -> Any:
    def load_and_hook(*arguments: Any) -> Any:
        model = load(*arguments)
        model.base_model.register_forward_pre_hook(_count, with_kwargs=True)
        return model

    return load_and_hook


if __name__ == "__main__":
    counts = Path(sys.argv.pop(1))
    backend.load_model = _hooked(backend.load_model)  # type: ignore[attr-defined]
    try:
        main()
    finally:
        counts.write_text(json.dumps(_COUNTS), encoding="utf-8")
