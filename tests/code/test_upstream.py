"""Every ``!function`` of lm-eval's own task files, in a process in which lm-eval cannot be imported."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

pytestmark = pytest.mark.parity

_TAG = re.compile(r"^[^#\n]*!function\s+['\"]?([\w./-]+)", re.MULTILINE)
_MISSING = re.compile(r"needs the package '([\w.-]+)'|installed '([\w.-]+)' has no module")
# They fail in lm-eval as well: a name that `datasets` no longer has, and the template of a generator.
_BROKEN = ("basqueglue", "mmlu_prox/template")


def _tasks_folder() -> Path:
    python = os.environ.get("LMRUN_LMEVAL_PYTHON")
    if not python:
        pytest.skip("set LMRUN_LMEVAL_PYTHON (a Python with lm-eval 0.4.13) to check its task files")
    found = sorted(Path(python).parent.parent.glob("lib/python*/site-packages/lm_eval/tasks"))
    if not found:
        pytest.skip(f"there is no lm-eval in the environment of {python}")
    return found[0]


def _refs(tasks: Path) -> list[FunctionRef]:
    files = [*tasks.rglob("*.yaml"), *tasks.rglob("*_yaml*"), *(f for f in tasks.rglob("_*") if not f.suffix)]
    texts = {file: file.read_text() for file in files if file.is_file() and file.suffix != ".pyc"}
    refs = {FunctionRef(target, file.parent) for file, text in texts.items() for target in _TAG.findall(text)}
    return sorted(refs, key=lambda ref: (str(ref.folder), ref.target))


def test_every_function_is_found_or_lacks_only_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = _tasks_folder()
    refs = _refs(tasks)
    missing: Counter[str] = Counter()
    wrong: list[str] = []
    with TaskFunctions([tasks]) as functions:
        for ref in refs:
            try:
                functions.check(ref)
            except TaskError as error:
                lacks = _MISSING.search(error.message)
                if lacks:
                    missing[lacks[1] or lacks[2]] += 1
                elif not str(ref.folder.relative_to(tasks)).startswith(_BROKEN):
                    wrong.append(f"{ref.folder.relative_to(tasks)} {error}")
            functions.source_hash(ref)
    with capsys.disabled():
        print(f"\n{len(refs)} functions; without a package: {dict(missing.most_common())}")  # noqa: T201
    assert wrong == []
    assert len(refs) > 4000
    assert not {"lm_eval", "datasets", "numpy", "sklearn"} & missing.keys()
