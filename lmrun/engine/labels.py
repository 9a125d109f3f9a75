"""What jobs and groups are called in results: the task's name, and what tells its settings apart.

``arc_easy`` where a manifest asks for it in one way; ``arc_easy@num_fewshot=0`` and ``arc_easy@num_fewshot=25`` where
it asks in two, be it by an axis, by two entries, or by an entry of its own and a group that holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.manifest import TaskSetting
from lmrun.requests import canonical_json
from lmrun.tasks import Selection

_LONGEST_VALUE = 16


def setting_as_json(setting: TaskSetting) -> dict[str, Any]:
    """What the manifest says of a task, without what it leaves open."""
    values = {
        "name": setting.name,
        "num_fewshot": setting.num_fewshot,
        "apply_chat_template": setting.apply_chat_template or None,
        "fewshot_as_multiturn": setting.fewshot_as_multiturn,
        "system_instruction": setting.system_instruction,
        "generation": dict(setting.generation) if setting.generation else None,
        "robust": setting.robust or None,
        "metadata": dict(setting.metadata) if setting.metadata else None,
        "compat": setting.compat,
        "limit": setting.limit,
        "seed": setting.seed,
    }
    return {name: value for name, value in values.items() if value is not None}


class Labels:
    """Labels of all tasks and groups that the settings of a manifest select."""

    def __init__(self, selected: Sequence[tuple[TaskSetting, Selection]]) -> None:
        self._settings = {id(setting): _without_name(setting) for setting, _ in selected}
        self._uses: dict[str, list[Mapping[str, Any]]] = {}
        for setting, selection in selected:
            for name in [task.task for task in selection.tasks] + [group.name for group in selection.groups]:
                self._uses.setdefault(name, []).append(self._settings[id(setting)])

    def suffix(self, name: str, setting: TaskSetting) -> str:
        """What tells this setting of ``name`` from its others; empty where there are none."""
        mine, uses = self._settings[id(setting)], self._uses[name]
        keys = {key for use in uses for key in use if any(other.get(key) != use.get(key) for other in uses)}
        parts = [f"{key}={_short(mine[key])}" for key in sorted(keys) if key in mine]
        return "@" + ",".join(parts) if parts else ""

    def label(self, name: str, setting: TaskSetting) -> str:
        """The name with its suffix."""
        return name + self.suffix(name, setting)


def _without_name(setting: TaskSetting) -> dict[str, Any]:
    values = setting_as_json(setting)
    del values["name"]
    return values


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _LONGEST_VALUE else hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
