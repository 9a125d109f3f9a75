"""``lmrun retry``: ask again what failed in a run."""

from __future__ import annotations

from functools import partial

import typer

from lmrun.cli import options


def retry(run: options.Run = "latest", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Ask again what failed in a run, and what is left.

    By the run's own manifest, into the same run, whatever its status; what has an answer is not asked again. Jobs with
    new answers are scored again. Exit codes as of batch.
    """
    from lmrun.cli.batch import carry_out
    from lmrun.engine.run import retry as ask_again
    from lmrun.manifest import load_manifest
    from lmrun.store.runs import DEFAULT_RUNS_DIR, find_run

    directory = find_run(run, runs_dir or DEFAULT_RUNS_DIR)
    again = f"go on with: lmrun retry {directory.path}"
    raise typer.Exit(carry_out(load_manifest(directory.manifest), partial(ask_again, run=directory), again, json=json))
