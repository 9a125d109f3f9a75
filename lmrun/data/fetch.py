"""Making an offline mirror, and verifying one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.data.fingerprint import Identity
from lmrun.data.hub import HubSplit
from lmrun.data.local import FileDataset
from lmrun.data.mirror import LAYOUT, MANIFEST, SUFFIXES, Mirror, can_mirror, mirror_config
from lmrun.data.source import DataSource
from lmrun.data.split import BaseSplit, DatasetSpec, Split
from lmrun.errors import DataError, Location, Problem


@dataclass(frozen=True, slots=True)
class FetchedSplit:
    """A split that is now in the mirror."""

    hub_id: str
    config: str
    split: str
    file: str
    """Path inside the mirror, with forward slashes."""
    rows: int
    bytes: int
    sha256: str
    columns: tuple[str, ...]
    revision: str | None


def fetch(
    specs: Iterable[tuple[DatasetSpec, Sequence[str]]], source: DataSource, out: Path
) -> tuple[FetchedSplit, ...]:
    """Write the named splits of each dataset into the mirror ``out``, and list them in its ``MANIFEST.json``.

    What ``out`` already holds stays. Everything that can be had is written, and listed, before a DataError reports all
    that could not.
    """
    out.mkdir(parents=True, exist_ok=True)
    fetched: list[FetchedSplit] = []
    problems: list[Problem] = []
    for spec, splits in specs:
        for split in splits:
            try:
                fetched.append(_fetch_split(spec, split, source, out))
            except DataError as error:
                problems.append(Problem(error.message, hint=error.hint))
    _write_manifest(out, fetched)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(problems) + len(fetched)} splits could not be fetched",
            hint="the others are in the mirror; run the same command again for the rest",
            problems=tuple(problems),
        )
    return tuple(fetched)


def check(mirror: Path) -> list[Problem]:
    """Everything in a mirror that is not as its ``MANIFEST.json`` says; an empty list means that it is sound."""
    opened = Mirror(mirror)
    manifest = mirror / MANIFEST
    if not manifest.is_file():
        return [Problem(f"no {MANIFEST}", Location(mirror), hint="`lmrun data fetch` writes it")]
    problems: list[Problem] = []
    listed: set[Path] = set()
    for entry in opened.manifest.get("datasets", ()):
        for split, facts in entry.get("splits", {}).items():
            name = f"{entry.get('hub_id')} {entry.get('config')} {split}"
            file = mirror / str(facts.get("file"))
            listed.add(file)
            problems += _check_file(name, file, facts)
    for suffix in SUFFIXES:
        for file in sorted(mirror.rglob(f"*{suffix}")):
            if file not in listed:
                problems.append(Problem(f"this file is not in {MANIFEST}", Location(file), hint="remove or fetch it"))
    return problems


def _fetch_split(spec: DatasetSpec, split: str, source: DataSource, out: Path) -> FetchedSplit:
    if not can_mirror(spec):
        raise DataError(f"dataset {spec} is local, not on the hub", hint="copy its files along with the task")
    loaded = source.load(spec, split)
    config = mirror_config(spec) or "default"
    folder = out / str(spec.path) / config
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{split}{_suffix(loaded)}"
    with _replacing(target) as temporary:
        _write(loaded, temporary)
    return FetchedSplit(
        hub_id=str(spec.path),
        config=config,
        split=split,
        file=target.relative_to(out).as_posix(),
        rows=len(loaded),
        bytes=target.stat().st_size,
        sha256=_sha256(target),
        columns=loaded.columns,
        revision=loaded.revision,
    )


def _files(split: Split) -> tuple[Path, ...]:
    return split.files if isinstance(split, BaseSplit) and not isinstance(split, HubSplit) else ()


def _suffix(split: Split) -> str:
    files = _files(split)
    return next((suffix for suffix in SUFFIXES if files and files[0].name.endswith(suffix)), ".parquet")


def _write(split: Split, target: Path) -> None:
    files = _files(split)
    try:
        if isinstance(split, HubSplit):
            split.write_parquet(target)
        elif len(files) == 1:
            shutil.copyfile(files[0], target)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}", hint="check the disk that holds the mirror") from error


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
