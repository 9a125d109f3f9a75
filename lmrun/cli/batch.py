"""``lmrun batch``: run manifests headless."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.display.base import Sink
    from lmrun.engine.plan import Plan
    from lmrun.engine.progress import Tracker
    from lmrun.engine.run import Outcome
    from lmrun.errors import ExitCode
    from lmrun.manifest import Manifest


def batch(
    manifests: options.Manifests,
    limit: options.Limit = None,
    assignments: options.Set = None,
    runs_dir: options.RunsDir = None,
    cache: Annotated[Path | None, typer.Option("--cache", metavar="FILE", help="The request cache.")] = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new run even if one can be resumed.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the request cache.")] = False,
    json: options.Json = False,
) -> None:
    """Run manifests, or resume them.

    An interrupted run of the same manifest is continued; what has an answer is never asked again.

    Exit codes: 0 complete, 1 some samples are errors, 2 bad input, 3 a model could not start, 130 interrupted.
    """
    from lmrun.engine.inputs import Overrides

    overrides = Overrides(
        limit, tuple(tasks_path or ()), trust, mirror, offline, runs_dir, cache, tuple(assignments or ())
    )
    codes = [_run(name, overrides, fresh=fresh, no_cache=no_cache, json=json) for name in manifests]
    raise typer.Exit(max(codes))


def _run(name: str, overrides: object, *, fresh: bool, no_cache: bool, json: bool) -> ExitCode:
    from lmrun.engine.inputs import Overrides, open_manifest
    from lmrun.engine.run import execute

    assert isinstance(overrides, Overrides)
    manifest = open_manifest(name, overrides)
    cache = None if no_cache else manifest.run.cache
    # Options make it the run that it is; only --fresh would begin another one.
    command = shlex.join(word for word in sys.argv[1:] if word != "--fresh")
    again = f"resume with the same command: lmrun {command}"
    return carry_out(manifest, partial(execute, cache=cache, fresh=fresh), again, json=json)


class _Execute(Protocol):
    def __call__(self, plan: Plan, *, tracker: Tracker) -> Outcome: ...


def carry_out(manifest: Manifest, execute: _Execute, again: str, *, json: bool) -> ExitCode:
    """Plan and run a manifest with its progress on display, and show what came out of it."""
    from lmrun.display.base import Display
    from lmrun.engine.inputs import open_sources
    from lmrun.engine.plan import build_plan
    from lmrun.engine.progress import Tracker
    from lmrun.engine.signals import catch_interrupts

    tracker = Tracker()
    with catch_interrupts(), Display(_sink(json), tracker):
        tracker.phase("planning", manifest.name)
        outcome = execute(build_plan(manifest, open_sources(manifest)), tracker=tracker)
    _finish(outcome, again, json=json)
    return outcome.exit_code


def _sink(json: bool) -> Sink:
    if json:
        from lmrun.display.jsonl import JsonSink

        return JsonSink()
    if sys.stderr.isatty():
        from rich.console import Console

        from lmrun.display.live import LiveSink

        return LiveSink(Console(stderr=True))
    from lmrun.display.plain import PlainSink

    return PlainSink()


def _finish(outcome: Outcome, again: str, *, json: bool) -> None:
    from lmrun.display.report import closing_words, interrupted_words, results_json, show_results
    from lmrun.errors import ExitCode
    from lmrun.store.reader import RunReader

    reader = RunReader(outcome.directory)
    if outcome.exit_code is ExitCode.INTERRUPTED:
        sys.stderr.write(interrupted_words(reader, again))
        reader.close()
        return
    if json:
        sys.stdout.write(results_json(reader, int(outcome.exit_code)) + "\n")
    else:
        show_results(reader)
        sys.stderr.write(closing_words(reader))
    reader.close()
