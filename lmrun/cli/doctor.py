"""``lmrun doctor``: is this machine ready?"""

from __future__ import annotations

import sys

import typer

from lmrun.cli import options


def doctor(json: options.Json = False, runs_dir: options.RunsDir = None) -> None:
    """Check that this machine is ready.

    Looks at Python, packages, devices, disks and the bundled files. Exit code 1 if something does not work.
    """
    import dataclasses
    import json as json_module

    from lmrun.display.table import Column, Table
    from lmrun.engine.doctor import examine
    from lmrun.errors import ExitCode
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
    broken = any(f.state == "broken" for f in findings)
    raise typer.Exit(ExitCode.INCOMPLETE if broken else ExitCode.COMPLETE)
