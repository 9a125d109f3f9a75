"""MuSR's prompt: the choices are stored as the text of a Python list."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def doc_to_text(doc: Mapping[str, Any]) -> str:
    """The story, the question and its numbered choices."""
    choices = "".join(f"{number} - {choice}\n" for number, choice in enumerate(ast.literal_eval(doc["choices"]), 1))
    return f"{doc['narrative']}\n\n{doc['question']}\n\n{choices}\nAnswer:"
