"""Where the modules of task files are, and by which names they import one another.

A *tree* is a folder of task files as a whole: ``lm_eval/tasks`` of an lm-eval, or a folder that the manifest trusts.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lmrun.functions import FunctionRef

TASKS_PACKAGE = "lm_eval.tasks"
"""What the files of lm-eval's tree are modules of."""


class Target(NamedTuple):
    """What a :class:`~lmrun.functions.FunctionRef` names: a name in a file, or in a module that Python finds."""

    file: str | None
    module: str
    name: str
    member: str = ""
    config: str = ""


def locate(ref: FunctionRef) -> Target:
    """The file beside the task file if there is one; else the module is left to Python."""
    module, _, name = ref.target.rpartition(".")
    file = (ref.folder / (module.replace(".", "/") + ".py")).resolve()
    # An empty part would make the path an absolute one.
    is_beside = all(module.split(".")) and file.is_file()
    return Target(str(file) if is_beside else None, module, name, ref.member, ref.config)


def installed_lm_eval() -> Path | None:
    """Folder of the installed lm-eval; nothing of it is imported."""
    try:
        spec = importlib.util.find_spec("lm_eval")
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def lm_eval_tree(path: Path) -> Path | None:
    """The folder ``lm_eval/tasks`` that a path is, or is in."""
    for folder in (path, *path.parents):
        if folder.name == "tasks" and folder.parent.name == "lm_eval":
            return folder
    return None


class Trees:
    """The folders whose code may run, and what their files are called as modules."""

    def __init__(self, trusted: Sequence[Path], installed: Path | None) -> None:
        """``installed`` is the folder of the installed lm-eval."""
        self._trusted = [folder.expanduser().resolve() for folder in trusted]
        below = [folder / "lm_eval" / "tasks" for folder in self._trusted]
        found = [lm_eval_tree(folder) for folder in self._trusted] + [folder for folder in below if folder.is_dir()]
        if installed is not None:
            found.append(installed / "tasks")
        self._of_lm_eval = [tree for tree in found if tree]

    @property
    def search_path(self) -> list[Path]:
        """Where ``lm_eval.tasks`` is looked for: trees of lm-eval first, so that no other folder hides a part of it."""
        return list(dict.fromkeys((*self._of_lm_eval, *self._trusted)))

    def trusts(self, folder: Path) -> bool:
        """Whether a folder is a trusted one, or below one."""
        resolved = folder.resolve()
        return any(resolved.is_relative_to(trusted) for trusted in self._trusted)

    def root(self, file: Path) -> Path:
        """The tree that a file belongs to; its own folder if it is in none."""
        around = [folder for folder in self._trusted if folder in file.parents]
        return lm_eval_tree(file) or min(around, key=lambda folder: len(folder.parts), default=file.parent)

    def package(self, root: Path) -> str:
        """The package that the files of a tree are modules of.

        Only one tree can be ``lm_eval.tasks``. Any other has a package of its own: its files find one another by
        relative imports, and ``lm_eval.tasks`` is the first tree to them as well.
        """
        if root in self._of_lm_eval[:1]:
            return TASKS_PACKAGE
        return "task_files_" + hashlib.blake2b(str(root).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()

    def module_name(self, file: Path) -> str:
        """The name that a file is imported under."""
        root = self.root(file)
        return ".".join((self.package(root), *file.relative_to(root).with_suffix("").parts))

    def find(self, module: str) -> list[Path]:
        """The files that importing ``lm_eval.tasks.…`` runs; empty where there is no such module."""
        parts = module.split(".")[len(TASKS_PACKAGE.split(".")) :]
        found = (list(module_files(folder, parts)) for folder in self.search_path)
        return next((files for files in found if files), [])


def module_files(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The source files that importing ``parts`` from ``folder`` runs: ``__init__.py`` of packages, and the module."""
    for part in parts:
        if (folder / part / "__init__.py").is_file():
            yield folder / part / "__init__.py"
        elif (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
            return
        folder = folder / part
