"""Which tasks, groups and tags there are in some folders, without loading any of them.

Each file contributes its own keys only; what an entry is called and what it is, is worked out from these and from the
files that it includes. So a changed template is read again alone, and a warm start stats the files and parses none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lmrun.errors import Location, Problem, TaskError
from lmrun.tasks.index_cache import Facts, IndexCache, Stamp, stamp
from lmrun.tasks.index_facts import FactsReader
from lmrun.tasks.problems import task_error

EntryKind = Literal["task", "python", "group", "tag"]

_IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}


class Entry(NamedTuple):
    """One name that can be asked for."""

    name: str
    kind: EntryKind
    """``python`` is a task that is a Python class."""
    file: str | None = None
    """The YAML file; None for a tag."""
    alias: str | None = None
    output_type: str | None = None
    dataset_path: str | None = None
    dataset_name: str | None = None
    docs: int | None = None
    """How many docs are evaluated, where ``metadata`` says so."""
    family: str | None = None
    """The folder directly below the tasks folder; None for a file that lies beside these, and for a tag."""
    tags: tuple[str, ...] = ()
    """Tags that the task or group states."""
    languages: tuple[str, ...] = ()
    """Codes of the languages, where ``metadata`` states them."""
    members: tuple[str, ...] = ()
    """Names of the tasks of a tag, sorted."""

    @property
    def path(self) -> Path | None:
        """The YAML file; None for a tag."""
        return Path(self.file) if self.file else None


_LISTS = slice(Entry._fields.index("tags"), None)
"""The fields of an entry that hold several texts."""


@dataclass(frozen=True, slots=True)
class TaskIndex:
    """Names in scan order, and what was wrong with files that could not be indexed."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...] = ()


def build_index(folders: Sequence[Path], cache_folder: Path | None = None) -> TaskIndex:
    """Index every ``*.yaml`` under ``folders``. A name in a later folder replaces the same name in an earlier one.

    Without ``cache_folder`` every file is parsed. A file that cannot be read is reported in ``problems`` and hides no
    other. Raises :class:`~lmrun.errors.TaskError` where a folder does not exist.
    """
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for folder in folders:
        if not folder.is_dir():
            raise task_error("cannot read tasks", f"there is no folder {folder}", Location(folder))
        names = _index_folder(os.path.realpath(folder), cache_folder)
        entries.update(names.entries)
        problems += names.problems
    return TaskIndex(entries, tuple(problems))


def entry_of_file(path: Path) -> Entry | None:
    """The entry that a single YAML file defines, or None where it defines neither a task nor a group."""
    file = os.path.realpath(path)
    entry = _entry(file, os.path.dirname(file), FactsReader({}, {}).merged(file))  # noqa: PTH120 - a text, as all here
    return None if entry is None or isinstance(entry, Problem) else entry


# -- scanning --------------------------------------------------------------------------------------


def _scan(folder: str) -> dict[str, Stamp]:
    """The YAML files with their stamps; links to folders are not followed, as they may lead in circles."""
    found: dict[str, Stamp] = {}
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as listing:
            for item in listing:
                if item.name.endswith(".yaml") and item.is_file():
                    found[item.path] = stamp(item.stat())
                elif item.is_dir(follow_symlinks=False) and item.name not in _IGNORED_FOLDERS:
                    pending.append(item.path)
    return found


@dataclass(slots=True)
class _Names:
    """What one folder holds."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """A list per field of the entries: read back far faster than a list per entry."""
        columns: list[list[Any]] = [list(column) for column in zip(*self.entries.values(), strict=True)]
        columns[_LISTS] = [["\n".join(texts) for texts in column] for column in columns[_LISTS]]
        return {"columns": columns, "problems": [_problem_as_json(problem) for problem in self.problems]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> _Names:
        """Inverse of :meth:`as_json`."""
        columns = value["columns"]
        columns[_LISTS] = [[tuple(text.split("\n")) if text else () for text in column] for column in columns[_LISTS]]
        entries = {entry.name: entry for entry in map(Entry, *columns)} if columns else {}
        return cls(entries, [_problem_from_json(*problem) for problem in value["problems"]])


def _index_folder(folder: str, cache_folder: Path | None) -> _Names:
    found = _scan(folder)
    if cache_folder is None:
        return _read_folder(folder, found, FactsReader({}, found))
    cache = IndexCache.of(cache_folder, folder)
    if remembered := cache.names(found):
        return _Names.from_json(remembered)
    reader = FactsReader(cache.facts(), found)
    names = _read_folder(folder, found, reader)
    cache.save(found, reader.included, names.as_json(), reader.facts)
    return names


def _read_folder(folder: str, found: Iterable[str], reader: FactsReader) -> _Names:
    names = _Names()
    members: dict[str, set[str]] = {}
    for file in sorted(found, key=_posix):
        try:
            entry = _entry(file, folder, reader.merged(file))
        except TaskError as error:
            names.problems.extend(error.problems)
            continue
        if isinstance(entry, Problem):
            names.problems.append(entry)
        elif entry is not None:
            _register(entry, names, members)
    for tag, tasks in members.items():
        if names.entries[tag].kind == "tag":
            names.entries[tag] = Entry(tag, "tag", members=tuple(sorted(tasks)))
    return names


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _register(entry: Entry, names: _Names, members: dict[str, set[str]]) -> None:
    if entry.name in names.entries:
        first = names.entries[entry.name].file
        kept = f"the one in {first} is used" if first else "a tag has that name already"
        names.problems.append(
            Problem(f"the name {entry.name!r} is taken: {kept}", Location(Path(entry.file or "")), hint="rename one")
        )
        return
    names.entries[entry.name] = entry
    if entry.kind == "group":
        return
    for tag in entry.tags:
        names.entries.setdefault(tag, Entry(tag, "tag"))
        members.setdefault(tag, set()).add(entry.name)


def _entry(file: str, folder: str, facts: Facts) -> Entry | Problem | None:
    kind: EntryKind
    if "class" in facts:
        kind = "python"
    elif "group" in facts:
        kind = "group"
    elif "task" in facts:
        kind = "task"
    else:
        return None  # a template that other files include
    key = "group" if kind == "group" else "task"
    name = facts.get(key)
    if not isinstance(name, str) or not name:
        return Problem(f"{key}: the name is not text", Location(Path(file)), expected=f"{key}: a_name")
    metadata = facts.get("metadata") or {}
    docs = metadata.get("docs")
    return Entry(
        name=name,
        kind=kind,
        file=file,
        alias=_text(facts.get("group_alias" if kind == "group" else "task_alias")),
        output_type=None if kind == "group" else _text(facts.get("output_type")) or "generate_until",
        dataset_path=_text(facts.get("dataset_path")),
        dataset_name=_text(facts.get("dataset_name")),
        docs=docs if isinstance(docs, int) else None,
        family=_family(file, folder),
        tags=_texts(facts.get("tag")),
        languages=_texts(metadata.get("languages")),
    )


def _family(file: str, folder: str) -> str | None:
    first, *below = file[len(folder) + 1 :].split(os.sep, 1)
    return first if below else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))


def _problem_as_json(problem: Problem) -> list[Any]:
    at = problem.location
    return [problem.message, [str(at.file), at.line, at.column] if at else None, problem.expected, problem.hint]


def _problem_from_json(message: str, at: list[Any] | None, *more: str | None) -> Problem:
    return Problem(message, Location(Path(at[0]), *at[1:]) if at else None, *more)


def all_names(entries: Iterable[Entry], kind: str | None) -> list[str]:
    """Sorted names of one kind; ``"task"`` includes Python tasks, None is every name."""
    kinds = {"task": ("task", "python")}.get(kind or "", (kind,))
    return sorted(entry.name for entry in entries if kind is None or entry.kind in kinds)
