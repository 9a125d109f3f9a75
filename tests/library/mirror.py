"""A mirror of invented rows, so that every bundled task can be tried where its real data is not.

The rows are in ``fixtures/<org>__<name>/<config>/<split>.jsonl`` (``default``: tasks without ``dataset_name``;
``_any``: every config without a folder of its own). Data files on the hub (``dataset_path: json`` with
``hf://datasets/ORG/NAME/…``) are in ``fixtures/json__NAME``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lmrun.data import DatasetSpec
from lmrun.data.local import LOCAL_BUILDERS
from lmrun.data.mirror import MANIFEST, mirror_config

FIXTURES = Path(__file__).with_name("fixtures")
ANY_CONFIG = "_any"


def make_mirror(specs: Iterable[DatasetSpec], out: Path, fixtures: Path = FIXTURES) -> list[DatasetSpec]:
    """Write a mirror with all ``specs`` that there are fixtures for; returns those that there are."""
    made: dict[str, dict[str, Any]] = {}
    found = []
    for spec in specs:
        folder = fixture_folder(spec, fixtures)
        if folder is None:
            continue
        found.append(spec)
        key = f"{spec.path}/{mirror_config(spec) or 'default'}"
        if key not in made:
            made[key] = _write_config(spec, folder, out)
    out.mkdir(parents=True, exist_ok=True)
    content = {"aliases": {}, "datasets": [made[key] for key in sorted(made)]}
    (out / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return found


def fixture_folder(spec: DatasetSpec, fixtures: Path = FIXTURES) -> Path | None:
    """The folder with the rows of a spec; None where there is none."""
    dataset = fixtures / _folder_name(spec)
    folders = (dataset / name for name in (spec.name or "default", ANY_CONFIG))
    return next((folder for folder in folders if folder.is_dir()), None)


def _folder_name(spec: DatasetSpec) -> str:
    if spec.path in LOCAL_BUILDERS:
        return f"{spec.path}__{_repository(spec.kwargs.get('data_files'))}"
    return str(spec.path).replace("/", "__")


def _repository(data_files: Any) -> str:
    """NAME of the first file, ``hf://datasets/ORG/NAME/path``; else all of it, which no folder is called."""
    while not isinstance(data_files, str):
        data_files = next(iter(data_files.values() if isinstance(data_files, Mapping) else data_files))
    parts = data_files.split("/")
    return parts[4] if data_files.startswith("hf://datasets/") and len(parts) > 4 else data_files.replace("/", "__")


def _write_config(spec: DatasetSpec, folder: Path, out: Path) -> dict[str, Any]:
    config = mirror_config(spec) or "default"
    splits = {}
    for file in sorted(folder.glob("*.jsonl")):
        target = out / str(spec.path) / config / f"{file.stem}.parquet"
        rows = _write_split(file, target)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        splits[file.stem] = {"rows": rows, "file": target.relative_to(out).as_posix(), "sha256": sha256}
    entry = {"hub_id": spec.path, "config": config, "splits": splits}
    return {**entry, "data_files": spec.kwargs["data_files"]} if "data_files" in spec.kwargs else entry


def _write_split(file: Path, target: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), target)
    return len(rows)
