"""Texts of old corpora as people write them."""

from __future__ import annotations

import re

_STEPS = ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"'))
_SPACED = re.compile(r" (['.,])")


def detokenize(text: str) -> str:
    """Without the spaces of tokenization, in the steps of lm-eval's benchmarks. Opening quotes lose their space too."""
    for old, new in _STEPS:
        text = text.replace(old, new)
    return _SPACED.sub(r"\1", text)
