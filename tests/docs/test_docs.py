"""What the documentation says is run: commands, manifests, task files, code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.cli.reference import reference_markdown
from lmrun.manifest import load_manifest
from lmrun.requests import Request
from lmrun.tui.reference import with_keys

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def test_the_command_reference_is_up_to_date() -> None:
    expected = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert reference_markdown() == expected, "python -m lmrun.cli.reference > docs/commands.md"


def test_the_keys_of_the_app_are_up_to_date() -> None:
    page = (ROOT / "docs" / "tui.md").read_text(encoding="utf-8")
    assert with_keys(page) == page, "python -m lmrun.tui.reference docs/tui.md"
    assert page.count("| `samples.next_wrong` |") == 1


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_has_two_setup_commands() -> None:
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    setup = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(setup) == 2
    assert setup[0].endswith("lmrun batch configs/quickstart.toml")
    assert "pytest" in setup[1]


# docs/manifest.md is generated, with excerpts that need files beside them; tests of the manifest look after it.
MANIFESTS = [
    (page, text)
    for page in PAGES
    if page.name != "manifest.md"
    for text in blocks(page, "toml")
    if "[[models]]" in text
]


@pytest.mark.parametrize(("page", "text"), MANIFESTS, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_manifests_in_the_documentation_load(page: Path, text: str, tmp_path: Path) -> None:
    if "[[tasks]]" not in text:
        text += '\n[[tasks]]\nname = "demo"\n'
    path = tmp_path / "manifest.toml"
    path.write_text(text, encoding="utf-8")
    assert load_manifest(path).models


def test_the_backend_of_the_documentation_answers() -> None:
    (code,) = blocks(ROOT / "docs" / "backends.md", "python")
    scope: dict[str, type] = {}
    exec(compile(code, "backends.md", "exec", dont_inherit=True), scope)
    backend = scope["Echo"](ModelSpec("e", "echo", "e"))
    requests = [Request("generate_until", f"prompt {i}") for i in range(3)]
    answers = [answer for chunk in backend.run(requests, {1}) for answer in chunk]
    assert [(i, response.text) for i, response in answers] == [(0, "prompt 0"), (2, "prompt 2")]


def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    (tmp_path / "capitals.yaml").write_text("".join(blocks(page, "yaml")), encoding="utf-8")
    (tmp_path / "capitals.jsonl").write_text("".join(blocks(page, "json")), encoding="utf-8")
    run_commands(page, tmp_path)


def test_the_page_on_decontamination_runs_as_written(tmp_path: Path) -> None:
    page = ROOT / "docs" / "decontamination.md"
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "web.jsonl").write_text("".join(blocks(page, "json")), encoding="utf-8")
    (tables,) = blocks(page, "toml")
    shown = run_commands(page, tmp_path, after_init=lambda: append(tmp_path / "my.toml", tables))
    assert "dirty (n)" in shown["lmrun show latest"]
    assert "corpus/web.jsonl:2" in shown["lmrun decontaminate my.toml --limit 20"]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")


def run_commands(page: Path, folder: Path, after_init: Callable[[], None] = lambda: None) -> dict[str, str]:
    """Run every command of a page, one after another, in one folder; what each wrote to stdout."""
    shown = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LMRUN_CACHE_DIR": str(folder / "derived")}
    for line in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "lmrun"
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout
        shown[line] = done.stdout
        if words[1] == "init":
            after_init()
    return shown
