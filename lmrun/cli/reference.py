"""``docs/commands.md``, from the commands themselves: ``python -m lmrun.cli.reference > docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from lmrun.cli import build_app

_INTRODUCTION = """# Commands

Results go to stdout, everything else to stderr. RUN is a run id (or its unique start or end), a path, a
manifest's name (its newest run), or `latest`.

| exit code | meaning |
|---|---|
| 0 | complete |
| 1 | finished, but some samples are errors: their scores are marked incomplete; `verify`: something has changed |
| 2 | bad manifest, task or arguments |
| 3 | a backend or a model could not start |
| 130 | interrupted; the same command resumes |

This page is generated from the commands' own help.
"""


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path
    for name, child in (children or {}).items():
        yield from _commands(child, (*path, name))


def reference_markdown() -> str:
    """The page."""
    app = build_app()
    parts = [_INTRODUCTION]
    for path in _commands(typer.main.get_command(app), ()):
        text = CliRunner().invoke(app, [*path, "--help"], prog_name="lmrun", env={"COLUMNS": "100"}).stdout
        parts.append(f"## `lmrun {' '.join(path)}`\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
