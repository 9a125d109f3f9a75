"""Python code that a task file names with ``!function``, as the rest of lmrun sees it.

Tasks and scoring never import such code: they hold a :class:`FunctionRef` and ask a :class:`Functions` to call it. So
where code runs, and whether it may run at all, is decided in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmrun import bundled
from lmrun.errors import Location, Problem, TaskError

if TYPE_CHECKING:
    from lmrun.data import Split

_BUNDLED = "bundled:"


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A ``!function`` as it is written: ``module.name``, to be looked for beside the file that says so."""

    target: str
    folder: Path
    """Folder of the file in which the tag is written."""
    location: Location | None = field(default=None, compare=False)
    member: str = ""
    """Of a class task: what of its object is meant, ``process_results`` for example."""
    config: str = ""
    """Of a class task: the keys of its task file, as JSON; its object is made of them."""

    def __str__(self) -> str:
        return f"!function {self.target}{'.' if self.member else ''}{self.member}"

    def as_json(self) -> dict[str, str]:
        """As stored with a run; see :meth:`from_json`."""
        tasks = bundled.tasks_dir()
        inside = self.folder.is_relative_to(tasks)
        # So that a run can be scored again where lmrun is installed elsewhere.
        folder = f"{_BUNDLED}{self.folder.relative_to(tasks).as_posix()}" if inside else str(self.folder)
        of_class = {"member": self.member, "config": self.config} if self.member else {}
        return {"function": self.target, "folder": folder, **of_class}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> FunctionRef:
        """Inverse of :meth:`as_json`; the place in the file is lost."""
        stored = value["folder"]
        inside = stored.startswith(_BUNDLED)
        folder = bundled.tasks_dir() / stored.removeprefix(_BUNDLED) if inside else Path(stored)
        return cls(value["function"], folder, member=value.get("member", ""), config=value.get("config", ""))


@dataclass(frozen=True, slots=True)
class ClassTaskFacts:
    """What a task that is a Python class says of itself."""

    version: Any
    split: str
    """Which docs are evaluated: ``test`` or ``validation``."""
    num_fewshot: int | None
    repeats: int
    generation: Mapping[str, Any]
    """Parameters of generations that the class does not state itself."""
    excludes: bool
    """Whether a doc is kept out of its own examples."""
    metrics: Sequence[tuple[str, str | None, bool | None]]
    """Name, the aggregation's name where it is one of lmrun's own, and whether higher is better."""
    filters: Sequence[Mapping[str, Any]] | None


OpenDataset = Callable[[str | None, str | None, Mapping[str, Any]], "Mapping[str, Split]"]
"""The splits of a dataset, by path, name and further arguments."""


class FunctionError(TaskError):
    """Code of a task is missing, may not run, or raised; the message names the function and the line that failed."""

    def __init__(self, ref: FunctionRef, why: str, *, kind: str | None = None, hint: str | None = None) -> None:
        """``kind`` is the name of the exception class, where the code raised one."""
        message = f"{ref}: {why}"
        super().__init__(message, hint=hint, problems=(Problem(message, ref.location, hint=hint),))
        self.kind = kind


class Functions(Protocol):
    """Runs the code of tasks. Every method raises :class:`FunctionError`.

    Nothing that the code does changes lmrun's own state.
    """

    def check(self, ref: FunctionRef) -> None:
        """Raise where the code is not trusted, or where there is no such file or name. Imports what it has to."""

    def source_hash(self, ref: FunctionRef) -> str:
        """Hash of the source that the function comes from (32 hex digits); nothing is run for it."""

    def call(self, ref: FunctionRef, *args: Any, **kwargs: Any) -> Any:
        """The function's value: plain Python values in, plain Python values out."""

    def process_docs(self, ref: FunctionRef, split: Split, after: Callable[[], Split | None] = lambda: None) -> Split:
        """The docs that a ``process_docs`` makes of a split.

        Where it draws random numbers, it draws them as at the start of a run of lm-eval. ``after`` gives another split
        that it is given before this one: lm-eval prepares the docs for examples before those that it evaluates.
        """

    def custom_dataset(
        self, ref: FunctionRef, kwargs: Mapping[str, Any], source: Callable[[str], Split]
    ) -> Mapping[str, Split]:
        """The splits that a ``custom_dataset`` makes.

        ``source`` gives a split of the dataset that the task names besides. It is the first argument of lmrun's own
        functions; those of users get their keyword arguments alone, as from lm-eval.
        """

    def has_filter(self, name: str) -> bool:
        """Whether code that has been imported so far registered a filter of this name."""

    def apply_filter(
        self,
        function: FunctionRef | str,
        kwargs: Mapping[str, Any],
        responses: Sequence[Sequence[Any]],
        docs: Sequence[Mapping[str, Any]],
    ) -> Sequence[Any]:
        """What a filter class (or one registered by name) makes of the responses to each doc."""

    def open_class(self, ref: FunctionRef, data: OpenDataset) -> ClassTaskFacts:
        """Make the object of a class task. ``data`` is asked for its dataset, unless the class gets its data itself."""

    def class_docs(self, ref: FunctionRef, pool: bool) -> Split:
        """The docs of an open class task: those that are evaluated, or (``pool``) those that examples come from."""
