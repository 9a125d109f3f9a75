"""Task files with code, and what runs it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import Location
from lmrun.functions import FunctionRef


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is trusted."""
    path = tmp_path / "trusted"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Callable[..., FunctionRef]:
    """Write a module below the trusted folder; gives what names a function of it."""

    def write(code: str, name: str = "f", *, module: str = "utils", below: str = ".") -> FunctionRef:
        file = folder / below / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(code), encoding="utf-8")
        return FunctionRef(f"{module}.{name}", file.parent, Location(file.parent / "task.yaml", 3, 7))

    return write


@pytest.fixture
def functions(folder: Path) -> Iterator[TaskFunctions]:
    with TaskFunctions([folder]) as found:
        yield found
