"""Every error that lmrun raises on purpose, and the exit code each one leads to.

::

    LmrunError                     catch this to catch them all
    ├── ManifestError       (2)    the manifest, or a command-line override of it, is wrong
    ├── TaskError           (2)    a task file, or a task name, is wrong
    ├── DataError           (2)    a dataset or a split is missing or unreadable
    ├── RunError            (2)    a run that was named does not exist or cannot be read
    ├── StoreError          (3)    the cache or the run store cannot be used where it is
    └── BackendError        (3)    a backend or a model could not start
        └── ModelError             this very model cannot be asked at all: its key, its name, its address

Each carries a ``hint``: what the user can do next. The command line prints message, places and hint, and never a
traceback for one of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process tells its caller; a contract, see ``docs/commands.md``."""

    COMPLETE = 0
    INCOMPLETE = 1
    """The run finished, but some samples are errors and their scores are marked incomplete."""
    BAD_INPUT = 2
    BACKEND_FAILED = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file that a user wrote; lines and columns count from 1."""

    file: Path
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [str(self.file), *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and what was expected there."""

    message: str
    location: Location | None = None
    expected: str | None = None
    hint: str | None = None
    """For example a "did you mean"."""

    def __str__(self) -> str:
        head = f"{self.location}: {self.message}" if self.location else self.message
        lines = [head]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class LmrunError(Exception):
    """Base of all errors that lmrun raises on purpose."""

    exit_code: ExitCode = ExitCode.BAD_INPUT

    def __init__(self, message: str, *, hint: str | None = None, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = problems

    def in_full(self) -> str:
        """Message, every problem and hint, in lines."""
        lines = [f"error: {self.message}"]
        lines.extend("  " + line for problem in self.problems for line in str(problem).splitlines())
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class ManifestError(LmrunError):
    """The manifest is wrong; ``problems`` lists everything that is, at once."""


class TaskError(LmrunError):
    """A task file or a task name is wrong."""


class DataError(LmrunError):
    """A dataset, or a split of it, is missing or unreadable."""


class RunError(LmrunError):
    """The named run does not exist or cannot be read."""


class StoreError(LmrunError):
    """The cache or the run store cannot be used where it is."""

    exit_code = ExitCode.BACKEND_FAILED


class BackendError(LmrunError):
    """A backend or a model could not start."""

    exit_code = ExitCode.BACKEND_FAILED


class ModelError(BackendError):
    """This very model cannot be asked at all, whatever is asked: its key, its name or its address is wrong."""


def did_you_mean(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """A hint with the known names nearest to ``name``; None where none is near."""
    import difflib

    near = difflib.get_close_matches(str(name), sorted(set(known)), n=2, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else None
