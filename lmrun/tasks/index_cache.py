"""What is remembered of folders of task files between two starts.

Two JSON files per folder: its names, good as long as no file has changed, and a few facts per file, so that a changed
file is parsed again alone. Each is replaced as a whole: readers never see half of one, and no lock is needed on any
file system. They are only a cache: an unreadable, damaged or outdated one is the same as none, and one that cannot be
written is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lmrun.folders import cache_dir

FORMAT = 3
"""Raise it whenever what is kept changes its meaning."""

Facts: TypeAlias = dict[str, Any]
Stamp: TypeAlias = str
"""By what a file is known to be unchanged: its time and size, as one text."""


def default_cache_folder() -> Path:
    """``task-index`` in the user's cache folder for lmrun."""
    return cache_dir() / "task-index"


def stamp(stat: os.stat_result) -> Stamp:
    """The stamp that follows from a file's ``stat``."""
    return f"{stat.st_mtime_ns} {stat.st_size}"


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a file; None where it cannot be read."""
    try:
        return stamp(os.stat(path))  # noqa: PTH116 - one of thousands; a Path costs more than the call
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class IndexCache:
    """What is remembered of one folder."""

    names_file: Path
    facts_file: Path

    @classmethod
    def of(cls, cache_folder: Path, folder: str) -> IndexCache:
        """The cache of ``folder``."""
        digest = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
        return cls(cache_folder / f"{digest}.names.json", cache_folder / f"{digest}.facts.json")

    def names(self, found: dict[str, Stamp]) -> dict[str, Any] | None:
        """What :meth:`save` was given as ``names``, if these are the files and none of them has changed."""
        content = _load(self.names_file)
        if content.get("found") != found or not isinstance(content.get("included"), dict):
            return None
        names = content.get("names")
        unchanged = all(stamp_of(path) == stamp for path, stamp in content["included"].items())
        return names if unchanged and isinstance(names, dict) else None

    def facts(self) -> dict[str, tuple[Stamp, Facts]]:
        """By path the facts of each file, and the stamp that it had then."""
        files = _load(self.facts_file).get("files")
        rows = files.items() if isinstance(files, dict) else ()
        return {path: (row[0], row[1]) for path, row in rows if _is_row(row)}

    def save(
        self,
        found: dict[str, Stamp],
        included: dict[str, Stamp | None],
        names: dict[str, Any],
        facts: dict[str, tuple[Stamp, Facts]],
    ) -> None:
        """Remember a folder: its files, the files elsewhere that they include, and what was learned of them."""
        with contextlib.suppress(OSError):
            self.names_file.parent.mkdir(parents=True, exist_ok=True)
            _replace(self.facts_file, {"files": facts})
            _replace(self.names_file, {"found": found, "included": included, "names": names})


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[1], dict)


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT else {}


def _replace(file: Path, content: dict[str, Any]) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(json.dumps({"format": FORMAT, **content}, separators=(",", ":")))
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
