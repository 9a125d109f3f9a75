"""Nothing heavy is imported before it is needed, checked in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "sklearn",
    "sacrebleu",
    "scipy",
    "textual",
    "vllm",
    "accelerate",
}
MODERATE = HEAVY | {"pydantic", "rich", "numpy", "pyarrow", "jinja2", "yaml", "psutil"}


def imported(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running ``code``."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
import contextlib, io
sys.argv = ["lmrun", "--help"]
from lmrun.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
"""


def test_help_imports_nothing_that_only_a_run_needs() -> None:
    assert imported(HELP) & MODERATE == set()


@pytest.mark.parametrize(
    "module",
    [
        "lmrun.engine.run",
        "lmrun.engine.inputs",
        "lmrun.engine.rescore",
        "lmrun.backends.registry",
        "lmrun.scoring",
        "lmrun.tasks",
        "lmrun.data",
        "lmrun.manifest",
        "lmrun.store.reader",
        "lmrun.display.report",
        "lmrun.testing.scripted",
    ],
)
def test_importing_a_part_imports_no_model_library(module: str) -> None:
    assert imported(f"import {module}") & HEAVY == set()


def test_the_engine_imports_no_face() -> None:
    modules = imported("import lmrun.engine.run\nassert not any(m.startswith('lmrun.display') for m in sys.modules)")
    assert "rich" not in modules


def test_a_rerun_from_a_full_cache_imports_no_model_library(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        '[[models]]\nname = "demo"\nbackend = "hf"\nmodel = "bundled:demo"\ndevice = "cpu"\n'
        '[[tasks]]\nname = ["demo_facts", "demo_arithmetic", "demo_text"]\nlimit = 2\n'
    )
    code = f"""
import contextlib, io, os
os.chdir({str(tmp_path)!r})
sys.argv = ["lmrun", "batch", "m.toml"]
from lmrun.cli import main
try:
    with contextlib.redirect_stdout(io.StringIO()):
        main()
except SystemExit as ending:
    assert ending.code == 0, ending.code
"""
    assert "torch" in imported(code)
    assert imported(code) & (HEAVY | {"tokenizers", "safetensors"}) == set()


def test_a_plan_counts_tokens_without_a_model_library(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        '[[models]]\nbackend = "hf"\nmodel = "bundled:demo"\n[[tasks]]\nname = "demo_facts"\nlimit = 2\n'
    )
    code = f"""
import contextlib, io, os
os.chdir({str(tmp_path)!r})
sys.argv = ["lmrun", "plan", "m.toml", "--json"]
from lmrun.cli import main
said = io.StringIO()
try:
    with contextlib.redirect_stdout(said):
        main()
except SystemExit as ending:
    assert ending.code == 0, ending.code
assert json.loads(said.getvalue())["total"]["prompt_tokens"] > 0
"""
    assert imported(code) & HEAVY == set()


def test_the_terminal_app_comes_up_without_what_only_a_run_or_a_plot_needs() -> None:
    late = ("lmrun.manifest", "lmrun.scoring", "lmrun.tasks", "lmrun.data")
    modules = imported(f"import lmrun.tui.app, lmrun.cli.tui\nassert not set({late}) & set(sys.modules)")
    assert modules & ((HEAVY - {"textual"}) | {"numpy", "pyarrow", "plotext", "aiohttp", "textual_serve"}) == set()
