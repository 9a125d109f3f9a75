"""One tree out of a manifest and everything that it includes."""

from __future__ import annotations

from pathlib import Path

from lmrun.errors import Problem
from lmrun.manifest.tree import Node, Place, UnreadableError, read_tree

_LISTED = ("models", "tasks")
"""Arrays that grow through includes; every other value is replaced."""


def read_with_includes(file: Path) -> tuple[Node, list[Problem]]:
    """Read ``file`` over its includes; returns what could be read and what is wrong with the rest.

    Includes come first, in the order written, each over its own includes; what includes wins over what it includes.
    A file that is reached twice counts once, at its first place. Raises
    :class:`~lmrun.manifest.tree.UnreadableError` if ``file`` itself cannot be read.
    """
    reader = _Reader()
    tree = reader.read(file, ())
    return tree, reader.problems


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._seen: set[Path] = set()

    def read(self, file: Path, above: tuple[Path, ...]) -> Node:
        own = read_tree(file)
        self._seen.add(file.resolve())
        written = own.table().pop("include", None)
        merged: Node | None = None
        for node in _as_list(written):
            included = self._include(node, (*above, file))
            if included is not None:
                merged = included if merged is None else merge(merged, included)
        return own if merged is None else merge(merged, own)

    def _include(self, node: Node, above: tuple[Path, ...]) -> Node | None:
        if not isinstance(node.value, str) or not node.value:
            self._report(
                node.place, "`include` has a wrong value", "the path of a manifest in quotes, or a list of them"
            )
            return None
        file = node.place.folder / node.value
        resolved = [path.resolve() for path in above]
        if file.resolve() in resolved:
            circle = [*above[resolved.index(file.resolve()) :], file]
            names = " -> ".join(path.name for path in circle)
            self._report(
                node.place, f"files include each other in a circle: {names}", "a file that does not lead back here"
            )
            return None
        if file.resolve() in self._seen:
            return None
        try:
            return self.read(file, above)
        except UnreadableError as error:
            problem = error.problem
            if problem.location is not None and problem.location.line is None:
                # The file as a whole is the matter: the line to change is the one that names it.
                message = f"included file {node.value!r}: {problem.message}"
                expected = "a manifest (TOML), named relative to the folder of this file"
                problem = node.place.problem(message, expected=expected, hint=problem.hint)
            self.problems.append(problem)
            return None

    def _report(self, place: Place, message: str, expected: str) -> None:
        self.problems.append(place.problem(message, expected=expected))


def _as_list(node: Node | None) -> list[Node]:
    if node is None:
        return []
    return node.items() if isinstance(node.value, list) else [node]


def merge(below: Node, above: Node) -> Node:
    """Lay the manifest ``above`` over the manifest ``below``: tables by key, models and tasks added up."""
    tree = _merge_tables(below, above)
    for key in _LISTED:
        lists = (below.get(key), above.get(key))
        if all(node is not None and isinstance(node.value, list) for node in lists):
            first, second = (node.items() for node in lists if node is not None)
            tree.table()[key].value = _merge_models(first, second) if key == "models" else [*first, *second]
    return tree


def _merge_tables(below: Node, above: Node) -> Node:
    members = dict(below.table())
    for key, node in above.table().items():
        other = members.get(key)
        both_tables = other is not None and isinstance(other.value, dict) and isinstance(node.value, dict)
        members[key] = _merge_tables(other, node) if other is not None and both_tables else node
    return Node(members, above.place)


def _merge_models(below: list[Node], above: list[Node]) -> list[Node]:
    """A model takes the place of the included one with its name, whole: half of two models is neither."""
    replacing = {name: node for node in above if (name := entry_name(node)) is not None}
    kept = [replacing.pop(entry_name(node) or "", node) for node in below]
    return kept + [node for node in above if not any(node is other for other in kept)]


def entry_name(entry: Node) -> str | None:
    """Name of a ``[[models]]`` or ``[[tasks]]`` entry as written, else the last part of its ``model``, else None."""
    name = entry.get("name") or entry.get("model")
    if name is None or not isinstance(name.value, str):
        return None
    return name.value if "name" in entry.table() else default_name(name.value)


def default_name(model: str) -> str:
    """The name of a model that has none: the last part of its id or path."""
    return model.removeprefix("bundled:").rstrip("/").rpartition("/")[2] or model
