"""The few keys of task files that the index needs, from the cache where a file is unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun.errors import Location, TaskError
from lmrun.tasks.index_cache import Facts, Stamp, stamp_of
from lmrun.tasks.problems import task_error
from lmrun.tasks.yaml import Document, include_targets

_KEPT = ("task", "group", "tag", "output_type", "dataset_path", "dataset_name", "task_alias", "group_alias")
_KEPT_OF_METADATA = ("docs", "languages")


class FactsReader:
    """Facts of the files of one folder; each file is looked at once."""

    def __init__(self, known: Mapping[str, tuple[Stamp, Facts]], stamps: Mapping[str, Stamp]) -> None:
        """``known`` is what the cache remembers, ``stamps`` are those of the files of the folder."""
        self._known = known
        self._stamps = stamps
        self.included: dict[str, Stamp | None] = {}
        """Files elsewhere that were looked at; None for one that is missing."""
        self.facts: dict[str, tuple[Stamp, Facts]] = {}
        """What is now known of every file."""

    def merged(self, file: str, including: tuple[str, ...] = ()) -> Facts:
        """Facts of a file and of everything that it includes. Raises TaskError where one of them is broken."""
        own = self._sound(file)
        if "include" not in own:
            return own
        merged: Facts = {}
        for target in own["include"]:
            if target == file or target in including:
                raise task_error(
                    f"cannot read task file {file}", "include: a file includes itself", Location(Path(file))
                )
            merged.update(self.merged(target, (*including, file)))
        merged.update(own)
        return merged

    def _sound(self, file: str) -> Facts:
        facts = self.facts[file][1] if file in self.facts else self._read(file)
        broken = facts.get("broken")
        if broken:
            message, line, column = broken
            raise task_error(f"cannot read task file {file}", message, Location(Path(file), line, column))
        return facts

    def _read(self, file: str) -> Facts:
        stamp = self._stamps.get(file)
        if stamp is None:
            stamp = self.included[file] = stamp_of(file)
        if stamp is None:
            return {"broken": ["there is no such file, or it cannot be read", None, None]}
        known = self._known.get(file)
        facts = known[1] if known and known[0] == stamp else _read_facts(Path(file))
        self.facts[file] = (stamp, facts)
        return facts


def _read_facts(path: Path) -> Facts:
    """The facts of one file, as JSON values."""
    try:
        document = Document(path)
        nodes = document.nodes()
        facts: Facts = {key: _plain(document, nodes[key][1]) for key in _KEPT if key in nodes}
        if "class" in nodes:
            facts["class"] = True
        if "metadata" in nodes:
            facts["metadata"] = _metadata(document, nodes["metadata"][1])
        if "include" in nodes:
            key, value = nodes["include"]
            targets = include_targets(document.construct(value), path.parent, document.place(key))
            facts["include"] = [str(target) for target in targets]
    except TaskError as error:
        problem = error.problems[0]
        where = problem.location or Location(path)
        return {"broken": [problem.message, where.line, where.column]}
    return facts


def _metadata(document: Document, node: Any) -> Facts:
    pairs = node.value if node.id == "mapping" else ()
    return {key.value: _plain(document, value) for key, value in pairs if key.value in _KEPT_OF_METADATA}


def _plain(document: Document, node: Any) -> Any:
    """Text, number or list of texts; anything else (the members of a group, say) is of no use to the index: None."""
    if node.id == "mapping" or (node.id == "sequence" and any(item.id != "scalar" for item in node.value)):
        return None
    value = document.construct(node)
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return value if isinstance(value, (str, int, float)) else None
