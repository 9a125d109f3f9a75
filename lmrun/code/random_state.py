"""The state of the global random generators when the code of a task runs: the same in whatever order it is called."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Mapping
from json import dumps
from typing import Any

# What lm-eval starts a run with.
_PYTHON_SEED = 0
_NUMPY_SEED = 1234


def seed_for_docs() -> None:
    """As at the start of a run of lm-eval: a ``process_docs`` that shuffles gives what its first call gives there."""
    import numpy as np

    random.seed(_PYTHON_SEED)
    np.random.seed(_NUMPY_SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(_NUMPY_SEED)


def drawn_for_docs() -> bool:
    """Whether anything was drawn since :func:`seed_for_docs`."""
    import numpy as np

    fresh = np.random.RandomState(_NUMPY_SEED).get_state(legacy=False)
    state = np.random.get_state(legacy=False)
    same_numpy = (
        state["state"]["pos"] == fresh["state"]["pos"] and (state["state"]["key"] == fresh["state"]["key"]).all()
    )
    return not same_numpy or random.getstate() != random.Random(_PYTHON_SEED).getstate()


def seed_for_call(args: tuple[Any, ...]) -> None:
    """By the doc that a function is called for; by nothing where its first argument is no doc."""
    seed = _doc_seed(args[0]) if args and isinstance(args[0], Mapping) else _PYTHON_SEED
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _doc_seed(doc: Mapping[str, Any]) -> int:
    try:
        content = dumps(doc, sort_keys=True, default=repr)
    except (TypeError, ValueError):  # keys that have no order
        content = repr(doc)
    return int.from_bytes(hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
