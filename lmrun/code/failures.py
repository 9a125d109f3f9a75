"""What went wrong in code that a task names, in one line: the error, the line of the code, and what to do."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lmrun.errors import TaskError
from lmrun.functions import FunctionError, FunctionRef

_EXTRA = "tasks"
_LONGEST = 2000
"""Characters of a message that are kept."""
# Packages that are not called what they are imported as.
_INSTALLED_AS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "pyyaml",
    "rouge_score": "rouge-score",
    "bert_score": "bert-score",
    "math_verify": "math-verify",
    "antlr4": "antlr4-python3-runtime==4.11",
    "kstar_planner": "kstar-planner",
    "dateutil": "python-dateutil",
    "tinyBenchmarks": "git+https://github.com/felipemaiapolo/tinyBenchmarks",
    "bs4": "beautifulsoup4",
}


class Failure(NamedTuple):
    """Why code gave no value."""

    message: str
    hint: str | None = None
    kind: str | None = None
    """Name of the exception class, where the code raised one."""


def task_error(what: FunctionRef | str, failure: Failure) -> TaskError:
    """The error that lmrun raises for a failure of a function, or of a filter that is named."""
    if isinstance(what, FunctionRef):
        return FunctionError(what, failure.message, kind=failure.kind, hint=failure.hint)
    return TaskError(f"{what}: {failure.message}", hint=failure.hint)


def describe(error: BaseException, is_task_code: Callable[[Path], bool]) -> Failure:
    """The error, with the innermost line of the task's own code; a missing package by what installs it."""
    at = _place(error, is_task_code)
    missing = next((e for e in _chain(error) if isinstance(e, ModuleNotFoundError) and e.name), None)
    if missing is not None and missing.name:
        package = missing.name.partition(".")[0]
        if package in sys.modules:
            return Failure(
                f"the installed {package!r} has no module {missing.name!r}{at}", f"try other versions of {package}"
            )
        return Failure(f"needs the package {package!r}, which is not installed{at}", _install(package))
    said = _said(error)
    kind = type(error).__name__
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}…"
    return Failure(f"{kind}{': ' if said else ''}{said}{at}", kind=kind)


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception as broken:  # noqa: BLE001 - the text of an exception is code of the task too
        return f"its message cannot be read: {type(broken).__name__}"


def _place(error: BaseException, is_task_code: Callable[[Path], bool]) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_task_code(Path(frame.filename))]
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}:{error.lineno})"
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _install(package: str) -> str | None:
    if package == "lm_eval":
        return "lmrun stands in for the parts of lm-eval that task files use; for others: pip install lm-eval"
    distribution = _INSTALLED_AS.get(package, package)
    if _normal(distribution) in _extra_packages():
        return f"pip install 'lmrun[{_EXTRA}]'"
    return f"pip install '{distribution}'"


def _extra_packages() -> set[str]:
    """Names of what the extra for tasks installs."""
    try:
        stated = importlib.metadata.requires("lmrun") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    marker = re.compile(rf"extra\s*==\s*['\"]{_EXTRA}['\"]")
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in stated if marker.search(line))
    return {_normal(name.group()) for name in names if name}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>~!]", distribution)[0]).lower()
