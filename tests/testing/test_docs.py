"""``docs/testing.md`` runs as written and leaves nothing out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from lmrun.testing.script import FaultKind, Limits, Script, read_script
from tests.docs.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "testing.md"


def test_the_page_runs_as_written() -> None:
    scope: dict[str, Any] = {}
    for code in blocks(PAGE, "python"):
        exec(compile(code, "testing.md", "exec", dont_inherit=True), scope)


def test_the_script_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = (block for block in blocks(PAGE, "toml") if "[[models]]" not in block)
    path = tmp_path / "script.toml"
    path.write_text(text, encoding="utf-8")
    assert read_script(path).limits.requests_per_second == 5


def test_the_page_names_every_fault_and_every_key() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = [*get_args(FaultKind), *(f.name for c in (Script, Limits) for f in fields(c))]
    assert [name for name in names if f"`{name}" not in text and f"{name}=" not in text] == []
