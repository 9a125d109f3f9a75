"""MathQA: its options come as one text, ``a ) 12 , b ) 16 , …``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_OPTION = re.compile(r"[abcd] \) .*?, |e \) .*?$")


def doc_to_choice(doc: Mapping[str, Any]) -> list[str]:
    """The texts of the options, without letters and commas."""
    return [option[4:].rstrip(" ,") for option in _OPTION.findall(doc["options"])]
