"""``lmrun init``: a manifest to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The manifest to write.")] = Path("manifest.toml"),
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="Hub id, folder, or name that a server has.")
    ] = "bundled:demo",
    backend: Annotated[str, typer.Option("--backend", metavar="B", help="Backend of the model.")] = "hf",
    task: Annotated[list[str] | None, typer.Option("--task", metavar="T", help="A task or group. Repeatable.")] = None,
) -> None:
    """Write a manifest to start from.

    It is commented and runs as it is. An existing file is never overwritten.
    """
    from lmrun.errors import ManifestError
    from lmrun.manifest.backends import API
    from lmrun.manifest.scaffold import scaffold

    if path.exists():
        raise ManifestError(f"{path} exists already", hint="name another file: lmrun init OTHER.toml")
    if backend in API and model.startswith("bundled:"):
        raise ManifestError(
            f"no model is named for {backend}",
            hint=f"as the server has it: lmrun init {path} --backend {backend} --model NAME",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(scaffold(path.stem, _absolute(model), backend, task or ["demo"]), encoding="utf-8")
    check = "doctor" if backend in API else "validate"
    sys.stdout.write(f"{path} written. Next: lmrun {check} {path} && lmrun batch {path}\n")


def _absolute(model: str) -> str:
    """A folder as the manifest must name it: its relative paths count from where the manifest stands."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model
