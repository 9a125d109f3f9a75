"""``lmrun data``: offline mirrors of datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lmrun.cli import options

app = typer.Typer(help="Make and check offline mirrors of datasets.", no_args_is_help=True)


@app.command()
def fetch(
    manifest: options.ManifestPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to put the mirror.")],
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
) -> None:
    """Copy every dataset split that a manifest's tasks use into a mirror. Needs no GPU and no torch."""
    from lmrun.data.fetch import fetch as fetch_data
    from lmrun.engine.inputs import Overrides, open_manifest, open_sources
    from lmrun.engine.needs import needed_splits

    loaded = open_manifest(manifest, Overrides(None, tuple(tasks_path or ()), trust, mirror))
    sources = open_sources(loaded)
    needs = needed_splits(loaded.tasks, sources)
    fetch_data(needs, sources.data, out)
    sys.stdout.write(f"{out}: {len(needs)} datasets. Use it with --mirror {out} --offline\n")


@app.command()
def check(mirror: Annotated[Path, typer.Argument(metavar="DIR", help="The mirror.")]) -> None:
    """Check every file of a mirror against its MANIFEST.json. Exit code 1 if something is wrong."""
    from lmrun.data.fetch import check as check_mirror
    from lmrun.errors import ExitCode

    problems = check_mirror(mirror)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{mirror}: {'ok' if not problems else f'{len(problems)} problems'}\n")
    raise typer.Exit(ExitCode.INCOMPLETE if problems else ExitCode.COMPLETE)
