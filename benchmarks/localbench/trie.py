"""How many tokens there are to compute: distinct prefixes of everything that a model is to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lmrun.backends.generation import normalise
from lmrun.backends.tokenize import Encoder, cut_pair, cut_prompt
from lmrun.requests import Request


def trie_tokens(inputs: Iterable[Sequence[int]]) -> int:
    """Nodes of the prefix tree of token sequences."""
    total, last = 0, ()  # type: int, Sequence[int]
    for row in sorted(map(tuple, inputs)):
        pairs = zip(row, last, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(row), len(last)))
        total += len(row) - shared
        last = row
    return total


def model_inputs(encoder: Encoder, requests: Iterable[Request], max_length: int) -> Iterator[Sequence[int]]:
    """What a model is to see for each request, the tokens that it generates left out."""
    for request in requests:
        text = encoder.render(request.context).text
        if request.kind == "generate_until":
            yield cut_prompt(encoder.prompt(text), max_length, normalise(request.generation).max_new_tokens).inputs
        elif request.kind == "loglikelihood":
            pair = encoder.pair(text, request.continuation)
            yield cut_pair(pair.context, pair.continuation, max_length).inputs
        else:
            for window in encoder.windows(request.continuation, max_length):
                yield [*window.context, *window.predicted][:-1]
