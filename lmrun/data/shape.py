"""The common type of JSON values, so that rows read from JSON equal the rows that ``datasets`` makes of the same file.

``datasets`` (5.2) turns JSON into Arrow columns: a column with ints and floats holds floats, a text column in which
every value is a date holds datetimes, a top-level key that some rows lack is None there. Where there is no common type
(text beside numbers, or objects with different keys below the top level) each value stays as it is in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)

Convert = Callable[[Any], Any]


class Shape:
    """What is known of the values at one place of the rows; :meth:`observe` every value, then ask :meth:`converter`."""

    __slots__ = ("fields", "items", "keys", "kinds", "mixed", "reordered")

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.keys: tuple[str, ...] | None = None
        self.fields: dict[str, Shape] = {}
        self.items: Shape | None = None
        self.reordered = False
        self.mixed = False
        """No common type: values stay as they are."""

    def observe(self, value: Any) -> None:
        """Take one value into account."""
        if value is None or self.mixed:
            return
        if isinstance(value, dict):
            self._observe_object(value)
        elif isinstance(value, list):
            self.kinds.add("list")
            if self.items is None:
                self.items = Shape()
            for item in value:
                self.items.observe(item)
        else:
            self.kinds.add(_kind(value, self.kinds))
        self.mixed = self.mixed or _clash(self.kinds)

    def _observe_object(self, value: dict[str, Any]) -> None:
        self.kinds.add("object")
        keys = tuple(value)
        if self.keys is None:
            self.keys = keys
        elif keys != self.keys:
            self.reordered = True
            self.mixed = set(keys) != set(self.keys)
        self.mixed = self.mixed or not keys
        if not self.mixed:
            for key, item in value.items():
                self.fields.setdefault(key, Shape()).observe(item)

    def converter(self) -> Convert | None:
        """How a value takes the common type; None where it already has it."""
        if self.mixed:
            return None
        if "object" in self.kinds:
            return self._object_converter()
        if "list" in self.kinds:
            item = self.items.converter() if self.items else None
            return None if item is None else lambda value: None if value is None else [item(one) for one in value]
        if ("float" in self.kinds and "int" in self.kinds) or "big" in self.kinds:
            return lambda value: None if value is None else float(value)
        if self.kinds == {"date"}:
            return lambda value: None if value is None else parse_timestamp(value)
        return None

    def _object_converter(self) -> Convert | None:
        fields = {key: shape.converter() for key, shape in self.fields.items()}
        if not self.reordered and not any(fields.values()):
            return None

        def convert(value: Any) -> Any:
            if value is None:
                return None
            return {key: value[key] if how is None else how(value[key]) for key, how in fields.items()}

        return convert


def _kind(value: Any, seen: set[str]) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "big"
    if isinstance(value, float):
        return "float"
    # One text that is no date makes the column text, so looking further is wasted.
    return "text" if "text" in seen or parse_timestamp(value) is None else "date"


def _clash(kinds: set[str]) -> bool:
    families = {"number" if k in ("int", "big", "float") else "text" if k == "date" else k for k in kinds}
    return len(families) > 1


def parse_timestamp(text: str) -> datetime | None:
    """The texts that Arrow's JSON reader takes for timestamps, in UTC without a zone; None for any other text."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    *digits, zone = match.groups()
    try:
        moment = datetime(*(int(d or 0) for d in digits))  # type: ignore[arg-type]
        if zone is None or zone == "Z":
            return moment
        hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
        return moment.replace(tzinfo=timezone(offset)).astimezone(timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
