"""Jobs to preview: those of a manifest, or one task as the command line names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmrun.engine.inputs import Overrides, open_manifest, open_sources, task_sources
from lmrun.engine.plan import PlannedJob, plan_jobs
from lmrun.manifest import TaskSetting


def preview_jobs(
    manifest: str | None, tasks: Sequence[str], num_fewshot: int | None, overrides: Overrides
) -> Sequence[PlannedJob]:
    """Planned jobs, with nothing but tasks and data behind them."""
    if manifest is not None:
        loaded = open_manifest(manifest, overrides)
        settings, sources = loaded.tasks, open_sources(loaded)
        if num_fewshot is not None:
            settings = tuple(replace(setting, num_fewshot=num_fewshot) for setting in settings)
    else:
        settings = tuple(TaskSetting(name=_absolute(name), num_fewshot=num_fewshot) for name in tasks)
        paths, mirror = overrides.tasks_paths, overrides.mirror
        files = [Path(setting.name) for setting in settings if Path(setting.name).is_absolute()]
        sources = task_sources(paths, mirror, files, trust=overrides.trust, offline=overrides.offline)
    return plan_jobs(settings, sources)[0]


def _absolute(name: str) -> str:
    path = Path(name)
    return str(path.absolute()) if path.suffix in (".yaml", ".yml") and path.exists() else name
