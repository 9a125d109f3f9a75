"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Manifests = Annotated[
    list[str], typer.Argument(metavar="MANIFEST", help="Manifest files, or the name of a bundled one (quickstart).")
]
ManifestPath = Annotated[str, typer.Argument(metavar="MANIFEST", help="A manifest file, or the name of a bundled one.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run id, its path, or 'latest'.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=V", help="Override a manifest value, e.g. defaults.limit=10. Repeatable."),
]
Limit = Annotated[
    float | None, typer.Option("--limit", metavar="N", help="Docs per task; below 1 a fraction of each task.")
]
TasksPath = Annotated[
    list[Path] | None, typer.Option("--tasks-path", metavar="DIR", help="An extra folder of task YAMLs. Repeatable.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the Python helpers (!function) of the --tasks-path folders.")]
Mirror = Annotated[Path | None, typer.Option("--mirror", metavar="DIR", help="An offline mirror of datasets.")]
Offline = Annotated[bool, typer.Option("--offline", help="Open no network connection.")]
RunsDir = Annotated[Path | None, typer.Option("--runs-dir", metavar="DIR", help="Where runs are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
