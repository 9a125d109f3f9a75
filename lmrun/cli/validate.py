"""``lmrun validate``: check manifests without loading a model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lmrun.cli import options


def validate(
    manifests: Annotated[list[str] | None, typer.Argument(metavar="MANIFEST", help="Manifests to check.")] = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of manifests, for editors.")] = False,
) -> None:
    """Check manifests without loading a model.

    Looks at keys, types, task names, task files, datasets, metrics and models.
    Every problem is listed at once, with file, line and column. Exit code 0 if all is well, 2 if not.
    """
    import json

    from lmrun.engine.check import check_manifest
    from lmrun.engine.inputs import Overrides
    from lmrun.errors import ExitCode
    from lmrun.manifest import json_schema

    if schema:
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
        return
    if not manifests:
        raise typer.BadParameter("name at least one manifest", param_hint="MANIFEST")
    overrides = Overrides(None, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    sound = True
    for name in manifests:
        problems, warnings = check_manifest(name, overrides)
        sound = sound and not problems
        for warning in warnings:
            sys.stdout.write(f"warning: {warning}\n")
        for problem in problems:
            sys.stdout.write(f"{problem}\n")
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}" if problems else "ok"
        sys.stdout.write(f"{name}: {count}\n")
    raise typer.Exit(ExitCode.COMPLETE if sound else ExitCode.BAD_INPUT)
