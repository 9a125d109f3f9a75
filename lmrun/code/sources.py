"""The hash of the source that a function comes from. Nothing is run for it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from lmrun.code.trees import TASKS_PACKAGE, Target, Trees, module_files
from lmrun.errors import TaskError


def source_hash(target: Target, trees: Trees) -> str:
    """Hash of the file, of the modules beside it and of all files of task trees that it imports (32 hex digits).

    For code of an installed package it is the package's version. It does not depend on where the files are.
    """
    digest = hashlib.blake2b(digest_size=16)
    files = [Path(target.file)] if target.file else trees.find(target.module) if _is_task(target.module) else []
    # Code finds the modules beside it in many ways, of which only some can be read off its source.
    files = [*files, *(beside for file in files for beside in sorted(file.parent.glob("*.py")))]
    for part in (*sorted(_content(file) for file in _closure(files, trees)), *([] if files else _package(target))):
        digest.update(hashlib.blake2b(part).digest())
    return digest.hexdigest()


def _is_task(module: str) -> bool:
    return module.startswith(f"{TASKS_PACKAGE}.")


def _package(target: Target) -> list[bytes]:
    package = target.module.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(package, []) if package else []
    return [target.module.encode(), *(f"{name} {importlib.metadata.version(name)}".encode() for name in sorted(names))]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read {file}: {error.strerror}") from error


def _closure(files: list[Path], trees: Trees) -> set[Path]:
    """The files, and what they import of task trees, directly or not."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting.extend(_imports(file, trees))
    return seen


def _imports(file: Path, trees: Trees) -> Iterator[Path]:
    try:
        tree = ast.parse(_content(file))
    except (SyntaxError, ValueError):
        return  # it cannot run either, and the error is due when it is imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in filter(lambda alias: _is_task(alias.name), node.names):
                yield from trees.find(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level:
            folder = file.parents[min(node.level, len(file.parents)) - 1]
            parts = node.module.split(".") if node.module else []
            yield from module_files(folder, parts)
            for alias in node.names:
                yield from module_files(folder, [*parts, alias.name])
        elif isinstance(node, ast.ImportFrom) and _is_task(f"{node.module}."):
            for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                yield from trees.find(name)
