"""Making an offline mirror, and verifying one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.data.local import open_split
from lmrun.data.mirror import LAYOUT, MANIFEST, Mirror, can_mirror, mirror_config
from lmrun.data.source import DataSource
from lmrun.data.split import MIRROR_SUFFIXES, DatasetSpec
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

    Datasets of local files have no place in a mirror and are passed over. What ``out`` already holds stays. Everything
    that can be had is written, and listed, before a DataError reports all that could not.
    """
    out.mkdir(parents=True, exist_ok=True)
    fetched: list[FetchedSplit] = []
    problems: list[Problem] = []
    for spec, splits in specs:
        for split in splits:
            try:
                if not source.is_local(spec):
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
    for suffix in MIRROR_SUFFIXES:
        for file in sorted(mirror.rglob(f"*{suffix}")):
            if file not in listed:
                problems.append(Problem(f"this file is not in {MANIFEST}", Location(file), hint="remove or fetch it"))
    return problems


def _fetch_split(spec: DatasetSpec, split: str, source: DataSource, out: Path) -> FetchedSplit:
    if not can_mirror(spec):
        raise DataError(f"{spec} cannot name a folder of a mirror", hint="dataset_path is to be a hub id: <org>/<name>")
    loaded = source.load(spec, split)
    config = mirror_config(spec) or "default"
    folder = out / str(spec.path) / config
    target = folder / f"{split}{loaded.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as temporary:
            loaded.save(temporary)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}", hint="check the disk that is to hold the mirror") from error
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


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary file that takes the place of ``target`` when the block ends well."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write_manifest(out: Path, fetched: Sequence[FetchedSplit]) -> None:
    content = {"layout": LAYOUT, "aliases": {}, "datasets": [], **Mirror(out).manifest}
    entries: dict[tuple[str, str], dict[str, Any]] = {(e["hub_id"], e["config"]): e for e in content["datasets"]}
    for one in fetched:
        entry = entries.setdefault((one.hub_id, one.config), {"hub_id": one.hub_id, "config": one.config, "splits": {}})
        entry["revision"] = one.revision
        entry["splits"][one.split] = {
            "rows": one.rows,
            "file": one.file,
            "bytes": one.bytes,
            "sha256": one.sha256,
            "columns": list(one.columns),
        }
    content["datasets"] = [entries[key] for key in sorted(entries)]
    with _replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_file(name: str, file: Path, facts: Mapping[str, Any]) -> list[Problem]:
    place, hint = Location(file), "fetch it again with `lmrun data fetch`"
    if not file.is_file():
        return [Problem(f"{name}: the file is missing", place, hint=hint)]
    found = _sha256(file)
    if found != facts.get("sha256"):
        return [Problem(f"{name}: sha256 is {found}", place, expected=f"sha256 {facts.get('sha256')}", hint=hint)]
    try:
        rows = len(open_split((file,)))
    except DataError as error:
        return [Problem(f"{name}: {error.message}", place, hint=hint)]
    if rows != facts.get("rows"):
        return [Problem(f"{name}: {rows} rows", place, expected=f"{facts.get('rows')} rows", hint=hint)]
    return []


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
