"""Datasets made of local files: ``data_files`` of a task, or a folder of files."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmrun.data.arrow import CsvSplit, ParquetSplit
from lmrun.data.lines import JsonSplit, TextSplit
from lmrun.data.lookup import config_folder, config_names, missing_config, missing_split, split_files
from lmrun.data.split import BaseSplit, DatasetSpec
from lmrun.errors import DataError, did_you_mean

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".json": "json",
    ".json.gz": "json",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".txt": "text",
    ".txt.gz": "text",
}
"""What a file's suffix says of its format; earlier ones win."""

LOCAL_BUILDERS = ("json", "csv", "parquet", "text")
"""Dataset paths that stand for a format; ``data_files`` then says where the data is."""

_CSV_OPTIONS = frozenset(
    "sep delimiter header names column_names usecols true_values false_values skipinitialspace skiprows nrows "
    "na_values keep_default_na na_filter skip_blank_lines thousands decimal lineterminator quotechar quoting "
    "escapechar comment encoding encoding_errors skipfooter doublequote on_bad_lines engine".split()
)
_OPTIONS = {"csv": _CSV_OPTIONS, "json": frozenset({"field"}), "parquet": frozenset(), "text": frozenset()}

_WITHOUT_EFFECT = frozenset({"data_files", "data_dir", "trust_remote_code", "verification_mode", "streaming"})
"""Options that say where the files are, or how a download goes; none of them changes a row."""

_SPLIT_KEYWORDS = {
    "train": ("training",),
    "validation": ("valid", "dev", "val"),
    "test": ("testing", "eval", "evaluation"),
}
"""Other file names under which ``datasets`` finds its three standard splits in a folder."""


class FileDataset:
    """Splits read from files."""

    def __init__(
        self,
        name: str,
        files: Mapping[str, Sequence[Path]],
        kind: str | None = None,
        options: Mapping[str, Any] | None = None,
        revision: str | None = None,
    ) -> None:
        self._name = name
        self._files = files
        self._kind = kind
        self._options = options
        self._revision = revision

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._files)

    def load(self, split: str) -> BaseSplit:
        """One split; a DataError where there is none of that name or it is unreadable."""
        for name in (split, *_SPLIT_KEYWORDS.get(split, ())):
            if name in self._files:
                return open_split(tuple(self._files[name]), self._kind, self._options, self._revision)
        raise missing_split(self._name, split, self._files)


def open_split(
    files: tuple[Path, ...],
    kind: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    revision: str | None = None,
) -> BaseSplit:
    """The rows of some files. ``kind`` is their format, by default the one that the suffix of the first says."""
    kind = kind or next(kind for suffix, kind in FORMATS.items() if files[0].name.endswith(suffix))
    options = {key: value for key, value in (kwargs or {}).items() if key not in _WITHOUT_EFFECT}
    for name in options:
        if name not in _OPTIONS[kind]:
            raise DataError(
                f"{files[0]}: dataset_kwargs.{name} is not supported for {kind} files",
                hint=did_you_mean(name, _OPTIONS[kind]) or f"supported: {', '.join(sorted(_OPTIONS[kind])) or 'none'}",
            )
    if kind == "parquet":
        return ParquetSplit(files, revision)
    if kind == "csv":
        return CsvSplit(files, options)
    return TextSplit(files) if kind == "text" else JsonSplit(files, options.get("field"), revision)


def is_remote(spec: DatasetSpec) -> bool:
    """Whether ``data_files`` names anything that is not on this disk."""
    return any("://" in pattern for patterns in _patterns(spec).values() for pattern in patterns)


def open_data_files(spec: DatasetSpec) -> FileDataset:
    """The dataset of a spec such as ``json`` with ``data_files``: a path, a pattern, a list, or one of these per split.

    Relative paths are seen from ``data_dir``, else from the current directory. Without split names there is one split,
    ``train``, as in ``datasets``.
    """
    base = Path(str(spec.kwargs.get("data_dir") or ".")).expanduser()
    files: dict[str, tuple[Path, ...]] = {}
    for split, patterns in _patterns(spec).items():
        files[split] = tuple(found for pattern in patterns for found in _expand(base, pattern, spec))
    if not files:
        raise DataError(f"dataset {spec}: no data_files", hint="name the files in dataset_kwargs.data_files")
    return FileDataset(str(spec), files, spec.path, spec.kwargs)


def open_folder(spec: DatasetSpec, root: Path) -> FileDataset | None:
    """The dataset in a local folder, ``<root>[/<config>][/data]/<split>.<suffix>``; None if there are none."""
    at_root = root if spec.name is None and _splits_in(root) else None
    folder = at_root or config_folder(root, spec.name)
    if folder is not None and (files := _splits_in(folder)):
        return FileDataset(str(spec), files, options=spec.kwargs)
    configs = [name for name in config_names(root) if _splits_in(root / name)]
    if configs or _splits_in(root):
        raise missing_config(str(spec.path), spec.name, configs, root)
    return None


def _splits_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    for place in (folder, folder / "data"):
        if place.is_dir() and (files := split_files(place, FORMATS)):
            return files
    return {}


def _patterns(spec: DatasetSpec) -> dict[str, list[str]]:
    given = spec.kwargs.get("data_files")
    by_split = given if isinstance(given, Mapping) else {"train": given} if given else {}
    return {str(k): [v] if isinstance(v, str) else [str(one) for one in v] for k, v in by_split.items()}


def _expand(base: Path, pattern: str, spec: DatasetSpec) -> list[Path]:
    path = base / Path(pattern).expanduser()
    if path.is_file():
        return [path]
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute patterns
    files = [one for one in found if one.is_file()]
    if not files:
        raise DataError(
            f"dataset {spec}: no file matches {str(path.absolute())!r}",
            hint="put it there, or beside the task's YAML file: paths in data_files count from there first",
        )
    return files
