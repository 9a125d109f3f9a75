"""Text that every machine has: docstrings of Python's standard library."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
import warnings
from functools import cache
from pathlib import Path

_LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "__pycache__"}
_SHORTEST = 60
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]{0,17}[,.;]?")


@cache
def docstrings() -> list[str]:
    """All of some length, each once."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(root.rglob("*.py")) if not _LEFT_OUT & set(path.relative_to(root).parts)]
    found = (text for path in files for text in _docstrings(path) if len(text) > _SHORTEST)
    return list(dict.fromkeys(found))


def _docstrings(path: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


@cache
def words() -> list[str]:
    """The words of all docstrings in a row."""
    return _WORD.findall(" ".join(docstrings()))


def passage(draw: random.Random, least: int, most: int) -> str:
    """Words that follow each other somewhere."""
    count = draw.randint(least, most)
    start = draw.randrange(len(words()) - count)
    return " ".join(words()[start : start + count])
