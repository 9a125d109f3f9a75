"""Code of the bundled tasks: part of lmrun, so it runs in process."""

from __future__ import annotations

import importlib.util
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
    relative = file.resolve().relative_to(bundled.tasks_dir().resolve()).with_suffix("")
    name = ".".join((PACKAGE, *relative.parts))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {file}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
