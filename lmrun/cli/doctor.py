"""``lmrun doctor``: is this machine ready, are these models?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from lmrun.engine.inputs import Overrides


def doctor(
    manifest: Annotated[
        str | None, typer.Argument(metavar="MANIFEST", help="Look at its models in place of the machine.")
    ] = None,
    json: options.Json = False,
    runs_dir: options.RunsDir = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
) -> None:
    """Check that this machine is ready, or the models of a manifest.

    Looks at Python, packages, devices, disks and the bundled files.
    With a manifest, asks the server of each model a few small questions: is it reached, with a key, has it the model,
    which parameters does it take, are its log-probabilities right, and is that enough for the manifest's tasks?
    Exit code 1 if something does not work.
    """
    from lmrun.engine.inputs import Overrides
    from lmrun.errors import ExitCode

    if manifest is None:
        sound = _machine(json, runs_dir)
    else:
        paths = tuple(tasks_path or ())
        overrides = Overrides(None, paths, trust, mirror, offline, assignments=tuple(assignments or ()))
        sound = _models(manifest, overrides, json)
    raise typer.Exit(ExitCode.COMPLETE if sound else ExitCode.INCOMPLETE)


def _machine(json: bool, runs_dir: Path | None) -> bool:
    import dataclasses
    import json as json_module

    from lmrun.display.table import Column, Table
    from lmrun.engine.doctor import examine
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    findings = examine(runs_dir or DEFAULT_RUNS_DIR)
    if json:
        sys.stdout.write(json_module.dumps([dataclasses.asdict(f) for f in findings]) + "\n")
    else:
        table = Table((Column(""), Column("what"), Column("found"), Column("what to do")))
        marks = {"ok": "✓", "missing": "·", "broken": "✗"}
        for f in findings:
            table.add(marks[f.state], f.what, f.found, f.advice, style="red" if f.state == "broken" else "")
        table.show()
    return not any(f.state == "broken" for f in findings)


def _models(manifest: str, overrides: Overrides, json: bool) -> bool:
    import dataclasses
    import json as json_module

    from lmrun.display.table import Column, Table
    from lmrun.engine.doctor_models import examine_models

    marks = {"yes": "✓", "unknown": "·", "no": "✗"}
    sound = True
    for report in examine_models(manifest, overrides):
        sound = sound and report.fit
        if json:
            sys.stdout.write(json_module.dumps({**dataclasses.asdict(report), "fit": report.fit}) + "\n")
            continue
        table = Table((Column(""), Column("what"), Column("found"), Column("what to do")))
        for c in report.capabilities:
            table.add(marks[c.state], c.name, c.found, c.advice, style="red" if c.state == "no" else "")
        sys.stdout.write(f"{report.name} ({report.backend}, {report.model})\n")
        table.show()
        sys.stdout.write("\n")
    return sound
