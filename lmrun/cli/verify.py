"""``lmrun verify``: what has changed since a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmrun.display.table import Style
    from lmrun.engine.verify import Check

_STYLES: dict[str, Style] = {"drifted": "yellow", "unchecked": "dim"}


def verify(
    run: options.Run = "latest",
    runs_dir: options.RunsDir = None,
    mirror: options.Mirror = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Say what has changed since a run was made.

    Compares lmrun and package versions, task files with their code and versions, data, prompts and models with what the
    run recorded. Tasks are rendered again, no model is loaded. What cannot be checked here, for want of the data or the
    model, is said and does not count as changed. --json lists everything, the unchanged too.

    Exit codes: 0 nothing has changed, 1 something has.
    """
    import dataclasses
    import json as json_module

    from lmrun.engine.verify import verify as checks_of
    from lmrun.store.runs import DEFAULT_RUNS_DIR, find_run

    directory = find_run(run, runs_dir or DEFAULT_RUNS_DIR)
    checks = checks_of(directory, mirror, offline=offline)
    if json:
        listed = [dataclasses.asdict(check) for check in checks]
        sys.stdout.write(json_module.dumps({"run": directory.id, "checks": listed}) + "\n")
    else:
        _show(checks)
    raise typer.Exit(1 if any(check.state == "drifted" for check in checks) else 0)


def _show(checks: Sequence[Check]) -> None:
    from lmrun.display.table import Column, Table

    table = Table([Column(name) for name in ("", "of", "what", "in the run", "now", "note")])
    for check in checks:
        if check.state != "same":
            cells = (check.state, check.subject, check.what, check.recorded, check.now, check.note)
            table.add(*("" if cell is None else cell for cell in cells), style=_STYLES[check.state])
    if table.rows:
        table.show()
    counts = {state: sum(check.state == state for check in checks) for state in ("same", "drifted", "unchecked")}
    sys.stdout.write(
        f"{counts['same']} unchanged, {counts['drifted']} changed, {counts['unchecked']} cannot be checked here\n"
    )
