"""Finding things by name in folders of data files, and saying well what is there when they are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lmrun.errors import DataError, did_you_mean

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def missing_split(dataset: str, split: str, available: Iterable[str]) -> DataError:
    """The error for a split that a dataset has not."""
    names = list(available)
    return DataError(
        f"dataset {dataset} has no split {split!r}; its splits: {', '.join(names) or 'none'}",
        hint=did_you_mean(split, names),
    )


def missing_config(dataset: str, config: str | None, available: Iterable[str], where: Path) -> DataError:
    """The error for a config that a dataset has not, or for a choice that the task has to make."""
    names = list(available)
    listed = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    if config is None:
        return DataError(
            f"dataset {dataset!r} in {where} has several configs: {listed}", hint="set dataset_name to one of them"
        )
    return DataError(
        f"dataset {dataset!r} in {where} has no config {config!r}; its configs: {listed or 'none'}",
        hint=did_you_mean(config, names),
    )


def config_folder(root: Path, config: str | None) -> Path | None:
    """The folder of a config: the one of that name; for None ``default``, else the only one there is.

    A named config never falls back to another one: other languages or subsets would be scored in its place.
    """
    if config is not None:
        folder = root / config
        return folder if folder.is_dir() else None
    folders = config_names(root)
    if "default" in folders:
        return root / "default"
    return root / folders[0] if len(folders) == 1 else None


def config_names(root: Path) -> list[str]:
    """Names of the config folders of a dataset, sorted."""
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))


def split_files(folder: Path, suffixes: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    """The splits of a folder: ``<split><suffix>``, or shards ``<split>-00000-of-00002<suffix>``.

    Where a split is there in several formats, the earlier of ``suffixes`` wins.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    splits: dict[str, tuple[Path, ...]] = {}
    for suffix in suffixes:
        found: dict[str, list[Path]] = {}
        for file in files:
            if file.name.endswith(suffix) and file.name != suffix:
                found.setdefault(_SHARD.sub("", file.name.removesuffix(suffix)), []).append(file)
        for name, parts in found.items():
            splits.setdefault(name, tuple(parts))
    return splits
