"""Task YAML as plain values: ``!function`` tags, ``include``, and the place of every top-level key.

The dialect is lm-eval's: YAML 1.1, the last of duplicate keys wins, and an ``include`` is merged key by key at the top
level only, so that a list or a mapping is replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.errors import Location, Problem, TaskError
from lmrun.functions import FunctionRef
from lmrun.tasks.problems import task_error

if TYPE_CHECKING:
    from yaml import MappingNode, Node


@dataclass(frozen=True, slots=True)
class YamlMapping:
    """A mapping from a file, and for each of its top-level keys the place where it was written."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Location] = field(default_factory=dict)

    def under(self, other: YamlMapping) -> YamlMapping:
        """Both mappings as one, in which the keys of ``other`` win."""
        return YamlMapping({**self.values, **other.values}, {**self.places, **other.places})

    def without(self, *keys: str) -> YamlMapping:
        """The mapping less some keys."""
        return YamlMapping(
            {k: v for k, v in self.values.items() if k not in keys},
            {k: v for k, v in self.places.items() if k not in keys},
        )

    def only(self, *keys: str) -> YamlMapping:
        """The mapping with some keys alone."""
        return self.without(*(k for k in self.values if k not in keys))


@cache
def _loader_class() -> type[Any]:
    import yaml

    base: type[Any] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

    class TaskLoader(base):  # type: ignore[misc]
        path: Path

        def function_ref(self, node: Any) -> FunctionRef:
            target = self.construct_scalar(node)
            mark = node.start_mark
            return FunctionRef(target, self.path.parent, Location(self.path, mark.line + 1, mark.column + 1))

    TaskLoader.add_constructor("!function", TaskLoader.function_ref)
    return TaskLoader


def _problem(path: Path, error: Exception, node: Node | None = None) -> Problem:
    mark = (
        getattr(error, "problem_mark", None)
        or getattr(error, "context_mark", None)
        or getattr(node, "start_mark", None)
    )
    location = Location(path, mark.line + 1, mark.column + 1) if mark else Location(path)
    said = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return Problem(f"not valid YAML: {', '.join(said) or error}", location)


class Document:
    """One parsed file, whose values are made only when they are asked for.

    libyaml builds the node tree in C, while making Python values of it is slow; the index needs a few keys only.
    """

    def __init__(self, path: Path) -> None:
        """Parse ``path``. Raises :class:`~lmrun.errors.TaskError` where it is unreadable or no mapping."""
        import yaml

        self.path = path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise task_error(
                f"cannot read task file {path}", f"cannot be read: {error.strerror}", Location(path)
            ) from error
        try:
            self._loader = _loader_class()(data)
            self._loader.path = path
            root = self._loader.get_single_node()
            if isinstance(root, yaml.MappingNode):
                self._loader.flatten_mapping(root)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise TaskError(f"cannot read task file {path}", problems=(_problem(path, error),)) from error
        if not isinstance(root, yaml.MappingNode):
            raise task_error(
                f"cannot read task file {path}",
                "the file is not a mapping",
                Location(path, 1, 1),
                expected="a YAML mapping of task or group keys",
            )
        self._root: MappingNode = root

    def nodes(self) -> dict[str, tuple[Node, Node]]:
        """Key and value node of each top-level key; of duplicates the last."""
        for key, _ in self._root.value:
            if key.id != "scalar":
                raise task_error(f"cannot read task file {self.path}", "a key is not text", self.place(key))
        return {key.value: (key, value) for key, value in self._root.value}

    def construct(self, node: Node) -> Any:
        """The Python value of a node."""
        import yaml

        try:
            return self._loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise TaskError(
                f"cannot read task file {self.path}", problems=(_problem(self.path, error, node),)
            ) from error

    def place(self, node: Node) -> Location:
        """Where a node starts."""
        return Location(self.path, node.start_mark.line + 1, node.start_mark.column + 1)

    def mapping(self) -> YamlMapping:
        """All top-level keys."""
        found = YamlMapping()
        for name, (key, value) in self.nodes().items():
            found.values[name] = self.construct(value)
            found.places[name] = self.place(key)
        return found


def include_targets(value: Any, folder: Path, location: Location | None) -> list[Path]:
    """The files that an ``include`` names: absolute, or relative to the folder of the file that says so."""
    targets = value if isinstance(value, list) else [value]
    wrong = [t for t in targets if not isinstance(t, str)]
    if wrong:
        raise task_error(
            "cannot follow an include",
            f"include: {wrong[0]!r} is not a path",
            location,
            expected="the path of a file, or a list of paths",
        )
    return [(folder / Path(target).expanduser()).resolve() for target in targets]


class TaskFiles:
    """Loads task files with everything that they include. A file that many others include is read once."""

    def __init__(self) -> None:
        self._loaded: dict[Path, YamlMapping] = {}

    def load(self, path: Path) -> YamlMapping:
        """The keys of a file. Raises :class:`~lmrun.errors.TaskError` for a file that is missing, is not a YAML
        mapping, or includes itself.
        """
        return self._load(path.expanduser().resolve(), ())

    def merge(self, own: YamlMapping, folder: Path) -> YamlMapping:
        """Put what ``own`` includes, seen from ``folder``, under its keys."""
        return self._merge(own, folder, ())

    def _load(self, path: Path, including: tuple[Path, ...]) -> YamlMapping:
        if path not in self._loaded:
            self._loaded[path] = self._merge(Document(path).mapping(), path.parent, (*including, path))
        return self._loaded[path]

    def _merge(self, own: YamlMapping, folder: Path, including: tuple[Path, ...]) -> YamlMapping:
        if "include" not in own.values:
            return own
        place = own.places.get("include")
        merged = YamlMapping()
        for target in include_targets(own.values["include"], folder, place):
            if target in including:
                chain = " → ".join(p.name for p in (*including[including.index(target) :], target))
                raise task_error("cannot follow an include", f"include: a file includes itself: {chain}", place)
            if target not in self._loaded and not target.is_file():
                raise task_error(
                    "cannot follow an include",
                    f"include: there is no file {target}",
                    place,
                    hint="a relative path counts from the folder of the file that contains the include",
                )
            # `task_list` of an included file belongs to that file alone.
            merged = merged.under(self._load(target, including).without("task_list"))
        return merged.under(own.without("include"))


def load_yaml(path: Path) -> YamlMapping:
    """Load one task file with everything that it includes; see :meth:`TaskFiles.load`."""
    return TaskFiles().load(path)


def functions_in(value: Any) -> Iterator[FunctionRef]:
    """Every ``!function`` anywhere inside a value."""
    if isinstance(value, FunctionRef):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in inner:
        yield from functions_in(item)
