"""lm-eval's own task library, nearly 14,000 files: everything is indexed, and what needs no Python can be built.

Needs the environment variable ``LMRUN_LMEVAL_PYTHON``: a Python in which lm-eval 0.4.13 is installed.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.tasks import TaskCatalog
from lmrun.tasks.runnable import check_runnable

PYTHON = "LMRUN_LMEVAL_PYTHON"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(PYTHON not in os.environ, reason=f"set {PYTHON} to read the task library of lm-eval 0.4.13"),
]

FIND = "import importlib.util as u; print(u.find_spec('lm_eval').submodule_search_locations[0])"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> TaskCatalog:
    done = subprocess.run([os.environ[PYTHON], "-c", FIND], capture_output=True, text=True, check=True, timeout=60)
    cache = tmp_path_factory.mktemp("cache")
    return TaskCatalog([Path(done.stdout.strip()) / "tasks"], cache_folder=cache)


def test_every_file_is_indexed(catalog: TaskCatalog) -> None:
    """The numbers are those of lm-eval's own index of version 0.4.13."""
    assert Counter(entry.kind for entry in catalog.entries()) == {"task": 13093, "python": 30, "group": 855, "tag": 705}
    assert catalog.problems() == ()


def test_groups_resolve(catalog: TaskCatalog) -> None:
    """All but two: one has members without names, and one has two members of the same name."""
    refused = set()
    for name in catalog.names("group"):
        try:
            catalog.resolve(name)
        except TaskError:
            refused.add(name)
    assert refused == {"t0_eval", "flan_held_in"}


def test_tasks_without_python_can_be_built(catalog: TaskCatalog) -> None:
    outcomes: Counter[str] = Counter()
    for entry in catalog.entries():
        if entry.kind == "task":
            (config,) = catalog.resolve(entry.name).tasks
            try:
                check_runnable(config, TaskFunctions())
                outcomes["built"] += 1
            except TaskError as error:
                helpers = any("!function" in problem.message for problem in error.problems)
                outcomes["helpers" if helpers else "other"] += 1
    assert outcomes["built"] == 4537
    assert outcomes["other"] < 60
