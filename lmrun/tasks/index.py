"""Which tasks, groups and tags there are in some folders, without loading any of them.

Each file contributes its own keys only; what an entry is called and what it is, is worked out from these and from the
files that it includes. So a changed template is read again alone, and a warm start stats the files and parses none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmrun.errors import Location, Problem, TaskError
from lmrun.tasks.index_cache import Facts, FactsCache
from lmrun.tasks.problems import task_error
from lmrun.tasks.yaml import Document, include_targets

EntryKind = Literal["task", "python", "group", "tag"]

_KEPT = ("task", "group", "tag", "output_type", "dataset_path", "dataset_name", "task_alias", "group_alias")
_IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True, slots=True)
class Entry:
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
    tags: tuple[str, ...] = ()
    """Tags that the task or group states."""
    members: tuple[str, ...] = ()
    """Names of the tasks of a tag, sorted."""

    @property
    def path(self) -> Path | None:
        """The YAML file; None for a tag."""
        return Path(self.file) if self.file else None


@dataclass(frozen=True, slots=True)
class TaskIndex:
    """Names in scan order, and what was wrong with files that could not be indexed."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...] = ()


def build_index(folders: Sequence[Path], cache_file: Path | None = None) -> TaskIndex:
    """Index every ``*.yaml`` under ``folders``. A name in a later folder replaces the same name in an earlier one.

    Without ``cache_file`` every file is parsed. A file that cannot be read is reported in ``problems`` and hides no
    other. Raises :class:`~lmrun.errors.TaskError` where a folder does not exist.
    """
    cache = FactsCache.load(cache_file) if cache_file else FactsCache(Path(os.devnull))
    reader = _FactsReader(cache)
    entries: dict[str, Entry] = {}
    for folder in folders:
        if not folder.is_dir():
            raise task_error("cannot read tasks", f"there is no folder {folder}", Location(folder))
        entries.update(_index_folder(os.path.realpath(folder), reader))
    if cache_file:
        cache.save()
    return TaskIndex(entries, tuple(reader.problems))


def entry_of_file(path: Path) -> Entry | None:
    """The entry that a single YAML file defines, or None where it defines neither a task nor a group."""
    reader = _FactsReader(FactsCache(Path(os.devnull)))
    file = os.path.realpath(path)
    entry = _entry(file, reader.merged(file))
    return None if entry is None or isinstance(entry, Problem) else entry


# -- scanning --------------------------------------------------------------------------------------


def _scan(folder: str) -> Iterator[tuple[str, int, int]]:
    """Path, mtime and size of each YAML file; links to folders are not followed, as they may lead in circles."""
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as listing:
            for item in listing:
                if item.is_dir(follow_symlinks=False):
                    if item.name not in _IGNORED_FOLDERS:
                        pending.append(item.path)
                elif item.name.endswith(".yaml") and item.is_file():
                    stat = item.stat()
                    yield item.path, stat.st_mtime_ns, stat.st_size


def _index_folder(folder: str, reader: _FactsReader) -> dict[str, Entry]:
    found = {path: (mtime_ns, size) for path, mtime_ns, size in _scan(folder)}
    reader.cache.drop_missing(folder, found)
    reader.stats.update(found)
    names: dict[str, Entry] = {}
    members: dict[str, set[str]] = {}
    for file in sorted(found, key=_posix):
        try:
            entry = _entry(file, reader.merged(file))
        except TaskError as error:
            reader.problems.extend(error.problems)
            continue
        if isinstance(entry, Problem):
            reader.problems.append(entry)
        elif entry is not None:
            _register(entry, names, members, reader.problems)
    for tag, tasks in members.items():
        if names[tag].kind == "tag":
            names[tag] = Entry(tag, "tag", members=tuple(sorted(tasks)))
    return names


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _register(entry: Entry, names: dict[str, Entry], members: dict[str, set[str]], problems: list[Problem]) -> None:
    if entry.name in names:
        first = names[entry.name].file
        kept = f"the one in {first} is used" if first else "a tag has that name already"
        problems.append(
            Problem(f"the name {entry.name!r} is taken: {kept}", Location(Path(entry.file or "")), hint="rename one")
        )
        return
    names[entry.name] = entry
    if entry.kind == "group":
        return
    for tag in entry.tags:
        names.setdefault(tag, Entry(tag, "tag"))
        members.setdefault(tag, set()).add(entry.name)


def _entry(file: str, facts: Facts) -> Entry | Problem | None:
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
    tag = facts.get("tag")
    return Entry(
        name=name,
        kind=kind,
        file=file,
        alias=_text(facts.get("group_alias" if kind == "group" else "task_alias")),
        output_type=None if kind == "group" else _text(facts.get("output_type")) or "generate_until",
        dataset_path=_text(facts.get("dataset_path")),
        dataset_name=_text(facts.get("dataset_name")),
        tags=tuple(t for t in (tag if isinstance(tag, list) else [tag]) if isinstance(t, str)),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


# -- facts -----------------------------------------------------------------------------------------


@dataclass
class _FactsReader:
    """Facts of files, from the cache where a file is unchanged; each file is looked at once."""

    cache: FactsCache
    stats: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _own: dict[str, Facts] = field(default_factory=dict)

    def merged(self, file: str, including: tuple[str, ...] = ()) -> Facts:
        """Facts of a file and of everything that it includes. Raises TaskError where one of them is broken."""
        own = self._facts(file)
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

    def _facts(self, file: str) -> Facts:
        facts = self._own.get(file)
        if facts is None:
            facts = self._own[file] = self._cached_or_read(file)
        broken = facts.get("broken")
        if broken:
            message, line, column = broken
            raise task_error(f"cannot read task file {file}", message, Location(Path(file), line, column))
        return facts

    def _cached_or_read(self, file: str) -> Facts:
        if file not in self.stats:
            try:
                stat = Path(file).stat()
            except OSError as error:
                return {"broken": [f"cannot be read: {error.strerror}", None, None]}
            self.stats[file] = (stat.st_mtime_ns, stat.st_size)
        facts = self.cache.get(file, *self.stats[file])
        if facts is None:
            facts = _read_facts(Path(file))
            self.cache.put(file, *self.stats[file], facts)
        return facts


def _read_facts(path: Path) -> Facts:
    """The keys of one file that the index needs, as JSON values."""
    try:
        document = Document(path)
        nodes = document.nodes()
        facts: Facts = {key: _plain(document, nodes[key][1]) for key in _KEPT if key in nodes}
        if "class" in nodes:
            facts["class"] = True
        if "include" in nodes:
            key, value = nodes["include"]
            targets = include_targets(document.construct(value), path.parent, document.place(key))
            facts["include"] = [str(target) for target in targets]
    except TaskError as error:
        problem = error.problems[0]
        where = problem.location or Location(path)
        return {"broken": [problem.message, where.line, where.column]}
    return facts


def _plain(document: Document, node: Any) -> Any:
    """Text, number or list of texts; anything else (the members of a group, say) is of no use to the index: None."""
    if node.id == "mapping" or (node.id == "sequence" and any(item.id != "scalar" for item in node.value)):
        return None
    value = document.construct(node)
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return value if isinstance(value, (str, int, float)) else None


def all_names(entries: Iterable[Entry], kind: str | None) -> list[str]:
    """Sorted names of one kind; ``"task"`` includes Python tasks, None is every name."""
    kinds = {"task": ("task", "python")}.get(kind or "", (kind,))
    return sorted(entry.name for entry in entries if kind is None or entry.kind in kinds)
