"""From a name, a wildcard or a path to the tasks it stands for, in order, and the groups that hold them.

Where lm-eval cannot load what a task file plainly means (an override of a group that renames its tasks, an ``include``
inside a member, a group file given by path), the plain meaning is taken.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

from lmrun.errors import Location, Problem, TaskError, did_you_mean
from lmrun.functions import FunctionRef
from lmrun.tasks.config import TaskConfig, task_config
from lmrun.tasks.index import Entry, TaskIndex, entry_of_file
from lmrun.tasks.problems import listing, task_error
from lmrun.tasks.yaml import TaskFiles, YamlMapping

_GROUP_KEYS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata")
_AGGREGATE_KEYS = ("metric", "filter_list", "aggregation", "weight_by_size")


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """One entry of a group's ``aggregate_metric_list``. The value is always a mean over the tasks of the group."""

    metric: str
    filter_list: tuple[str, ...] | None = None
    """Names of filter pipelines; None is every one that the tasks have."""
    weight_by_size: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """A group with the names beneath it."""

    name: str
    alias: str | None
    version: str
    """``metadata.version`` as text, else ``"N/A"``."""
    children: tuple[str, ...]
    """Names of the tasks and groups directly beneath, in order."""
    tasks: tuple[str, ...]
    """Names of all tasks beneath, at any depth, in order."""
    aggregates: tuple[AggregateSpec, ...] = ()
    """Empty: the group only holds its tasks together."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a pattern stands for."""

    tasks: tuple[TaskConfig, ...]
    """Every task once, in order; those of a group depth first."""
    groups: tuple[Group, ...]
    """Every group once, a parent before its children."""
    names: tuple[str, ...]
    """The top: tasks that were asked for by themselves, and outermost groups."""


@dataclass
class _Node:
    """A group while it is built; its children are groups and tasks."""

    name: str
    alias: str | None = None
    version: str = "N/A"
    aggregates: tuple[AggregateSpec, ...] = ()
    children: dict[str, _Node | TaskConfig] = field(default_factory=dict)

    def add(self, child: _Node | TaskConfig) -> None:
        """Add a member. The same one again changes nothing; another one of that name is an error.

        Tasks that stand inside a group have no file that a name would be looked up in, so the second gets a number.
        """
        known = self.children.setdefault(child.name if isinstance(child, _Node) else child.task, child)
        if known is child:
            return
        if isinstance(child, TaskConfig) and child.source is None and child != known:
            self.add(replace(child, task=_next_name(child.task)))
            return
        _refuse_difference(_leaves(known), _leaves(child))

    def leaves(self) -> Iterable[TaskConfig]:
        for child in self.children.values():
            yield from _leaves(child)

    def subgroups(self) -> Iterable[_Node]:
        for child in self.children.values():
            if isinstance(child, _Node):
                yield child
                yield from child.subgroups()


@dataclass(frozen=True, slots=True)
class _Parent:
    """What a member needs to know of the group that it stands in."""

    name: str
    over: YamlMapping
    """What the group puts over its tasks."""
    place: Location | None
    inside: tuple[str, ...]
    """Names of the groups around it, itself the last."""
    source: Path


class Resolver:
    """Resolves patterns against an index."""

    def __init__(self, index: TaskIndex, metadata: Mapping[str, Any] | None = None) -> None:
        """``metadata`` is put over the metadata of every task and group."""
        self._index = index
        self._metadata = dict(metadata or {})
        self._entries = index.entries
        self._files = TaskFiles()
        self._plain: dict[Path, TaskConfig] = {}

    def resolve(self, pattern: str, base: Path | None = None) -> Selection:
        """Find what ``pattern`` names.

        A name in the index is taken first; else a text that ends in ``.yaml`` is a path (relative to ``base``, and it
        may hold wildcards), that of a folder stands for the YAML files directly inside, and one with ``*``, ``?`` or
        ``[`` is a wildcard over all names. Raises :class:`~lmrun.errors.TaskError`.
        """
        items: list[_Node | TaskConfig] = []
        for entry in self._matches(pattern, base or Path()):
            items += self._build(entry, YamlMapping(), ())
        return _selection(items)

    # -- names -------------------------------------------------------------------------------------

    def _matches(self, pattern: str, base: Path) -> list[Entry]:
        if pattern in self._entries:
            return [self._entries[pattern]]
        path = base / Path(pattern).expanduser()
        if pattern.endswith((".yaml", ".yml")):
            return [self._entry_of(path)] if path.is_file() else _entries_of(pattern, path, base)
        if "/" in pattern and path.is_dir():
            return _entries_of(pattern, path / "*.yaml", base)
        if any(mark in pattern for mark in "*?["):
            matches = sorted(name for name in self._entries if fnmatchcase(name, pattern))
            if matches:
                return [self._entries[name] for name in matches]
        raise self._unknown(pattern)

    def _entry_of(self, path: Path) -> Entry:
        entry = entry_of_file(path)
        if entry is None:
            raise task_error(
                f"cannot use {path} as a task",
                "it defines neither a task nor a group",
                Location(path),
                expected="task: NAME",
            )
        return entry

    def _unknown(self, name: str) -> TaskError:
        several = [part for part in re.split(r"[\s,]+", name) if part]
        hint = did_you_mean(name, self._entries) or "`lmrun ls tasks` lists what there is"
        if len(several) > 1:
            hint = f"name several tasks as a list: name = {json.dumps(several)}"
        error = task_error(f"unknown task {name!r}", f"there is no task, group or tag {name!r}", hint=hint)
        return TaskError(error.message, hint=hint, problems=error.problems + self._broken(name))

    def _broken(self, name: str) -> tuple[Problem, ...]:
        """Problems of files called like a missing task: it may be missing because its file is broken."""
        return tuple(p for p in self._index.problems if p.location and p.location.file.stem == name)

    # -- building ----------------------------------------------------------------------------------

    def _build(self, entry: Entry, over: YamlMapping, inside: tuple[str, ...]) -> list[_Node | TaskConfig]:
        """An entry as tasks and groups; a tag is its tasks, sorted by name."""
        if entry.kind == "tag":
            return [self._task(self._entries[name], over) for name in entry.members]
        if entry.kind == "group":
            path = entry.path or Path()
            return [self._group(entry.name, self._files.load(path), over, (*inside, entry.name), path)]
        return [self._task(entry, over)]

    def _task(self, entry: Entry, over: YamlMapping) -> TaskConfig:
        path = entry.path or Path()
        if over.values:
            return task_config(self._files.load(path).under(over), path, self._metadata)
        # A wildcard reaches most tasks several times: by name, by tags and through groups.
        if path not in self._plain:
            self._plain[path] = task_config(self._files.load(path), path, self._metadata)
        return self._plain[path]

    def _group(self, name: str, own: YamlMapping, over: YamlMapping, inside: tuple[str, ...], source: Path) -> _Node:
        if name in inside[:-1]:
            chain = " → ".join(inside)
            raise task_error(f"cannot use group {name!r}", f"a group holds itself: {chain}", own.places.get("task"))
        # What a parent says about the group itself; everything else that it says is for the tasks.
        stated = own.under(over.only("group_alias", "aggregate_metric_list"))
        node = _Node(name, *_group_facts(name, stated, self._metadata))
        members = own.values.get("task")
        below = own.without(*_GROUP_KEYS).under(over.without("group_alias", "aggregate_metric_list"))
        parent = _Parent(name, below, own.places.get("task"), inside, source)
        for member in members if isinstance(members, list) else [members] if members else []:
            for child in self._member(_nameless(member), parent):
                node.add(child)
        return node

    def _member(self, member: Any, parent: _Parent) -> list[_Node | TaskConfig]:
        if isinstance(member, str):
            entry = self._entries.get(member)
            if entry is None:
                raise self._unknown_member(member, parent)
            return self._build(entry, parent.over, parent.inside)
        key = _member_key(member, parent)
        name = member[key]
        item = YamlMapping(dict(member), dict.fromkeys(member, parent.place) if parent.place else {})
        # A group with members of its own is meant, even where something else has its name.
        entry = None if key == "group" and item.values.get("task") else self._entries.get(name)
        if entry is not None:
            own = self._files.merge(item, parent.source.parent).without("task", "group")
            return self._build(entry, parent.over.under(own), parent.inside)
        if key == "task":
            return [self._inline_task(name, item, parent)]
        inner = f"{parent.name}::{name}"
        own = self._files.merge(item, parent.source.parent)
        return [self._group(inner, own, parent.over, (*parent.inside, inner), parent.source)]

    def _inline_task(self, name: str, item: YamlMapping, parent: _Parent) -> TaskConfig:
        """A task that stands inside a group: what it includes, under what the group says, under its own keys."""
        included = self._files.merge(item.only("include"), parent.source.parent)
        own = included.under(parent.over).under(item.without("include"))
        if not {"dataset_path", "custom_dataset", "doc_to_text", "class"} & own.values.keys():
            raise self._unknown_member(name, parent)
        return task_config(own.under(YamlMapping({"task": f"{parent.name}::{name}"})), None, self._metadata)

    def _unknown_member(self, name: str, parent: _Parent) -> TaskError:
        hint = (
            did_you_mean(name, self._entries) or "add the folder that defines it to [tasks_path] paths (--tasks-path)"
        )
        message = f"its member {name!r} is no task, group or tag"
        error = task_error(f"cannot use group {parent.name!r}", message, parent.place, hint=hint)
        return TaskError(error.message, hint=hint, problems=error.problems + self._broken(name))


def _next_name(name: str) -> str:
    stem, mark, number = name.rpartition("#")
    return f"{stem}#{int(number) + 1}" if mark and number.isdigit() else f"{name}#2"


def _nameless(member: Any) -> Any:
    """A task that stands inside a group and has no name is called by its data."""
    if isinstance(member, Mapping) and not {"task", "group"} & member.keys() and "dataset_path" in member:
        parts = (str(member["dataset_path"]).rpartition("/")[2], member.get("dataset_name"))
        return {"task": "_".join(str(part) for part in parts if part), **member}
    return member


def _member_key(member: Any, parent: _Parent) -> str:
    if isinstance(member, Mapping):
        for key in ("group", "task"):
            if isinstance(member.get(key), str):
                return key
    stated = f"keys {listing(map(str, member))}" if isinstance(member, Mapping) else repr(member)
    raise task_error(
        f"cannot use group {parent.name!r}",
        f"a member names neither a task nor a group: {stated}",
        parent.place,
        expected="the name of a task, group or tag, or a mapping with task: NAME or group: NAME",
    )


def _entries_of(pattern: str, path: Path, base: Path) -> list[Entry]:
    """What the files of a path with wildcards define; templates among them define nothing."""
    files = [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute patterns
    entries = [entry for file in files if (entry := entry_of_file(file))]
    if not entries:
        hint = None if Path(pattern).is_absolute() else f"a relative path counts from {base.resolve()}"
        what = "no file there defines a task or a group" if files else f"there is no file {path}"
        raise task_error(f"unknown task {pattern!r}", what, hint=hint)
    return entries


def _group_facts(
    name: str, own: YamlMapping, metadata: Mapping[str, Any]
) -> tuple[str | None, str, tuple[AggregateSpec, ...]]:
    alias = own.values.get("group_alias")
    said = own.values.get("metadata")
    version = {**(said if isinstance(said, Mapping) else {}), **metadata}.get("version")
    stated = own.values.get("aggregate_metric_list") or []
    place = own.places.get("aggregate_metric_list")
    aggregates = tuple(_aggregate(name, item, place) for item in (stated if isinstance(stated, list) else [stated]))
    return None if alias is None else str(alias), "N/A" if version is None else str(version), aggregates


def _aggregate(group: str, item: Any, place: Location | None) -> AggregateSpec:
    def fail(message: str, expected: str, hint: str | None = None) -> TaskError:
        return task_error(
            f"cannot use group {group!r}", f"aggregate_metric_list: {message}", place, expected=expected, hint=hint
        )

    metric = item.get("metric") if isinstance(item, Mapping) else None
    if isinstance(metric, FunctionRef):
        metric = metric.target.rpartition(".")[2]  # results know the values of a function by its name
    if not isinstance(item, Mapping) or not isinstance(metric, str):
        raise fail(f"{item!r} names no metric", "a mapping with metric: NAME")
    for key in item:
        if key not in _AGGREGATE_KEYS:
            raise fail(f"unknown key {key}", f"one of {listing(_AGGREGATE_KEYS)}", did_you_mean(key, _AGGREGATE_KEYS))
    aggregation = item.get("aggregation", "mean")
    if isinstance(aggregation, str) and aggregation != "mean":
        raise fail(f"aggregation is {aggregation!r}", "mean, which is the only one that groups have")
    filters = item.get("filter_list")
    names = None if filters is None else tuple([filters] if isinstance(filters, str) else map(str, filters))
    return AggregateSpec(metric, names, bool(item.get("weight_by_size", True)))


def _selection(items: Sequence[_Node | TaskConfig]) -> Selection:
    """Flatten what was built. The same task or group reached on two ways is one, if it says the same on both."""
    tasks: dict[str, TaskConfig] = {}
    groups: dict[str, Group] = {}
    top: dict[str, None] = {}
    _refuse_difference(leaf for item in items for leaf in _leaves(item))
    for item in items:
        for task in _leaves(item):
            tasks.setdefault(task.task, task)
        for node in (item, *item.subgroups()) if isinstance(item, _Node) else ():
            groups.setdefault(node.name, _frozen(node))
        top[item.name if isinstance(item, _Node) else item.task] = None
    held = {name for group in groups.values() for name in (*group.children, *group.tasks)}
    names = tuple(name for name in top if name not in held)
    return Selection(tuple(tasks.values()), tuple(groups.values()), names)


def _leaves(item: _Node | TaskConfig) -> Iterable[TaskConfig]:
    return item.leaves() if isinstance(item, _Node) else (item,)


def _frozen(node: _Node) -> Group:
    tasks = tuple(dict.fromkeys(task.task for task in node.leaves()))
    return Group(node.name, node.alias, node.version, tuple(node.children), tasks, node.aggregates)


def _refuse_difference(*tasks: Iterable[TaskConfig]) -> None:
    """Refuse tasks of one name that differ in more than their alias: results know a task by its name alone."""
    known: dict[str, TaskConfig] = {}
    for task in chain.from_iterable(tasks):
        first = known.setdefault(task.task, task)
        if first is task or first.content_hash == task.content_hash:
            continue
        one, other = first.as_json(), task.as_json()
        differing = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        raise task_error(
            f"task {task.task!r} is selected twice",
            f"two ways lead to it, and they differ in {listing(differing)}",
            task.place("task"),
            hint="give one of them another name, or select the groups in entries of their own",
        )
