"""Answers of uneven length from a model of random weights.

Such a model never ends a text by itself. So its greedy answers are made once, and the stop is a short string that they
hold at uneven places; kept are the docs whose answers end with it after 64 to 256 tokens. Both programs are given these
docs and this stop, and generate the answers themselves.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.backends.light_tokenizer import LightTokenizer
from lmrun.requests import Request
from localbench.tasks import MAX_NEW_TOKENS, SHOTS, Data

SPARE = 4
"""So many times as many docs are made as are wanted."""
_SHORTEST = 64
_STOP_LENGTHS = (2, 3)


def with_stops(data: Data, wanted: int, model: Path, device: str) -> Data:
    """The docs whose answers are of uneven length, and the stop that makes them so."""
    shown = "".join(f"{doc['text']} {doc['target']}\n\n" for doc in data.examples[:SHOTS])
    answers = list(_answers([shown + doc["text"] for doc in data.docs], model, device))
    stop = _best_stop(answers)
    kept = [doc for doc, answer in zip(data.docs, answers, strict=True) if _fits(answer, stop)]
    if len(kept) < wanted:
        logging.warning("%s docs with answers of %d to %d tokens, not %d", len(kept), _SHORTEST, MAX_NEW_TOKENS, wanted)
    return Data(data.examples, kept[:wanted], (stop,))


def _answers(prompts: Sequence[str], folder: Path, device: str) -> Iterator[list[str]]:
    """Each answer as the texts of its tokens."""
    backend = HfBackend(ModelSpec("uneven", "hf", str(folder), {"device": device}))
    backend.load()
    wanted = {"until": [], "do_sample": False, "max_gen_toks": MAX_NEW_TOKENS}
    requests = [Request("generate_until", prompt, generation=wanted) for prompt in prompts]
    texts = {i: response.text or "" for chunk in backend.run(requests) for i, response in chunk}
    backend.close()
    tokenizer = LightTokenizer(folder)
    for i in range(len(prompts)):
        tokens = tokenizer.encode(texts[i], add_special_tokens=False)
        yield [tokenizer.decode([token]) for token in tokens]


def _best_stop(answers: Sequence[Sequence[str]]) -> str:
    texts = ["".join(answer) for answer in answers]
    found: Counter[str] = Counter()
    for text in texts:
        parts = {text[i : i + n] for n in _STOP_LENGTHS for i in range(len(text) - n)}
        found.update(part for part in parts if part.isascii() and part.isalpha())
    likely = [stop for stop, _ in found.most_common(200)]
    return max(likely, key=lambda stop: sum(_fits(answer, stop) for answer in answers))


def _fits(answer: Sequence[str], stop: str) -> bool:
    """Whether the stop first stands where a long enough answer ends."""
    text = ""
    for place, token in enumerate(answer, 1):
        text += token
        if stop in text:
            return place >= _SHORTEST
    return False
