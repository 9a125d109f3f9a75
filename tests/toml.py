"""Manifests for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml_lines(values: Mapping[str, Any]) -> list[str]:
    """One ``key = value`` for each; a table within becomes an inline one."""
    return [f"{name} = {_value(value)}" for name, value in values.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(toml_lines(value)) + " }"
    return json.dumps(value)  # JSON's strings, numbers, booleans and lists are TOML's
