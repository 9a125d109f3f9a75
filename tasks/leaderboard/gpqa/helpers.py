"""GPQA as the leaderboard prepares it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ...gpqa.helpers import cleaned_without_brackets, shuffled

if TYPE_CHECKING:
    from lmrun.data import Docs


def process_docs(docs: Docs) -> list[dict[str, Any]]:
    """Add ``choice1`` to ``choice4``, ``choices`` and ``answer``, in the order of a fresh run of lm-eval."""
    return shuffled(docs, random.Random(0), cleaned_without_brackets)
