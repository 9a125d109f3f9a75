"""``lmrun show``: results and samples of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.store.reader import RunReader, SampleQuery


def show(
    run: options.Run = "latest",
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="Only this model.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="T", help="Only this task.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Samples with a wrong answer.")] = False,
    correct: Annotated[bool, typer.Option("--correct", help="Samples with a right answer.")] = False,
    errors: Annotated[bool, typer.Option("--errors", help="Samples without an answer.")] = False,
    truncated: Annotated[
        bool, typer.Option("--truncated", help="Samples whose answer was cut off, or whose prompt did not fit.")
    ] = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="Samples whose answer the model or its provider refused.")
    ] = False,
    no_match: Annotated[bool, typer.Option("--no-match", help="Samples in which a filter found no answer.")] = False,
    ambiguous: Annotated[bool, typer.Option("--ambiguous", help="Samples in which a filter found several.")] = False,
    search: Annotated[str | None, typer.Option("--search", metavar="TEXT", help="Samples that contain TEXT.")] = None,
    sample: Annotated[int | None, typer.Option("--sample", metavar="DOC_ID", help="One doc, in full.")] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", help="Print at most this many samples.")] = 10,
    plain: Annotated[bool, typer.Option("--plain", help="Print, even on a terminal.")] = False,
    json: options.Json = False,
    runs_dir: options.RunsDir = None,
) -> None:
    """Show results and samples of a run.

    On a terminal the samples that fit can be browsed, as on page 3 of `lmrun tui`.

    Into a pipe, or with --plain: without a filter the results table; with any filter, the samples that fit: prompt,
    answer, what was extracted from it (between ⟦ and ⟧), and the score. Reasoning is folded to its length, but for
    --sample, which shows everything. --json prints one object (results) or one per line (samples).
    """
    from lmrun.display.samples import sample_as_json, sample_text
    from lmrun.store.reader import RunReader, SampleQuery
    from lmrun.store.runs import DEFAULT_RUNS_DIR, find_run

    endings = {"wrong": wrong, "correct": correct, "errors": errors}
    traits = {"truncated": truncated, "refused": refused, "no_match": no_match, "ambiguous": ambiguous}
    outcomes = tuple(name for name, on in {**endings, **traits}.items() if on)
    folder = runs_dir or DEFAULT_RUNS_DIR
    reader = RunReader(find_run(run, folder))
    query = SampleQuery(model, task, outcomes, search, sample, limit=n)
    _check_names(reader, query)
    if sys.stdout.isatty() and sys.stdin.isatty() and not (plain or json):
        _browse(reader, folder, query)
        return
    if not outcomes and search is None and sample is None and not (task or model):
        _results(reader, json=json)
        return
    details = (reader.sample(row.id) for row in reader.samples(query))
    texts = (sample_as_json(d) if json else sample_text(d, full=sample is not None) for d in details)
    sys.stdout.writelines(text + "\n" for text in texts)
    found = reader.count(query)
    if found > n:
        sys.stderr.write(f"{n} of {found:,} samples shown; -n {found} shows all\n")
    elif not found:
        sys.stderr.write("no sample fits\n")


def _browse(reader: RunReader, runs_dir: Path, query: SampleQuery) -> None:
    from lmrun.tui.app import LmrunApp, run_app
    from lmrun.tui.config import read_config

    reader.close()
    run_app(LmrunApp(reader.run, runs_dir=runs_dir, page="samples", config=read_config(), query=query))


def _results(reader: RunReader, *, json: bool) -> None:
    from lmrun.display.report import closing_words, interrupted_words, results_json, show_results

    if json:
        sys.stdout.write(results_json(reader) + "\n")
        return
    show_results(reader)
    sys.stderr.write(closing_words(reader))
    if reader.info().get("status") == "interrupted":
        sys.stderr.write(interrupted_words(reader, "resume it with the command that started it"))


def _check_names(reader: RunReader, query: SampleQuery) -> None:
    """A misspelt model or task must not look like "nothing fits"."""
    from lmrun.errors import RunError, did_you_mean

    jobs = reader.jobs()
    for what, asked, known in (
        ("model", query.model, [j.model for j in jobs]),
        ("task", query.task, [name for j in jobs for name in (j.label, j.task, j.alias)]),
    ):
        if asked is not None and asked not in known:
            names = ", ".join(dict.fromkeys(known))
            hint = did_you_mean(asked, known) or f"it has: {names[:300]}"
            raise RunError(f"the run {reader.run.id} has no {what} {asked!r}", hint=hint)
