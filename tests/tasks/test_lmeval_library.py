"""lm-eval's own task library, nearly 14,000 files: everything is indexed, and every configuration is valid.

Needs the environment variable ``LMRUN_LMEVAL_PYTHON``: a Python in which lm-eval 0.4.13 is installed.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef
from lmrun.tasks import TaskCatalog
from lmrun.tasks.runnable import check_runnable, function_refs
from lmrun.tasks.select import Resolver

PYTHON = "LMRUN_LMEVAL_PYTHON"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(PYTHON not in os.environ, reason=f"set {PYTHON} to read the task library of lm-eval 0.4.13"),
]

KINDS: tuple[Literal["group", "tag"], ...] = ("group", "tag")
FIND = "import importlib.util as u; print(u.find_spec('lm_eval').submodule_search_locations[0])"


class Trusting(TaskFunctions):
    """Looks at no code, so that what is left is what the files say."""

    def check(self, ref: FunctionRef) -> None:
        pass


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> TaskCatalog:
    done = subprocess.run([os.environ[PYTHON], "-c", FIND], capture_output=True, text=True, check=True, timeout=60)
    return TaskCatalog([Path(done.stdout.strip()) / "tasks"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def resolver(catalog: TaskCatalog) -> Resolver:
    """One for all, so that no file is read twice."""
    return Resolver(catalog.index)


def test_every_file_is_indexed(catalog: TaskCatalog) -> None:
    """The numbers are those of lm-eval's own index of version 0.4.13."""
    assert Counter(entry.kind for entry in catalog.entries()) == {"task": 13093, "python": 30, "group": 855, "tag": 705}
    assert catalog.problems() == ()


def test_groups_and_tags_resolve(catalog: TaskCatalog, resolver: Resolver) -> None:
    """All of them, also those that lm-eval itself fails on or loads in part."""
    leaves = {name: len(resolver.resolve(name).tasks) for kind in KINDS for name in catalog.names(kind)}
    assert len(leaves) == 855 + 705
    assert all(leaves.values())
    known = {"openllm": 64, "t0_eval": 10, "flan_held_in": 60, "toksuite_abridged": 56}
    assert {name: leaves[name] for name in known} == known


def test_what_cannot_run_says_why(catalog: TaskCatalog, resolver: Resolver) -> None:
    """Every configuration is valid, and a task whose code is trusted is refused for one of a few reasons."""
    reasons: Counter[str] = Counter()
    without_code = 0
    for entry in catalog.entries():
        if entry.kind == "task":
            (config,) = resolver.resolve(entry.name).tasks
            without_code += not any(function_refs(config))
            try:
                check_runnable(config, Trusting())
            except TaskError as error:
                reasons.update(problem.message.partition(":")[0] for problem in error.problems)
                assert all(problem.location for problem in error.problems)
    assert reasons == {"doc_to_image": 45, "unsafe_code": 35, "doc_to_audio": 1}
    assert without_code == 4537
