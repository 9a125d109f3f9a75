"""Which datasets and splits a manifest needs, for making a mirror."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.data import DatasetSpec
from lmrun.engine.inputs import Sources
from lmrun.manifest import TaskSetting
from lmrun.tasks import build_task


def needed_splits(settings: Sequence[TaskSetting], sources: Sources) -> list[tuple[DatasetSpec, tuple[str, ...]]]:
    """Every dataset with the splits that are evaluated or that few-shot examples come from."""
    needs: dict[str, tuple[DatasetSpec, tuple[str, ...]]] = {}
    for setting in settings:
        for config in sources.catalog.resolve(
            setting.name, base=setting.location.file.parent if setting.location else None
        ).tasks:
            if config.custom_dataset or config.python_class:
                continue  # its docs are made, not fetched
            task = build_task(config, sources.data, sources.functions)
            spec, splits = task.dataset, task.split_names
            key = spec.key
            known = needs[key][1] if key in needs else ()
            needs[key] = (spec, tuple(dict.fromkeys((*known, *splits))))
    return list(needs.values())
