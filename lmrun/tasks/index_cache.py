"""What the index remembers of task files between two starts: a few facts per file, keyed by path, mtime and size.

One JSON file, replaced as a whole, so that readers never see half of it and no lock is needed on any file system.
It is only a cache: an unreadable, damaged or outdated one is the same as none, and one that cannot be written is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lmrun.folders import cache_dir

FORMAT = 1
"""Raise it whenever the facts kept per file change their meaning."""

Facts: TypeAlias = dict[str, Any]
Row: TypeAlias = list[Any]
"""``[mtime_ns, size, facts]``; a list because that is what JSON gives back."""


def default_cache_file() -> Path:
    """``task-index.json`` in the user's cache folder for lmrun."""
    return cache_dir() / "task-index.json"


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 3 and isinstance(row[2], dict)


@dataclass
class FactsCache:
    """Facts of files by absolute path. ``put`` and ``keep_only`` change it in memory, ``save`` writes it out."""

    file: Path
    rows: dict[str, Row] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, file: Path) -> FactsCache:
        """Read the cache, or start an empty one where there is none that can be used."""
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return cls(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return cls(file)
        rows = content.get("files")
        if not isinstance(rows, dict) or not all(map(_is_row, rows.values())):
            return cls(file)
        return cls(file, rows)

    def get(self, path: str, mtime_ns: int, size: int) -> Facts | None:
        """The facts of a file that has not changed since they were stored."""
        row = self.rows.get(path)
        return row[2] if row and row[0] == mtime_ns and row[1] == size else None

    def put(self, path: str, mtime_ns: int, size: int, facts: Facts) -> None:
        """Remember the facts of a file."""
        self.rows[path] = [mtime_ns, size, facts]
        self.changed = True

    def drop_missing(self, folder: str, present: Mapping[str, Any]) -> None:
        """Forget the YAML files under ``folder`` that are gone."""
        prefix = folder + os.sep
        for path in [p for p in self.rows if p.startswith(prefix) and p.endswith(".yaml") and p not in present]:
            del self.rows[path]
            self.changed = True

    def save(self) -> None:
        """Write the cache out if anything changed."""
        if not self.changed:
            return
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._replace(json.dumps({"format": FORMAT, "files": self.rows}, separators=(",", ":")))
        self.changed = False

    def _replace(self, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=self.file.name, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            Path(name).replace(self.file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
