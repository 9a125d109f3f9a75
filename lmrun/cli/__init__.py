"""The command line: one file per command, each doing its imports when it is called.

``lmrun --help`` must not wait for anything that only a run needs.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer import Typer

    from lmrun.errors import LmrunError


def build_app() -> Typer:
    """The Typer application with all commands."""
    import typer

    from lmrun.cli import (
        batch,
        cache,
        data,
        decontaminate,
        doctor,
        init,
        ls,
        plan,
        preview,
        retry,
        score,
        show,
        tui,
        validate,
        verify,
    )

    app = typer.Typer(
        name="lmrun",
        no_args_is_help=True,
        add_completion=False,
        # Rich's help pages cost as much time as all the rest of `lmrun --help`.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", is_eager=True, callback=_version, help="Show the version."),
    ) -> None:
        """Evaluate language models from a terminal. Start with: lmrun batch quickstart."""

    for command in (
        batch.batch,
        tui.tui,
        retry.retry,
        show.show,
        score.score,
        validate.validate,
        plan.plan,
        preview.preview,
    ):
        app.command()(command)
    app.command()(init.init)
    app.command()(verify.verify)
    app.command()(decontaminate.decontaminate)
    app.command(name="doctor")(doctor.doctor)
    app.add_typer(ls.app, name="ls")
    app.add_typer(data.app, name="data")
    app.add_typer(cache.app, name="cache")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        import lmrun

        sys.stdout.write(f"lmrun {lmrun.__version__}\n")
        raise SystemExit(0)


def main() -> None:
    """Entry point. An expected error is told in a few lines; the exit code is the contract of ``docs/commands.md``."""
    import sqlite3

    import typer

    from lmrun.errors import ExitCode, LmrunError, StoreError

    # Much is imported and kept, and little of it in cycles: they are looked for a tenth as often.
    gc.set_threshold(7_000, 10, 10)
    try:
        build_app()(prog_name="lmrun")
    except LmrunError as error:
        _report(error)
        sys.exit(error.exit_code)
    except (sqlite3.Error, OSError) as error:
        # A damaged database or a full disk, anywhere: what is on disk stays, and a resume needs no more than room.
        _report(
            StoreError(
                f"{type(error).__name__}: {error}",
                hint="is the disk full, or a database damaged? `lmrun doctor`, `lmrun cache verify`",
            )
        )
        sys.exit(StoreError.exit_code)
    except SystemExit as ending:
        # Typer turns Ctrl-C into an abort with exit code 1, which here means something else.
        if isinstance(ending.__context__, typer.Abort):
            sys.exit(ExitCode.INTERRUPTED)
        raise
    finally:
        # The interpreter looks for cycles among everything that is left before it ends: a second with torch in memory.
        gc.freeze()


def _report(error: LmrunError) -> None:
    from lmrun.display.format import safe

    sys.stderr.write(safe(error.in_full()) + "\n")
