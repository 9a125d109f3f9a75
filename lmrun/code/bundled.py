"""Code of the bundled tasks: part of lmrun, so it runs in process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from lmrun import bundled

PACKAGE = "lmrun_tasks"
"""Root of the names under which these modules are imported."""


def is_bundled(folder: Path) -> bool:
    """Whether task files in ``folder`` are lmrun's own."""
    return folder.resolve().is_relative_to(bundled.tasks_dir().resolve())


def load_module(file: Path) -> ModuleType:
    """The module in a file below the bundled tasks, imported once."""
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(bundled.tasks_dir().resolve())]  # so that helpers import one another, relatively
        sys.modules[PACKAGE] = package
    relative = file.resolve().relative_to(bundled.tasks_dir().resolve()).with_suffix("")
    return importlib.import_module(".".join((PACKAGE, *relative.parts)))
