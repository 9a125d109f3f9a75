"""What importing the task package brings along: nothing that is not needed before a task file is read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SHOW = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"


@pytest.mark.parametrize("code", ["import lmrun.tasks", "from lmrun.tasks import Task, TaskCatalog; TaskCatalog([])"])
def test_the_import_is_light(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {"torch", "transformers", "datasets", "pandas", "pyarrow", "numpy", "rich", "pydantic", "jinja2", "yaml"}
    assert not heavy.intersection(json.loads(done.stdout))
