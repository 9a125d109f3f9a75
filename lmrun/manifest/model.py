"""A manifest, resolved: includes merged, overrides applied, axes expanded, paths absolute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmrun.errors import Location
from lmrun.manifest.backends import OWN_KEYS
from lmrun.manifest.model_tables import OPERATIONAL
from lmrun.manifest.values import DEFAULT_NGRAM, DEFAULT_SEED


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a task says nothing else; already applied to every :class:`TaskSetting`."""

    seed: int = DEFAULT_SEED
    limit: int | float | None = None
    """Docs per task, or a share of them below 1; None for all."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model, as a backend gets it."""

    name: str
    """Unique in the manifest."""
    backend: str
    model: str
    """Hub id, absolute path, served name or ``bundled:demo``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the backend's keys say; for ``hf`` with defaults filled in, and absent keys left out."""
    location: Location | None = field(default=None, compare=False)
    """The ``[[models]]`` entry."""


@dataclass(frozen=True, slots=True)
class TaskSetting:
    """One task, group, tag or wildcard, and how to ask it."""

    name: str
    """Task, group, tag, wildcard, or absolute path of a YAML."""
    num_fewshot: int | None = None
    """None: what the task says."""
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool | None = None
    """None: true where a chat template is applied."""
    system_instruction: str | None = None
    generation: Mapping[str, Any] | None = None
    robust: bool = False
    """Score generated answers also by a robust filter that fits the targets."""
    metadata: Mapping[str, Any] | None = None
    """Put over that of every task."""
    compat: Literal["lm-eval"] | None = None
    limit: int | float | None = None
    """Docs, or a share of them below 1; None for all."""
    seed: int = DEFAULT_SEED
    location: Location | None = field(default=None, compare=False)
    """The ``[[tasks]]`` entry; None for one that came from the command line."""


@dataclass(frozen=True, slots=True)
class TasksPath:
    """Folders with further task YAMLs."""

    paths: tuple[Path, ...] = ()
    """Absolute."""
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Where datasets come from."""

    mirror: Path | None = None
    """Absolute."""
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Decontaminate:
    """Where docs of the tasks are looked for."""

    corpora: tuple[str, ...]
    """Absolute paths, or patterns of such."""
    ngram: int | Literal["auto"] = DEFAULT_NGRAM
    field: str = "text"


@dataclass(frozen=True, slots=True)
class Run:
    """Where results go, relative to the current directory."""

    runs_dir: Path = Path("runs")
    cache: Path = Path("runs/cache.db")
    budget_usd: float | None = None
    budget_tokens: int | None = None
    prices: Path | None = None
    """Absolute."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which models answer which tasks, and how. Equal manifests ask for the same, wherever they were written."""

    name: str
    path: Path = field(compare=False)
    """The file that was loaded, absolute."""
    models: tuple[ModelEntry, ...]
    tasks: tuple[TaskSetting, ...]
    defaults: Defaults = Defaults()
    tasks_path: TasksPath = TasksPath()
    data: Data = Data()
    decontaminate: Decontaminate | None = None
    run: Run = Run()

    def resolved_toml(self) -> str:
        """TOML text that loads to an equal manifest from any folder, without the files that this one came from."""
        import tomlkit

        tables = {**_identity(self), **_permissions(self)}
        # Left to [defaults], so that a change of the defaults still reaches the tasks of the resolved manifest.
        common = tables["defaults"]
        tables["tasks"] = [
            {key: value for key, value in task.items() if key not in common or value != common[key]}
            for task in tables["tasks"]
        ]
        text = tomlkit.dumps(_without_none(tables))
        return f"# {self.name}: the manifest as resolved\n{text}"


def manifest_hash(manifest: Manifest) -> str:
    """SHA-256 over everything that decides what is asked and how: equal for runs that can continue each other.

    Not in it: where results go and what they may cost (``run``), what is only a permission (``data.offline``,
    ``tasks_path.trust``), and how fast and with which key a server is asked (``OPERATIONAL``).
    """
    text = json.dumps(_identity(manifest), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "defaults": {"seed": manifest.defaults.seed, "limit": manifest.defaults.limit},
        "models": [_without(_model_table(model), OPERATIONAL) for model in manifest.models],
        "tasks": [_task_table(task) for task in manifest.tasks],
        "tasks_path": {"paths": [str(path) for path in manifest.tasks_path.paths]},
        "data": {"mirror": str(manifest.data.mirror) if manifest.data.mirror else None},
        **({"decontaminate": _decontaminate_table(sought)} if (sought := manifest.decontaminate) else {}),
    }


def _decontaminate_table(sought: Decontaminate) -> dict[str, Any]:
    return {"corpora": list(sought.corpora), "ngram": sought.ngram, "field": sought.field}


def _permissions(manifest: Manifest) -> dict[str, Any]:
    identity = _identity(manifest)
    return {
        "tasks_path": {**identity["tasks_path"], "trust": manifest.tasks_path.trust},
        "data": {**identity["data"], "offline": manifest.data.offline},
        "models": [_model_table(model) for model in manifest.models],
        "run": {
            "runs_dir": str(manifest.run.runs_dir),
            "cache": str(manifest.run.cache),
            "budget_usd": manifest.run.budget_usd,
            "budget_tokens": manifest.run.budget_tokens,
            "prices": str(manifest.run.prices) if manifest.run.prices else None,
        },
    }


def _model_table(model: ModelEntry) -> dict[str, Any]:
    # In the file, options of our own backends stand beside the other keys; those of a plug-in have a table.
    options = dict(model.options)
    beside = options if model.backend in OWN_KEYS else {"options": options} if options else {}
    return {"name": model.name, "backend": model.backend, "model": model.model, **beside}


def _without(table: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _task_table(task: TaskSetting) -> dict[str, Any]:
    return {
        "name": task.name,
        "num_fewshot": task.num_fewshot,
        "apply_chat_template": task.apply_chat_template,
        "fewshot_as_multiturn": task.fewshot_as_multiturn,
        "system_instruction": task.system_instruction,
        "generation": dict(task.generation) if task.generation is not None else None,
        "robust": task.robust or None,
        "metadata": dict(task.metadata) if task.metadata is not None else None,
        "compat": task.compat,
        "limit": task.limit,
        "seed": task.seed,
    }


def _without_none(value: Any) -> Any:
    """TOML has no empty value; an absent key says the same."""
    if isinstance(value, dict):
        return {key: _without_none(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_none(member) for member in value]
    return value
