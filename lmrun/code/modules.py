"""Finding and importing the modules of task files, within the process that runs them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lmrun.code import shim
from lmrun.code.loading import add_package, load_file
from lmrun.code.trees import TASKS_PACKAGE, Target, Trees, installed_lm_eval


class Modules:
    """The modules that task files name. Makes ``lm_eval`` importable, whether it is installed or not."""

    def __init__(self, trusted: Sequence[Path]) -> None:
        installed = installed_lm_eval()
        self._trees = Trees(trusted, installed)
        shim.install(installed)
        self._loaded: dict[str, ModuleType] = {}
        add_package(TASKS_PACKAGE, self._trees.search_path)

    def find(self, target: Target) -> Any:
        """What the target names. Raises whatever its module raises, and AttributeError if there is no such name."""
        return getattr(self.load(target), target.name)

    def load(self, target: Target) -> ModuleType:
        """The target's module, imported once."""
        key = target.file or target.module
        if key not in self._loaded:
            self._loaded[key] = self._load_file(Path(key)) if target.file else importlib.import_module(key)
        return self._loaded[key]

    def is_task_code(self, file: Path) -> bool:
        """Whether a file is below a trusted folder or in lm-eval's tree."""
        return any(folder in file.parents for folder in self._trees.search_path)

    def _load_file(self, file: Path) -> ModuleType:
        root = self._trees.root(file)
        add_package(self._trees.package(root), [root])
        return load_file(self._trees.module_name(file), file)
