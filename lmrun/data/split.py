"""What a dataset is to the rest of lmrun: a spec that names it, and splits whose rows are plain dicts."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from lmrun.data.fingerprint import Identity, fingerprint_rows
from lmrun.errors import DataError
from lmrun.requests import canonical_json

Row = dict[str, Any]

MIRROR_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
"""Formats of an offline mirror; where a split is there in several, the first is read."""


@dataclass(frozen=True)
class DatasetSpec:
    """Which dataset a task wants, in the terms of a task file."""

    path: str | None
    """``dataset_path``: a hub id, a local directory, or one of ``json``, ``csv``, ``parquet``, ``text``."""
    name: str | None = None
    """``dataset_name``: the config; None means the dataset's own default."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """``dataset_kwargs``: ``data_files``, ``data_dir``, CSV options …"""

    @property
    def key(self) -> str:
        """One text per distinct spec."""
        return canonical_json([self.path, self.name, dict(self.kwargs)])

    def __str__(self) -> str:
        return f"{self.path!r} (config {self.name!r})" if self.name else f"{self.path!r}"


class Split(Protocol):
    """The rows of one split, in order. A row is a fresh dict: changing it changes nothing here.

    Media columns (images, audio) are given as they are stored, ``{"bytes": …, "path": …}``.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""

    @property
    def fingerprint(self) -> str:
        """Hash of all rows (32 hex digits), the same whichever source and file format they come from."""

    @property
    def revision(self) -> str | None:
        """Commit of the hub repository that the rows come from, where that is known."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Row: ...
    def __iter__(self) -> Iterator[Row]: ...


class BaseSplit(ABC):
    """What the kinds of splits share: bounds of an index, and the cached fingerprint."""

    def __init__(self, columns: tuple[str, ...], identity: Identity | None, revision: str | None) -> None:
        self.columns = columns
        self.revision = revision
        self._identity = identity

    @cached_property
    def fingerprint(self) -> str:
        """See :attr:`Split.fingerprint`."""
        return fingerprint_rows(self, self._identity)

    @property
    def suffix(self) -> str:
        """File name suffix of the format that :meth:`save` writes."""
        first = self._identity.files[0].name if self._identity else ""
        return next((suffix for suffix in MIRROR_SUFFIXES if first.endswith(suffix)), ".parquet")

    def save(self, target: Path) -> None:
        """Write all rows to a file, unchanged; an OSError where that fails, a DataError where it is not possible."""
        files = self._identity.files if self._identity else ()
        if len(files) != 1:
            raise DataError(
                f"{target.name}: a split in {len(files)} files cannot be copied", hint="join its files to one"
            )
        shutil.copyfile(files[0], target)

    def __getitem__(self, index: int, /) -> Row:
        rows = len(self)
        if not -rows <= index < rows:
            raise IndexError(f"row {index} of a split of {rows} rows")
        return self._row(index % rows)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Row]: ...

    @abstractmethod
    def _row(self, index: int) -> Row:
        """The row at an index that is in range."""
