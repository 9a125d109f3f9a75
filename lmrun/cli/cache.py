"""``lmrun cache``: care of the request cache."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.store.cache import Cache

app = typer.Typer(help="Care of the request cache.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--cache", metavar="FILE", help="The cache file.")]
DEFAULT = Path("runs/cache.db")


def _open(path: Path) -> Cache:
    from lmrun.errors import StoreError
    from lmrun.store.cache import Cache

    if not path.exists():
        raise StoreError(f"there is no cache {path}", hint="name it with --cache FILE; a batch makes it")
    return Cache(path)


@app.command()
def stats(cache: File = DEFAULT, json: options.Json = False) -> None:
    """What the cache holds, by model and kind of request."""
    import dataclasses
    import json as json_module
    from datetime import datetime

    from lmrun.display.format import size
    from lmrun.display.table import Column, Table

    rows = _open(cache).stats()
    if json:
        sys.stdout.write(json_module.dumps([dataclasses.asdict(row) for row in rows]) + "\n")
        return
    table = Table(
        (
            Column("model"),
            Column("fingerprint"),
            Column("kind"),
            Column("answers", True),
            Column("size", True),
            Column("newest"),
        )
    )
    for row in rows:
        newest = f"{datetime.fromtimestamp(row.newest):%Y-%m-%d %H:%M}"
        table.add(row.model, row.fingerprint[:12], row.kind, f"{row.responses:,}", size(row.bytes), newest)
    table.show()
    sys.stderr.write(f"{cache}: {sum(r.responses for r in rows):,} answers, {size(cache.stat().st_size)} on disk\n")


@app.command()
def verify(cache: File = DEFAULT) -> None:
    """Check that the file is sound and every entry readable. Exit code 1 if not."""
    from lmrun.errors import ExitCode

    problems = _open(cache).verify()
    for problem in problems:
        sys.stdout.write(problem + "\n")
    sys.stdout.write(f"{cache}: {'ok' if not problems else f'{len(problems)} problems'}\n")
    raise typer.Exit(ExitCode.INCOMPLETE if problems else ExitCode.COMPLETE)


@app.command()
def prune(
    cache: File = DEFAULT,
    older_than: Annotated[float | None, typer.Option("--older-than", metavar="DAYS", help="Older entries.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Entries of this label or fingerprint.")
    ] = None,
) -> None:
    """Delete entries by age and/or model, and give the space back. Runs keep their own copy of every answer."""
    if older_than is None and model is None:
        raise typer.BadParameter("say what to delete: --older-than DAYS and/or --model M", param_hint="prune")
    before = time.time() - older_than * 86_400 if older_than is not None else None
    deleted = _open(cache).prune(older_than=before, model=model)
    sys.stdout.write(f"{deleted:,} answers deleted\n")
