"""How long RULER's texts are to be, and how long they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

Row = dict[str, Any]
Count = Callable[[str], int]
"""Tokens of a text."""
Made = TypeVar("Made")

SAMPLES = 500
"""Docs for each length."""
_LENGTHS = (4096,)
_TOKENIZER_KEYS = ("tokenizer", "pretrained", "model")
_TRIES = 100


def rows_for_lengths(metadata: Mapping[str, Any], make: Callable[[int, Count], Sequence[Row]]) -> dict[str, list[Row]]:
    """The split ``test``: what ``make`` makes for each of the lengths that the metadata ask for."""
    count = token_counter(metadata)
    lengths = metadata.get("max_seq_lengths", _LENGTHS)
    return {"test": [row for length in lengths for row in make(length, count)]}


def token_counter(metadata: Mapping[str, Any]) -> Count:
    """Counts tokens with the tokenizer that the metadata name."""
    named = (metadata.get(key) for key in _TOKENIZER_KEYS)
    name = next((name for name in named if isinstance(name, str) and name), None)
    if name is None:
        raise ValueError(
            "the texts are measured in tokens, and no tokenizer is named; give the hub id or folder of the model's in "
            'the manifest: metadata = {tokenizer = "…"} in [[tasks]]'
        )
    tokenizer = _tokenizer(name)
    return lambda text: len(tokenizer(text).input_ids)


@cache
def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    quiet = logging.get_verbosity()
    logging.set_verbosity_error()  # a text longer than the model's window is what is wanted here
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        if not tokenizer("The tide turns at noon.").input_ids:
            raise ValueError(f"tokenizer {name!r} makes no tokens of a text; name one that has a vocabulary")
    finally:
        logging.set_verbosity(quiet)
    tokenizer.model_max_length = int(1e30)
    return tokenizer


def largest_size(step: int, most: int, length_of: Callable[[int], int], limit: int) -> int:
    """The largest multiple of ``step`` whose text, made once for each size, is within ``limit`` tokens.

    It is ``most`` where that is reached first, and 0 where not even the first multiple fits.
    """
    size, length = step, 0
    while length < limit:
        length = length_of(size)
        if length > limit:
            return size - step
        size += step
        if size > most:
            return most
    return size


def first_that_fits(
    sizes: Iterable[int], make: Callable[[int], Made], length_of: Callable[[Made], int], limit: int
) -> tuple[Made, int]:
    """What is made of the first of some sizes at which it is within ``limit`` tokens, and its length.

    Raises ValueError where there is none.
    """
    for size in islice(sizes, _TRIES):
        made = make(size)
        length = length_of(made)
        if length <= limit:
            return made, length
    raise ValueError(f"no text fits into {limit} tokens; ask for more in max_seq_lengths")


def shrinking(size: int, step: int) -> Iterator[int]:
    """Ever smaller sizes; the last that is no larger than ``step`` again and again, as texts of a size differ."""
    while size > 0:
        yield size
        if size > step:
            size -= step


def fresh_random() -> random.Random:
    """Random numbers as a fresh run of lm-eval draws them."""
    return random.Random(0)
