"""The content hash of a split, and where it is remembered.

A fingerprint takes one pass over all rows, so it is kept per set of files. The memory is one small file per entry,
moved into place: any number of processes may write at once, also on a network disk, and a damaged entry is one that is
computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.folders import cache_dir

_RECIPE = 1
_ENTRY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the rows of a split depend on: files, and the options they are read with."""

    files: tuple[Path, ...]
    options: str = ""

    def key(self) -> str:
        """Hash of paths, sizes, modification times and options; an OSError where a file is gone."""
        parts: list[Any] = [_RECIPE, self.options]
        for file in self.files:
            stat = file.stat()
            parts.append([os.path.abspath(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])  # noqa: PTH100 - links count as themselves
        return _digest(json.dumps(parts).encode("utf-8", "surrogatepass"))


def fingerprint_rows(rows: Iterable[Mapping[str, Any]], identity: Identity | None) -> str:
    """Hash of the rows in order: 32 hex digits of BLAKE2b over one canonical JSON line per row.

    Column order does not count, row order does. With an ``identity`` the answer is looked up and remembered.
    """
    entry = _entry_path(identity)
    if entry is not None:
        remembered = _read(entry)
        if remembered is not None:
            return remembered
    value = _hash(rows)
    if entry is not None:
        _write(entry, value)
    return value


def _hash(rows: Iterable[Mapping[str, Any]]) -> str:
    encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(encoder.encode(row).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": _digest(value)}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _entry_path(identity: Identity | None) -> Path | None:
    if identity is None:
        return None
    try:
        return cache_dir() / "fingerprints" / identity.key()
    except OSError:
        return None


def _read(entry: Path) -> str | None:
    try:
        text = entry.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _ENTRY.fullmatch(text) else None


def _write(entry: Path, value: str) -> None:
    # A cache that cannot be written (full or read-only disk) costs time, never a run.
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=entry.parent)
    except OSError:
        return
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(value)
        temporary.replace(entry)
    except OSError:
        temporary.unlink(missing_ok=True)
