"""``docs/commands.md``, generated from the commands themselves: ``python -m lmrun.cli.reference > docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import typer

from lmrun.cli import build_app

_INTRODUCTION = """# Commands

Results go to stdout, everything else to stderr. RUN is a run id (or its unique start or end), a path, or `latest`.

| exit code | meaning |
|---|---|
| 0 | complete |
| 1 | finished, but some samples are errors: their scores are marked incomplete |
| 2 | bad manifest, task or arguments |
| 3 | a backend or a model could not start |
| 130 | interrupted; the same command resumes |

This page is generated from the commands' own help.
"""


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, (*path, name))
    else:
        yield path, command


def reference_markdown() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for path, command in _commands(typer.main.get_command(build_app()), ("lmrun",)):
        context = click.Context(command, info_name=" ".join(path), terminal_width=100, max_content_width=100)
        parts.append(f"## `{' '.join(path)}`\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
