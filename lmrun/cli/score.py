"""``lmrun score``: score a run again from its stored responses."""

from __future__ import annotations

import sys

import typer

from lmrun.cli import options


def score(run: options.Run = "latest", runs_dir: options.RunsDir = None, json: options.Json = False) -> None:
    """Score a run again from its stored answers.

    The metrics and filters are those that its task files state now, or the recorded ones where a task file is gone.
    Prompts, answers and targets stay as they are. Needs no model and no network.
    """
    from lmrun.display.report import results_json, show_results
    from lmrun.engine.rescore import current_scoring, rescore
    from lmrun.errors import ExitCode
    from lmrun.store.reader import RunReader
    from lmrun.store.runs import DEFAULT_RUNS_DIR, find_run

    directory = find_run(run, runs_dir or DEFAULT_RUNS_DIR)
    for job in rescore(directory, current_scoring(directory)):
        if job.changed:
            sys.stderr.write(
                f"{job.model} {job.label}: scored with other metrics or filters, as its task file states now\n"
            )
        elif not job.found:
            sys.stderr.write(f"{job.model} {job.label}: task file not found, scored as recorded\n")
    reader = RunReader(directory)
    if json:
        sys.stdout.write(results_json(reader) + "\n")
    else:
        show_results(reader)
    incomplete = any(job.n_errors or job.status != "scored" for job in reader.jobs())
    reader.close()
    raise typer.Exit(ExitCode.INCOMPLETE if incomplete else ExitCode.COMPLETE)
