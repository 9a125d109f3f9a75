"""``lmrun tui``: the terminal app."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.store.runs import RunDirectory
    from lmrun.tui.engine import Options


def tui(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MANIFEST|RUN]",
            help="A manifest to run (file or bundled name), or a run to show; without it the newest run.",
        ),
    ] = None,
    limit: options.Limit = None,
    assignments: options.Set = None,
    runs_dir: options.RunsDir = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start new runs even if some can be resumed.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve the app to a browser on this machine.")] = False,
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port for --web; 0 takes a free one.")] = 0,
) -> None:
    """Watch, steer and read runs in the terminal.

    With a manifest, shows its run if an engine works on it, and starts an engine otherwise: a process of its own, which
    goes on when the app is left or its terminal is lost. The options are for engines that are started in the app.
    With a run (id, path or latest), shows it. Without either, the newest run; where there is none, the manifests.

    With --web, prints an address with a token that opens the app in a browser on this machine. Ctrl-C ends it.
    """
    from lmrun.tui.engine import Options

    given = Options(
        limit, tuple(assignments or ()), tuple(tasks_path or ()), trust, mirror, offline, runs_dir, fresh=fresh
    )
    if web:
        _serve(target, given, port)
    else:
        _require_terminal()
        _show(target, given)


def _require_terminal() -> None:
    # The app reads stdin and draws to stderr. As the server's child it has pipes, and a driver for them.
    if os.environ.get("TEXTUAL_DRIVER") or (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    from lmrun.errors import LmrunError

    raise LmrunError("this is no terminal", hint="use `lmrun batch` to run, and `lmrun show --plain` to read results")


def _write_utf8() -> None:
    """Terminals understand it, whatever the locale says; in another encoding no frame could be drawn."""
    if isinstance(sys.__stderr__, TextIOWrapper):
        sys.__stderr__.reconfigure(encoding="utf-8", errors="replace")


def _show(target: str | None, given: Options) -> None:
    from lmrun.tui.app import LmrunApp
    from lmrun.tui.config import read_config

    folder = _runs_dir(given)
    manifest = _manifest(target)
    run = None if manifest else _run(target, folder)
    app = LmrunApp(
        run,
        runs_dir=folder,
        page="dashboard" if run else "manifests",
        manifest=manifest,
        start=manifest is not None,
        options=given,
        config=read_config(),
    )
    _write_utf8()
    app.run()
    with suppress(OSError):  # the terminal may be what was lost
        sys.stderr.write(app.farewell)


def _serve(target: str | None, given: Options, port: int) -> None:
    from lmrun.tui.engine import LMRUN
    from lmrun.tui.web import serve

    if target and not _manifest(target):
        _run(target, _runs_dir(given))  # what is misspelt is told here, not in every browser
    serve([*LMRUN, "tui", *([target] if target else []), *given.running()], port)


def _runs_dir(given: Options) -> Path:
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    return given.runs_dir or DEFAULT_RUNS_DIR


def _manifest(target: str | None) -> Path | None:
    """The manifest that is meant, if it is none of the runs; without reading it, for the app must come up at once."""
    from lmrun import bundled

    if target is None or (Path(target) / "run.db").exists():
        return None
    if target.endswith(".toml") or Path(target).is_file():
        from lmrun.engine.inputs import manifest_path

        return manifest_path(target)
    return next((path for path in bundled.configs_dir().glob("*.toml") if path.stem == target), None)


def _run(target: str | None, folder: Path) -> RunDirectory | None:
    from lmrun.store.runs import all_runs, find_run

    return find_run(target, folder) if target else next(all_runs(folder), None)
