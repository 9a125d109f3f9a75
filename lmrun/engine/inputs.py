"""From what a user typed to a manifest, and to its tasks with their data and code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lmrun import bundled
from lmrun.code import TaskFunctions
from lmrun.data import DataSource
from lmrun.engine.catalog import select_tasks, task_catalog
from lmrun.errors import LmrunError, ManifestError, Problem, did_you_mean
from lmrun.functions import Functions
from lmrun.manifest import Manifest, Run, load_manifest
from lmrun.tasks import TaskCatalog


@dataclass(frozen=True, slots=True)
class Overrides:
    """Command-line options that win over the manifest; None and empty leave it as it is."""

    limit: float | None = None
    tasks_paths: Sequence[Path] = ()
    trust: bool = False
    mirror: Path | None = None
    offline: bool = False
    runs_dir: Path | None = None
    cache: Path | None = None
    assignments: Sequence[str] = ()
    """``a.b=v`` texts."""


def manifest_path(name: str) -> Path:
    """The manifest file that ``name`` means: a path, or the name of a bundled manifest.

    Raises:
        ManifestError: if there is none.
    """
    path = Path(name)
    if path.exists():
        return path
    inside = {p.stem: p for p in bundled.configs_dir().glob("*.toml")}
    if path.suffix in ("", ".toml") and path.stem in inside and path.parent.name in ("", "configs"):
        return inside[path.stem]
    folder = path.parent if path.parent.is_dir() else Path()
    hint = did_you_mean(path.name, [*(p.name for p in folder.glob("*.toml")), *inside])
    bundle = f"bundled manifests: {', '.join(sorted(inside))}; or make one with `lmrun init`"
    raise ManifestError(f"there is no manifest {name!r}", hint=hint or bundle)


def open_manifest(name: str, overrides: Overrides) -> Manifest:
    """Load a manifest with the command line's overrides applied. Raises :class:`~lmrun.errors.ManifestError`."""
    manifest = load_manifest(manifest_path(name), overrides.assignments, partial(_unknown_tasks, overrides))
    limit = _limit(overrides.limit)
    if limit is not None:
        tasks = tuple(replace(task, limit=limit) for task in manifest.tasks)
        manifest = replace(manifest, tasks=tasks, defaults=replace(manifest.defaults, limit=limit))
    paths, data, run = manifest.tasks_path, manifest.data, manifest.run
    extra = tuple(path.absolute() for path in overrides.tasks_paths)
    runs_dir = overrides.runs_dir or run.runs_dir
    # Where only the runs folder is moved, its cache goes along.
    moved = overrides.runs_dir / run.cache.name if overrides.runs_dir and run.cache == Run().cache else run.cache
    return replace(
        manifest,
        tasks_path=replace(paths, paths=(*paths.paths, *extra), trust=paths.trust or overrides.trust),
        data=replace(
            data,
            mirror=overrides.mirror.absolute() if overrides.mirror else data.mirror,
            offline=data.offline or overrides.offline,
        ),
        run=replace(run, runs_dir=runs_dir, cache=overrides.cache or moved),
    )


def _unknown_tasks(overrides: Overrides, manifest: Manifest) -> Sequence[Problem]:
    """Names of tasks that mean nothing, so that they need not wait until all else is right."""
    paths = (*manifest.tasks_path.paths, *overrides.tasks_paths)
    try:
        return select_tasks(manifest.tasks, task_catalog(paths))[1]
    except LmrunError:  # a folder of tasks is not there
        return ()


def _limit(limit: float | None) -> int | float | None:
    if limit is None:
        return None
    if limit <= 0 or (limit > 1 and limit != int(limit)):
        raise ManifestError(
            f"--limit {limit:g}: not a number of docs", hint="give a whole number, or a fraction below 1"
        )
    return limit if limit < 1 else int(limit)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where tasks come from, with their data and their code."""

    catalog: TaskCatalog
    data: DataSource
    functions: Functions


def open_sources(manifest: Manifest) -> Sources:
    """What a manifest can name, where its datasets come from, and which code of tasks may run."""
    paths = manifest.tasks_path
    files = _task_files([setting.name for setting in manifest.tasks], manifest.path.parent)
    return task_sources(paths.paths, manifest.data.mirror, files, trust=paths.trust, offline=manifest.data.offline)


def _task_files(names: Iterable[str], base: Path) -> list[Path]:
    """The task files among the names of tasks; relative ones count from ``base``."""
    return [base / name for name in names if name.endswith((".yaml", ".yml"))]


def task_sources(
    tasks_paths: Sequence[Path], mirror: Path | None, files: Sequence[Path] = (), *, trust: bool, offline: bool
) -> Sources:
    """Sources over the bundled tasks and those of extra folders.

    ``trust`` is for the code of these folders, and of the folders of task ``files`` that are named by path.
    """
    if offline:
        # The libraries below read these when they are imported; they are the only ones that would open a socket.
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    trusted = (*tasks_paths, *dict.fromkeys(file.parent for file in files)) if trust else ()
    functions = TaskFunctions(trusted, offline=offline)
    return Sources(task_catalog(tasks_paths), DataSource(mirror, offline), functions)
