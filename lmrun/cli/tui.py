"""``lmrun tui``: the terminal app."""

from __future__ import annotations

from typing import Annotated

import typer

from lmrun.cli import options


def tui(
    target: Annotated[str, typer.Argument(metavar="[MANIFEST|RUN]", help="A manifest to start, or a run.")] = "latest",
    runs_dir: options.RunsDir = None,
) -> None:
    """Watch, steer and read runs in the terminal."""
    from lmrun.store.runs import DEFAULT_RUNS_DIR, find_run
    from lmrun.tui.app import LmrunApp
    from lmrun.tui.config import read_config

    folder = runs_dir or DEFAULT_RUNS_DIR
    LmrunApp(find_run(target, folder), runs_dir=folder, config=read_config()).run()
