"""Splits whose rows are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from lmrun.data.split import BaseSplit, Row


class RowsSplit(BaseSplit):
    """Rows that are made, not read. All of them have the columns of the first."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = [dict(row) for row in rows]
        super().__init__(tuple(self._rows[0]) if self._rows else (), None, None)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return map(deepcopy, self._rows)

    def _row(self, index: int) -> Row:
        return deepcopy(self._rows[index])
