"""What the machine can do: ``python forward.py MODEL DTYPE DEVICE`` prints seconds per token as JSON.

``forward`` without logits, ``logits`` with those of every position, ``step`` of generation behind a prompt; each at the
best of several batch sizes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

LENGTH = 256
"""Tokens of a row, and of the prompt that steps of generation stand behind."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_REPEATS = 2
_LONGEST = 1.5
"""Seconds of a forward pass after which no larger batch is tried."""


def seconds(run: Callable[[], Any], device: str) -> float:
    """The shortest of several times."""
    import torch

    times = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def best(run: Callable[[int], Callable[[], Any]], tokens: int, device: str) -> float:
    """Seconds per token at the best batch size; a row has so many ``tokens``."""
    found = []
    for rows in BATCHES:
        took = seconds(run(rows), device)
        found.append(took / (rows * tokens))
        if took > _LONGEST:
            break
    return min(found)


def main(folder: str, dtype: str, device: str) -> dict[str, float]:
    """Measure."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()

    def inputs(rows: int, length: int) -> Any:
        return torch.randint(0, model.config.vocab_size, (rows, length), device=device)

    def forward(rows: int, keep: int) -> Callable[[], Any]:
        ids = inputs(rows, LENGTH)
        return lambda: model(input_ids=ids, use_cache=False, logits_to_keep=keep)

    def step(rows: int) -> Callable[[], Any]:
        cache = model(input_ids=inputs(rows, LENGTH), use_cache=True, logits_to_keep=1).past_key_values
        ids = inputs(rows, 1)
        return lambda: model(input_ids=ids, past_key_values=cache, use_cache=True)

    with torch.inference_mode():
        return {
            "forward": best(lambda rows: forward(rows, 1), LENGTH, device),
            "logits": best(lambda rows: forward(rows, 0), LENGTH, device),
            "step": best(step, 1, device),
        }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
